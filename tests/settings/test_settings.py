"""Every `ASGI_JWT_*` variable, read once; all faults are reported together."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import RSAAlgorithm
from support.tokens import SECRET, ec_key, jwks, rsa_key

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.settings import Settings
from asgi_jwt.tokens.algorithms import MIN_RSA_BITS
from asgi_jwt.tokens.keys import KeySet

ISSUER = "https://issuer.example"
WHOLE: dict[str, Any] = {"issuer": ISSUER, "audience": "api", "secret": SECRET}
WEAK_RSA = (
    rsa.generate_private_key(public_exponent=65537, key_size=MIN_RSA_BITS - 1)
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
FILES = ["issuer", "audience", "secret", "keys", "leeway", "realm", "public_paths", "require_typ", "access_ttl"]


def private_pem(key: Any) -> str:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode()


def public_pem(key: Any) -> str:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def environ(**variables: str) -> dict[str, str]:
    return {f"ASGI_JWT_{name}": value for name, value in variables.items()}


def faults_of(**settings: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as refused:
        Settings(**settings)
    return refused.value.faults


def test_defaults_are_those_of_the_readme() -> None:
    """With issuer, audience and a secret everything else has a safe value."""
    settings = Settings.from_env(environ(ISSUER=ISSUER, AUDIENCE="api", SECRET=SECRET))
    assert settings.issuer == (ISSUER,)
    assert settings.audience == ("api",)
    assert (settings.leeway, settings.access_ttl) == (30, 900)
    assert (settings.type, settings.require_typ) == (("type", "access"), False)
    assert settings.typ == {"at+jwt", "application/at+jwt", "jwt"}
    assert (settings.max_token_size, settings.cache_size) == (8192, 4096)
    assert (settings.audience_claim, settings.scope_claim, settings.roles_claim) == ("aud", "scope", "roles")
    assert (settings.realm, settings.resource) == ("api", None)
    assert (settings.public_paths, settings.token_sources, settings.trusted_origins) == ((), ("header",), ())
    assert settings.policy.algorithms == {"HS256"}


def test_every_variable_is_read() -> None:
    """Each variable of the environment arrives under its lower-case name, and in the policy."""
    settings = Settings.from_env(
        environ(
            ISSUER=ISSUER,
            AUDIENCE="api, second",
            SECRET=SECRET,
            ALGORITHMS="HS256,HS512",
            LEEWAY="1m",
            TYPE="token_use=access",
            TYP="AT+JWT",
            REQUIRE_TYP="true",
            REQUIRED_CLAIMS="tenant,email_verified=true",
            AUDIENCE_CLAIM="client_id",
            SCOPE_CLAIM="scp",
            ROLES_CLAIM="realm_access.roles",
            MAX_TOKEN_SIZE="4096",
            CACHE_SIZE="0",
            REALM="orders",
            RESOURCE="https://host/mcp",
            PUBLIC_PATHS="/health,/auth/*",
            TOKEN_SOURCES="header,cookie:__Host-access_token",
            TRUSTED_ORIGINS="https://app.example",
            ACCESS_TTL="5m",
        )
    )
    policy = settings.policy
    assert (policy.issuer, policy.audience) == (ISSUER, ("api", "second"))
    assert policy.algorithms == {"HS256", "HS512"}
    assert (policy.leeway, policy.type) == (60, ("token_use", "access"))
    assert policy.typ == {"at+jwt"}
    assert (policy.require_typ, policy.max_token_size) == (True, 4096)
    assert policy.required_claims == (("tenant", None), ("email_verified", "true"))
    assert (policy.audience_claim, policy.scope_claim, policy.roles_claim) == ("client_id", "scp", "realm_access.roles")
    assert (settings.cache_size, settings.access_ttl, settings.realm) == (0, 300, "orders")
    assert settings.resource == "https://host/mcp"
    assert settings.public_paths == ("/health", "/auth/*")
    assert settings.token_sources == ("header", "cookie:__Host-access_token")
    assert settings.trusted_origins == ("https://app.example",)


def test_keywords_take_text_and_values_alike() -> None:
    """A keyword may be the text of the environment or the value itself."""
    text = Settings(**WHOLE, leeway="1m", require_typ="yes", public_paths="/a,/b", max_token_size="4096")
    value = Settings(
        **WHOLE, leeway=timedelta(minutes=1), require_typ=True, public_paths=iter(["/a", "/b"]), max_token_size=4096
    )
    assert text.policy == value.policy
    assert text.public_paths == value.public_paths


def test_a_keyword_overrides_the_environment() -> None:
    """What the code says wins, whether it or the environment names a file; None unsets."""
    given = environ(ISSUER=ISSUER, AUDIENCE="api", SECRET_FILE="/nowhere", LEEWAY="5", REALM="env")
    settings = Settings.from_env(given, secret=SECRET, leeway=7, audience=["x"], realm=None)  # type: ignore[arg-type]
    assert (settings.secret, settings.leeway, settings.audience, settings.realm) == (SECRET, 7, ("x",), "api")


def test_a_file_named_in_code_overrides_the_environment(tmp_path: Path) -> None:
    """`secret_file=` wins over a `SECRET` of the environment."""
    (tmp_path / "secret").write_text(SECRET + "\n")
    given = environ(ISSUER=ISSUER, AUDIENCE="api", SECRET="another secret of more than thirty-two bytes")
    assert Settings.from_env(given, secret_file=str(tmp_path / "secret")).secret == SECRET


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


@pytest.mark.parametrize("name", FILES)
def test_any_value_may_come_from_a_file(name: str, tmp_path: Path) -> None:
    """`<NAME>_FILE` names a file with the value, whose last line break does not count."""
    content = {
        "issuer": ISSUER,
        "audience": "api",
        "secret": SECRET,
        "keys": public_pem(rsa_key()),
        "leeway": "5",
        "realm": "orders",
        "public_paths": "/a",
        "require_typ": "true",
        "access_ttl": "1m",
    }
    path = tmp_path / name
    path.write_text(f"{content[name]}\r\n")
    given = {key: value for key, value in content.items() if key not in ("keys", "secret")}
    given["keys" if name == "keys" else "secret"] = content["keys" if name == "keys" else "secret"]
    del given[name]
    variables = {key.upper(): value for key, value in given.items()}
    by_file = Settings.from_env(environ(**variables, **{f"{name.upper()}_FILE": str(path)}))
    in_place = Settings.from_env(environ(**variables, **{name.upper(): content[name]}))
    assert repr(by_file) == repr(in_place)
    assert by_file.policy == in_place.policy
    assert by_file.secret == in_place.secret


@pytest.mark.parametrize("name", FILES)
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
    path.write_text(public_pem(rsa_key()))
    assert faults_of(**WHOLE, keys_file=str(path)) == ("ASGI_JWT_SECRET and ASGI_JWT_KEYS_FILE are both set: keep one",)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ISUER", "ASGI_JWT_ISUER is unknown: did you mean ASGI_JWT_ISSUER?"),
        ("AUDIENCES", "ASGI_JWT_AUDIENCES is unknown: did you mean ASGI_JWT_AUDIENCE?"),
        ("SECRET_FILES", "ASGI_JWT_SECRET_FILES is unknown: did you mean ASGI_JWT_SECRET_FILE?"),
        ("REQUIRED_TYP", "ASGI_JWT_REQUIRED_TYP is unknown: did you mean ASGI_JWT_REQUIRE_TYP?"),
        ("QQQ", "ASGI_JWT_QQQ is unknown: remove it"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name: str, told: str) -> None:
    """A misspelt variable, which would leave its setting at the default, is refused with a suggestion."""
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_env(environ(ISSUER=ISSUER, AUDIENCE="api", SECRET=SECRET, **{name: "hunter2"}))
    assert refused.value.faults == (told,)


def test_an_unknown_keyword_is_refused_like_a_variable() -> None:
    """A misspelt keyword gets the same answer."""
    assert faults_of(**WHOLE, leway=3) == ("ASGI_JWT_LEWAY is unknown: did you mean ASGI_JWT_LEEWAY?",)


def test_what_kubernetes_injects_is_ignored() -> None:
    """The variables that Kubernetes sets for a Service called asgi-jwt are none of ours."""
    injected = environ(
        SERVICE_HOST="10.0.0.1",
        SERVICE_PORT="80",
        SERVICE_PORT_HTTP="80",
        PORT="tcp://10.0.0.1:80",
        PORT_80_TCP="tcp://10.0.0.1:80",
        PORT_80_TCP_PROTO="tcp",
        PORT_80_TCP_PORT="80",
        PORT_80_TCP_ADDR="10.0.0.1",
    )
    assert Settings.from_env(injected | environ(ISSUER=ISSUER, AUDIENCE="api", SECRET=SECRET)).secret == SECRET


BOTH = "- ASGI_JWT_SECRET and ASGI_JWT_KEYS are both set: keep one"
MISCONFIGURED: dict[str, tuple[dict[str, Any], str]] = {
    "no issuer": ({"issuer": None}, "ASGI_JWT_ISSUER is missing"),
    "an empty issuer": ({"issuer": []}, "ASGI_JWT_ISSUER is missing"),
    "several issuers": ({"issuer": "https://a.example,https://b.example"}, "ASGI_JWT_ISSUER names several issuers"),
    "an issuer that is no text": ({"issuer": 1}, "ASGI_JWT_ISSUER has to be a list"),
    "no audience": ({"audience": None}, "ASGI_JWT_AUDIENCE is missing"),
    "an empty audience": ({"audience": ","}, "ASGI_JWT_AUDIENCE is missing"),
    "a star among audiences": ({"audience": "api,*"}, r"ASGI_JWT_AUDIENCE has \* next to others"),
    "no keys": (
        {"secret": None},
        "ASGI_JWT_SECRET is missing, or one of .*, ASGI_JWT_DISCOVERY: the keys .* asgi-jwt keygen",
    ),
    "secret and keys": ({"keys": jwks()}, BOTH),
    "a secret and broken keys": ({"keys": "hunter2"}, BOTH),
    "three of them": (
        {"keys": jwks(), "discovery": True},
        "- ASGI_JWT_SECRET, ASGI_JWT_KEYS and ASGI_JWT_DISCOVERY are all set: keep one",
    ),
    "a short secret": ({"secret": "x" * 31}, "ASGI_JWT_SECRET has 31 bytes, and HS256 needs 32"),
    "a secret of one byte": ({"secret": "x"}, "ASGI_JWT_SECRET has 1 byte, and HS256 needs 32"),
    "a secret short for HS512": (
        {"secret": "x" * 63, "algorithms": "HS512"},
        "ASGI_JWT_ALGORITHMS names HS512, for which no key is made: HS512 needs a secret of 64 bytes",
    ),
    "a secret that is no text": ({"secret": 1}, "ASGI_JWT_SECRET has to be a text"),
    "a public key as secret": ({"secret": public_pem(rsa_key())}, "ASGI_JWT_SECRET is a key's PEM"),
    "a public key in base64 as secret": (
        {"secret": "".join(public_pem(rsa_key()).splitlines()[1:-1])},
        "ASGI_JWT_SECRET is a key's PEM",
    ),
    "a URL as secret": ({"secret": "https://issuer.example/.well-known/jwks.json"}, "ASGI_JWT_SECRET is a key's PEM"),
    "keys that are cut off": (
        {"secret": None, "keys": private_pem(rsa_key())[:200] + public_pem(rsa_key())},
        "ASGI_JWT_KEYS holds a PEM block without its last line",
    ),
    "short RSA": ({"secret": None, "keys": WEAK_RSA}, "ASGI_JWT_KEYS has an RSA key of 2047 bits"),
    "a symmetric key next to others": (
        {"secret": None, "keys": {"keys": [*jwks()["keys"], {"kty": "oct", "k": "A" * 43}]}},
        "ASGI_JWT_KEYS holds a symmetric key next to asymmetric ones",
    ),
    "a symmetric algorithm for asymmetric keys": (
        {"secret": None, "keys": jwks(), "algorithms": "RS256,HS256"},
        "ASGI_JWT_ALGORITHMS names HS256, for which no key is made",
    ),
    "an asymmetric algorithm for a secret": (
        {"algorithms": "HS256,RS256"},
        "ASGI_JWT_ALGORITHMS names RS256, for which no key is made",
    ),
    "another curve's algorithm": (
        {"secret": None, "keys": public_pem(ec_key()), "algorithms": "ES384"},
        "ASGI_JWT_ALGORITHMS names ES384, for which no key is made",
    ),
    "the algorithm none": ({"algorithms": "none"}, "ASGI_JWT_ALGORITHMS may hold .*'none' is none of them"),
    "the algorithm None": ({"algorithms": ["HS256", "None"]}, "ASGI_JWT_ALGORITHMS may hold .*'None' is none"),
    "no algorithm list": ({"algorithms": 256}, "ASGI_JWT_ALGORITHMS has to be a list"),
    "keys that are none": ({"secret": None, "keys": "hunter2"}, "ASGI_JWT_KEYS holds neither a JWK, a JWK Set nor PEM"),
    "keys that are no text": ({"secret": None, "keys": 1}, "ASGI_JWT_KEYS has to be a JWK Set, a JWK or PEM"),
    "an empty JWK Set": ({"secret": None, "keys": {"keys": []}}, "ASGI_JWT_KEYS holds no key"),
    "an empty KeySet": ({"secret": None, "keys": KeySet([])}, "ASGI_JWT_KEYS holds no key that may verify"),
    "keys for encryption alone": (
        {"secret": None, "keys": {**jwks()["keys"][0], "use": "enc"}},
        "ASGI_JWT_KEYS holds no key that may verify signatures",
    ),
    "leeway below zero": ({"leeway": -1}, "ASGI_JWT_LEEWAY has to be 0 seconds at least"),
    "leeway past 300": ({"leeway": "6m"}, "ASGI_JWT_LEEWAY has to be 0 seconds at least and 300 at most"),
    "leeway no duration": ({"leeway": "soon"}, "ASGI_JWT_LEEWAY has to be a duration"),
    "an access token for a day": ({"access_ttl": "1d"}, "ASGI_JWT_ACCESS_TTL has to be .* 3600 at most"),
    "no life at all": ({"access_ttl": 0}, "ASGI_JWT_ACCESS_TTL has to be 1 second at least"),
    "a type without a value": ({"type": "access"}, "ASGI_JWT_TYPE has to be name=value"),
    "a required claim without a name": ({"required_claims": "=x"}, "ASGI_JWT_REQUIRED_CLAIMS has to be the name"),
    "an empty claim name": ({"scope_claim": " "}, "ASGI_JWT_SCOPE_CLAIM has to be a text"),
    "a tiny token size": ({"max_token_size": 10}, "ASGI_JWT_MAX_TOKEN_SIZE has to be a whole number, 256 at least"),
    "a cache below zero": ({"cache_size": -1}, "ASGI_JWT_CACHE_SIZE has to be a whole number"),
    "a realm that breaks the challenge": ({"realm": 'x", error="'}, "ASGI_JWT_REALM may hold printable ASCII"),
    "a resource without TLS": ({"resource": "http://host/mcp"}, "ASGI_JWT_RESOURCE has to be an https URL"),
    "a public path without a slash": ({"public_paths": "health"}, "ASGI_JWT_PUBLIC_PATHS may hold paths"),
    "a root path without a slash": ({"root_path": "api"}, "ASGI_JWT_ROOT_PATH has to be a path, as /api"),
    "a root path that is a pattern": ({"root_path": "/api/*"}, "ASGI_JWT_ROOT_PATH has to be a path, as /api"),
    "another token source": ({"token_sources": "query"}, "ASGI_JWT_TOKEN_SOURCES may hold"),
    "an origin with a path": ({"trusted_origins": "https://a.example/x"}, "ASGI_JWT_TRUSTED_ORIGINS has to hold"),
    "a flag that is none": ({"require_typ": "maybe"}, "ASGI_JWT_REQUIRE_TYP has to be true or false"),
}


@pytest.mark.parametrize(("changes", "told"), MISCONFIGURED.values(), ids=MISCONFIGURED)
def test_each_misconfiguration_is_refused(changes: dict[str, Any], told: str) -> None:
    """Settings that can't be used, or not safely, are refused at construction by a fault that names the variable."""
    with pytest.raises(ConfigurationError, match=told):
        Settings(**WHOLE | changes)


