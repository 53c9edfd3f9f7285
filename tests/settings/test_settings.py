"""Every `ASGI_JWT_*` variable, read once; all faults are reported together."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.tables import tables_of
from support.tokens import SECRET, ec_key, jwks, private_pem, public_pem, rsa_key

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.settings import Settings
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.keys import KeySet

ISSUER = "https://issuer.example"
WHOLE: dict[str, Any] = {"issuer": ISSUER, "audience": "api", "secret": SECRET}


PUBLIC, PRIVATE = public_pem(rsa_key()).decode(), private_pem(ec_key()).decode()
CONTENT = {
    "issuer": ISSUER,
    "audience": "api",
    "secret": SECRET,
    "keys": PUBLIC,
    "leeway": "5",
    "realm": "orders",
    "public_paths": "/a",
    "require_typ": "true",
    "access_ttl": "1m",
}


def environ(**variables: str) -> dict[str, str]:
    return {f"ASGI_JWT_{name}": value for name, value in variables.items()}


def faults_of(**settings: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as refused:
        Settings(**settings)
    return refused.value.faults


def test_defaults_are_those_of_the_documentation() -> None:
    """With issuer, audience and a secret everything else has a safe value."""
    settings = Settings.from_env(environ(ISSUER=ISSUER, AUDIENCE="api", SECRET=SECRET))
    assert (settings.issuer, settings.audience, settings.leeway, settings.access_ttl) == ((ISSUER,), ("api",), 30, 900)
    assert (settings.type, settings.require_typ) == (("type", "access"), False)
    assert settings.typ == {"at+jwt", "application/at+jwt", "jwt"}
    assert (settings.max_token_size, settings.cache_size) == (8192, 4096)
    assert (settings.audience_claim, settings.scope_claim, settings.roles_claim) == ("aud", "scope", "roles")
    assert (settings.realm, settings.resource) == ("api", None)
    assert (settings.public_paths, settings.token_sources, settings.trusted_origins) == ((), ("header",), ())
    assert settings.policy.algorithms == {"HS256"}


def test_every_variable_is_read() -> None:
    """Each variable of the environment arrives under its lower-case name, and in the policy."""
    texts: dict[str, tuple[str, Any]] = {
        "audience": ("api, second", ("api", "second")),
        "algorithms": ("HS256,HS512", frozenset({"HS256", "HS512"})),
        "leeway": ("1m", 60),
        "type": ("token_use=access", ("token_use", "access")),
        "typ": ("AT+JWT", {"at+jwt"}),
        "require_typ": ("true", True),
        "required_claims": ("tenant,email_verified=true", (("tenant", None), ("email_verified", "true"))),
        "audience_claim": ("client_id", "client_id"),
        "scope_claim": ("scp", "scp"),
        "roles_claim": ("realm_access.roles", "realm_access.roles"),
        "max_token_size": ("4096", 4096),
        "cache_size": ("0", 0),
        "realm": ("orders", "orders"),
        "resource": ("https://host/mcp", "https://host/mcp"),
        "public_paths": ("/health,/auth/*", ("/health", "/auth/*")),
        "token_sources": ("header,cookie:__Host-access_token", ("header", "cookie:__Host-access_token")),
        "trusted_origins": ("https://app.example", ("https://app.example",)),
        "access_ttl": ("5m", 300),
    }
    variables = {name.upper(): text for name, (text, _) in texts.items()}
    settings = Settings.from_env(environ(ISSUER=ISSUER, SECRET=SECRET, **variables))
    for name, (_, value) in texts.items():
        in_policy = name in TokenPolicy.__dataclass_fields__
        assert getattr(settings.policy if in_policy else settings, name) == value, name
    assert settings.policy.issuer == ISSUER


def test_keywords_take_text_and_values_alike() -> None:
    """A keyword may be the text of the environment or the value itself."""
    text = Settings(**WHOLE, leeway="1m", require_typ="yes", public_paths="/a,/b", max_token_size="4096")
    value = Settings(
        **WHOLE, leeway=timedelta(minutes=1), require_typ=True, public_paths=iter(["/a", "/b"]), max_token_size=4096
    )
    assert text.policy == value.policy
    assert text.public_paths == value.public_paths


def test_a_keyword_overrides_the_environment(tmp_path: Path) -> None:
    """What the code says wins, whether it or the environment names a file; None unsets, and names no file."""
    given = environ(ISSUER=ISSUER, AUDIENCE="api", SECRET_FILE="/nowhere", LEEWAY="5", REALM="env")
    settings = Settings.from_env(given, secret=SECRET, leeway=7, audience=["x"], realm=None)  # type: ignore[arg-type]
    assert (settings.secret, settings.leeway, settings.audience, settings.realm) == (SECRET, 7, ("x",), "api")
    (tmp_path / "secret").write_text(SECRET + "\n")
    given = environ(ISSUER=ISSUER, AUDIENCE="api", SECRET="another secret of more than thirty-two bytes")
    assert Settings.from_env(given, secret_file=str(tmp_path / "secret")).secret == SECRET
    nothing: Any = None
    assert Settings(**WHOLE, keys_file=nothing).secret == SECRET


def test_an_empty_variable_counts_as_absent() -> None:
    """`ASGI_JWT_LEEWAY=` in a compose file is the default, and an empty issuer is missing."""
    settings = Settings.from_env(environ(ISSUER=ISSUER, AUDIENCE="api", SECRET=SECRET, LEEWAY="", KEYS="", NO_SUCH=""))
    assert settings.leeway == 30
    with pytest.raises(ConfigurationError, match="ASGI_JWT_ISSUER is missing"):
        Settings.from_env(environ(ISSUER="", AUDIENCE="api", SECRET=SECRET))


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the variables of the process are read, when it is called and not before."""
    for name, value in environ(ISSUER=ISSUER, AUDIENCE="api", SECRET=SECRET).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTHER", "x")
    assert Settings.from_env().secret == SECRET