def test_all_faults_come_in_one_message() -> None:
    """Whoever sets it up sees everything that is wrong at once, each with its variable."""
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_env(
            environ(SECRET="hunter2", LEEWAY="-1", ALGORITHMS="none", ISUER="x", REALM='"', KEYS_FILE="/no/such/file")
        )
    named = [fault.split(" ")[0].removeprefix("ASGI_JWT_") for fault in refused.value.faults]
    assert sorted(named) == sorted(
        ["KEYS_FILE", "ISUER", "SECRET", "LEEWAY", "ALGORITHMS", "REALM", "ISSUER", "AUDIENCE"]
    )
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
    shown = repr(Settings(**WHOLE)) + repr(Settings(issuer=ISSUER, audience="api", keys=private_pem(ec_key())))
    assert SECRET not in shown
    assert "secret" not in shown.replace(ISSUER, "")
    assert "keys" not in shown
    assert "leeway=30.0" in shown


def test_settings_are_read_only() -> None:
    """Nothing can weaken them after their check."""
    with pytest.raises(AttributeError):
        Settings(**WHOLE).leeway = 3000  # type: ignore[misc]


@pytest.mark.parametrize("form", ["pem", "bytes", "jwks", "jwk", "text", "KeySet"])
def test_keys_in_any_form(form: str) -> None:
    """Keys may be PEM, JSON, its parsed mapping, or a `KeySet`."""
    jwk = RSAAlgorithm.to_jwk(rsa_key().public_key(), as_dict=True)
    forms: dict[str, Any] = {
        "pem": public_pem(rsa_key()),
        "bytes": public_pem(rsa_key()).encode(),
        "jwks": {"keys": [jwk]},
        "jwk": jwk,
        "text": json.dumps({"keys": [jwk]}),
        "KeySet": KeySet.parse(public_pem(rsa_key())),
    }
    settings = Settings(issuer=ISSUER, audience="api", keys=forms[form])
    assert settings.policy.algorithms == {"RS256"}
    assert [key.default for key in settings.key_set.keys] == ["RS256"]


def test_a_private_key_verifies_with_its_public_half() -> None:
    """A private key among the keys signs, and verifies by its public half alone."""
    settings = Settings(issuer=ISSUER, audience="api", keys=private_pem(ec_key()))
    (key,) = settings.key_set.keys
    assert key.verify("ES256", b"x", key.sign("ES256", b"x"))
    assert not hasattr(key._material.public, "sign")  # type: ignore[union-attr]


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


def test_audience_is_switched_off_by_name_alone() -> None:
    """`*` switches the check off; the resource is the audience where none is named."""
    assert Settings(issuer=ISSUER, audience="*", secret=SECRET).policy.audience is None
    assert Settings(issuer=ISSUER, audience=["*"], resource="https://h/mcp", secret=SECRET).policy.audience is None
    assert Settings(issuer=ISSUER, resource="https://h/mcp", secret=SECRET).policy.audience == ("https://h/mcp",)
    assert Settings(**WHOLE, resource="https://h/mcp").policy.audience == ("api",)


def test_type_is_switched_off_by_name_alone() -> None:
    """`TYPE=*` asks for no type claim."""
    assert Settings(**WHOLE, type="*").policy.type is None