@pytest.mark.parametrize("name", CONTENT)
def test_any_value_may_come_from_a_file(name: str, tmp_path: Path) -> None:
    """`<NAME>_FILE` names a file with the value, whose last line break does not count."""
    path = tmp_path / name
    path.write_text(f"{CONTENT[name]}\r\n")
    without = {name, "secret" if name == "keys" else "keys"}
    variables = {other.upper(): content for other, content in CONTENT.items() if other not in without}
    by_file = Settings.from_env(environ(**variables, **{f"{name.upper()}_FILE": str(path)}))
    in_place = Settings.from_env(environ(**variables, **{name.upper(): CONTENT[name]}))
    assert (repr(by_file), by_file.policy, by_file.secret) == (repr(in_place), in_place.policy, in_place.secret)


@pytest.mark.parametrize("name", CONTENT)
def test_a_value_and_its_file_are_one_too_many(name: str, tmp_path: Path) -> None:
    """Both `<NAME>` and `<NAME>_FILE` is a fault: nobody could tell which one counts."""
    path = tmp_path / name
    path.write_text("x")
    with pytest.raises(ConfigurationError, match=f"ASGI_JWT_{name.upper()} and ASGI_JWT_{name.upper()}_FILE are both"):
        Settings.from_env(environ(**{name.upper(): "30", f"{name.upper()}_FILE": str(path)}))


def test_files_that_cant_be_read(tmp_path: Path) -> None:
    """A missing file, a directory, other than text, and a path that is none are faults that show neither."""
    (tmp_path / "binary").write_bytes(b"\xff" * 40)
    paths: list[Any] = [tmp_path / "missing", tmp_path, tmp_path / "binary", SECRET, "a\0b", 7]
    for path in paths:
        (fault,) = faults_of(issuer=ISSUER, audience="api", secret_file=path if path == 7 else str(path))
        assert fault.startswith("ASGI_JWT_SECRET_FILE names a file that can't be read: ")
        assert str(path) not in fault


def test_an_empty_file_is_a_fault(tmp_path: Path) -> None:
    """A file without content is not taken for an absent setting: a secret that failed to mount is noticed."""
    path = tmp_path / "empty"
    path.write_text(" \n")
    for name in ("secret", "keys", "refresh_secret", "public_paths", "store"):
        given = {"issuer": ISSUER, "audience": "api", "secret": SECRET, f"{name}_file": str(path)}
        if name in ("secret", "keys"):
            del given["secret"]
        (fault,) = faults_of(**given)
        assert fault.startswith(f"ASGI_JWT_{name.upper()}_FILE names a file that is empty: ")


def test_faults_name_the_variable_that_was_set(tmp_path: Path) -> None:
    """Where the value comes from a file, that is where it is to be mended; two sources of keys are named as given."""
    path = tmp_path / "keys"
    path.write_text("{")
    assert faults_of(issuer=ISSUER, audience="api", keys_file=str(path)) == ("ASGI_JWT_KEYS_FILE is broken JSON",)
    path.write_text(PUBLIC)
    assert faults_of(**WHOLE, keys_file=str(path)) == ("ASGI_JWT_SECRET and ASGI_JWT_KEYS_FILE are both set: keep one",)


@pytest.mark.parametrize(
    ("name", "mend"),
    tables_of(__file__)["unknown_names_are_refused_with_the_nearest"],
)
def test_unknown_names_are_refused_with_the_nearest(name: str, mend: str) -> None:
    """A misspelt variable or keyword, which would leave its setting at the default, is refused with a suggestion."""
    told = (f"ASGI_JWT_{name} is unknown: {mend}",)
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_env(environ(ISSUER=ISSUER, AUDIENCE="api", SECRET=SECRET, **{name: "hunter2"}))
    assert refused.value.faults == faults_of(**WHOLE, **{name.lower(): 3}) == told


def test_what_kubernetes_injects_is_ignored() -> None:
    """The variables that Kubernetes sets for a Service called asgi-jwt are none of ours."""
    ports = {"PORT": "tcp://10.0.0.1:80", "PORT_80_TCP": "tcp://10.0.0.1:80", "PORT_80_TCP_PROTO": "tcp"}
    service = {"SERVICE_HOST": "10.0.0.1", "SERVICE_PORT": "80", "SERVICE_PORT_HTTP": "80"}
    injected = environ(**ports, **service, PORT_80_TCP_PORT="80", PORT_80_TCP_ADDR="10.0.0.1")
    assert Settings.from_env(injected | environ(ISSUER=ISSUER, AUDIENCE="api", SECRET=SECRET)).secret == SECRET


BOTH = "- ASGI_JWT_SECRET and ASGI_JWT_KEYS are both set: keep one"


KEYS: dict[str, Any] = {"secret": None, "keys": jwks()}
MISCONFIGURED: dict[str, tuple[dict[str, Any], str]] = {
    "no issuer": ({"issuer": None}, "ASGI_JWT_ISSUER is missing"),
    "an empty issuer": ({"issuer": []}, "ASGI_JWT_ISSUER is missing"),
    "several issuers": ({"issuer": "https://a.example,https://b.example"}, "ASGI_JWT_ISSUER names several issuers"),
    "no audience": ({"audience": None}, "ASGI_JWT_AUDIENCE is missing"),
    "an empty audience": ({"audience": ","}, "ASGI_JWT_AUDIENCE is missing"),
    "a star among audiences": ({"audience": "api,*"}, r"ASGI_JWT_AUDIENCE has \* next to others"),
    "no keys": ({"secret": None}, "ASGI_JWT_SECRET is missing, or one of .*, ASGI_JWT_DISCOVERY.* asgi-jwt keygen"),
    "secret and keys": ({"keys": jwks()}, BOTH),
    "a secret and broken keys": ({"keys": "hunter2"}, BOTH),
    "three of them": (
        {"keys": jwks(), "discovery": True},
        "- ASGI_JWT_SECRET, ASGI_JWT_KEYS and ASGI_JWT_DISCOVERY are",
    ),
    "a short secret": ({"secret": "x" * 31}, "ASGI_JWT_SECRET has 31 bytes, and HS256 needs 32"),
    "a secret of one byte": ({"secret": "x"}, "ASGI_JWT_SECRET has 1 byte, and HS256 needs 32"),
    "a secret short for HS512": (
        {"secret": "x" * 63, "algorithms": "HS512"},
        "ASGI_JWT_ALGORITHMS names HS512, for which no key is made: HS512 needs a secret of 64 bytes",
    ),
    "a secret that is no text": ({"secret": 1}, "ASGI_JWT_SECRET has to be a text"),
    "a public key as secret": ({"secret": PUBLIC}, "ASGI_JWT_SECRET is a key's PEM"),
    "a symmetric key next to others": (
        {"secret": None, "keys": {"keys": [*jwks()["keys"], {"kty": "oct", "k": "A" * 43}]}},
        "ASGI_JWT_KEYS holds a symmetric key next to asymmetric ones",
    ),
    "a symmetric algorithm for keys": ({**KEYS, "algorithms": "RS256,HS256"}, "ASGI_JWT_ALGORITHMS names HS256, for"),
    "an asymmetric algorithm for a secret": ({"algorithms": "HS256,RS256"}, "ASGI_JWT_ALGORITHMS names RS256, for"),
    "another curve's algorithm": ({**KEYS, "algorithms": "ES512"}, "ASGI_JWT_ALGORITHMS names ES512, for which no key"),
    "the algorithm none": ({"algorithms": "none"}, "ASGI_JWT_ALGORITHMS may hold .*'none' is none of them"),
    "keys that are none": ({"secret": None, "keys": "hunter2"}, "ASGI_JWT_KEYS holds neither a JWK, a JWK Set nor PEM"),
    "keys that are no text": ({"secret": None, "keys": 1}, "ASGI_JWT_KEYS has to be a JWK Set, a JWK or PEM"),
    "an empty KeySet": ({"secret": None, "keys": KeySet([])}, "ASGI_JWT_KEYS holds no key that may verify"),
    "leeway past 300": ({"leeway": "6m"}, "ASGI_JWT_LEEWAY has to be 0 seconds at least and 300 at most"),
    "an access token for a day": ({"access_ttl": "1d"}, "ASGI_JWT_ACCESS_TTL has to be .* 3600 at most"),
    "no life at all": ({"access_ttl": 0}, "ASGI_JWT_ACCESS_TTL has to be 1 second at least"),
    "a tiny token size": ({"max_token_size": 10}, "ASGI_JWT_MAX_TOKEN_SIZE has to be a whole number, 256 at least"),
    "a cache below zero": ({"cache_size": -1}, "ASGI_JWT_CACHE_SIZE has to be a whole number"),
    "a root path that is a pattern": ({"root_path": "/api/*"}, "ASGI_JWT_ROOT_PATH has to be a path, as /api"),
}


@pytest.mark.parametrize(("changes", "told"), MISCONFIGURED.values(), ids=MISCONFIGURED)
def test_each_misconfiguration_is_refused(changes: dict[str, Any], told: str) -> None:
    """Settings that can't be used, or not safely, are refused at construction by a fault that names the variable."""
    with pytest.raises(ConfigurationError, match=told):
        Settings(**WHOLE | changes)


def test_all_faults_come_in_one_message() -> None:
    """Whoever sets it up sees everything that is wrong at once, each with its variable."""
    wrong = {"SECRET": "hunter2", "LEEWAY": "-1", "ALGORITHMS": "none", "ISUER": "x", "REALM": '"', "KEYS_FILE": "/no"}
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_env(environ(**wrong))
    named = [fault.split(" ")[0].removeprefix("ASGI_JWT_") for fault in refused.value.faults]
    assert sorted(named) == sorted([*wrong, "ISSUER", "AUDIENCE"])
    assert str(refused.value).splitlines()[1:] == [f"  - {fault}" for fault in refused.value.faults]


@pytest.mark.parametrize(
    "settings",
    [
        {"secret": "hunter2 is short"},
        {"secret": "hunter2" * 5 + "\udcff"},
        {"secret": "hunter2 " * 7, "algorithms": "HS512"},
        {"keys": "hunter2"},
        {"keys": "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----"},
        {"keys": '{"kty": "oct", "k": "hunter2"}'},
        {"keys": '{"kty": "oct", "k": "hunter2"'},
        {"keys": {"kty": "EC", "crv": "P-256", "d": "hunter2"}},
        {"secret_file": "hunter2 as the file's name"},
        {"keys_file": "-----BEGIN PRIVATE KEY-----\nhunter2\n" * 200},
    ],
)
def test_no_fault_shows_a_secret(settings: dict[str, Any]) -> None:
    """Whatever is wrong with a secret, neither the message nor an exception behind it holds any of it."""
    with pytest.raises(ConfigurationError) as refused:
        Settings(issuer=ISSUER, audience="api", **settings)
    assert "hunter2" not in f"{refused.value!r} {refused.value} {refused.value.faults}"
    assert "udcff" not in str(refused.value)
    assert (refused.value.__cause__, refused.value.__context__) == (None, None)


def test_no_secret_shows_in_the_repr() -> None:
    """The repr has every setting but the secret and the keys."""
    shown = repr(Settings(**WHOLE)) + repr(Settings(issuer=ISSUER, audience="api", keys=PRIVATE))
    assert not [name for name in (SECRET, "secret", "keys") if name in shown.replace(ISSUER, "")]
    assert "leeway=30.0" in shown


def test_settings_are_read_only() -> None:
    """Nothing can weaken them after their check."""
    with pytest.raises(AttributeError):
        Settings(**WHOLE).leeway = 3000  # type: ignore[misc]


JWK = jwks()["keys"][0]
SET = {"keys": [JWK]}
FORMS: list[Any] = [PUBLIC, PUBLIC.encode(), KeySet.parse(PUBLIC), JWK, SET, json.dumps(SET)]


@pytest.mark.parametrize("form", FORMS, ids=["PEM", "bytes", "KeySet", "JWK", "JWK Set", "text"])
def test_keys_in_any_form(form: Any) -> None:
    """Keys may be PEM, JSON, its parsed mapping, or a `KeySet`."""
    settings = Settings(issuer=ISSUER, audience="api", keys=form)
    assert settings.policy.algorithms == {"RS256"}
    assert [key.default for key in settings.key_set] == ["RS256"]


@pytest.mark.parametrize(
    ("keys", "algorithms", "allowed"),
    [
        ("rsa", "", {"RS256"}),
        ("rsa", "PS256", {"PS256"}),
        ("rsa", "RS256,RS512", {"RS256", "RS512"}),
        ("ed25519", "", {"EdDSA", "Ed25519"}),
        ("ed25519", "EdDSA", {"EdDSA", "Ed25519"}),
        ("ed25519", "Ed25519", {"EdDSA", "Ed25519"}),
        ("all", "", {"RS256", "ES256", "ES384", "EdDSA", "Ed25519"}),
        ("all", "ES256", {"ES256"}),
    ],
)
def test_allowed_algorithms(keys: str, algorithms: str, allowed: set[str]) -> None:
    """What the keys are made for is allowed, an RSA key being made for RS256, and `ALGORITHMS` says otherwise."""
    chosen = [jwk for jwk in jwks()["keys"] if keys in (jwk["kid"], "all")]
    settings = Settings(issuer=ISSUER, audience="api", keys={"keys": chosen}, algorithms=algorithms)
    assert settings.policy.algorithms == allowed


def test_a_secret_is_for_hs256_unless_algorithms_say_otherwise() -> None:
    """However long a secret is, HS256 alone is allowed with it until another is named."""
    assert Settings(**WHOLE).policy.algorithms == {"HS256"}
    assert Settings(**WHOLE, algorithms=["HS384", "HS512"]).policy.algorithms == {"HS384", "HS512"}


def test_audience_and_type_are_switched_off_by_name_alone() -> None:
    """`*` switches a check off; the resource is the audience where none is named."""
    assert Settings(issuer=ISSUER, audience="*", secret=SECRET).policy.audience is None
    assert Settings(issuer=ISSUER, audience=["*"], resource="https://h/mcp", secret=SECRET).policy.audience is None
    assert Settings(issuer=ISSUER, resource="https://h/mcp", secret=SECRET).policy.audience == ("https://h/mcp",)
    assert Settings(**WHOLE, resource="https://h/mcp").policy.audience == ("api",)
    assert Settings(**WHOLE, type="*").policy.type is None
