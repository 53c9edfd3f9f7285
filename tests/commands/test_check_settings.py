"""What is doubtful in settings and keys that can be used."""

import json
from pathlib import Path
from typing import Any

import pytest
from jwt.algorithms import ECAlgorithm
from support.tokens import NOW, SECRET, ec_key, jwks

from asgi_jwt.commands.check_settings import check_keys, check_mode, check_settings
from asgi_jwt.commands.findings import OK, PROBLEM, WARNING, Finding
from asgi_jwt.settings import Settings

RANDOM = "Jq0wZ3v8Lr5Nd2Xk7Tb9Ys4Hm1Gc6Pf0"


def settings(**changes: Any) -> Settings:
    given = {"issuer": "https://issuer.example", "audience": "orders", "secret": RANDOM}
    return Settings(**{**given, "dpop_bases": "https://orders.example", **changes})


def private_jwk(**members: Any) -> dict[str, Any]:
    return {**ECAlgorithm.to_jwk(ec_key(), as_dict=True), "key_ops": None, "kid": "p256", **members}


def doubts(given: Settings) -> list[str]:
    found = [*check_settings(given), *(() if given.is_remote else check_keys(given, given.key_set.at(NOW), NOW))]
    assert all(finding.level == OK or finding.mend for finding in found)
    return [finding.found for finding in found if finding.level != OK]


def test_settings_that_are_well() -> None:
    """Nothing is doubted that is as the documentation has it, and what is in force is told."""
    given = settings(refresh_secret=RANDOM[::-1], store="redis://localhost", audience=["a", "b"])
    assert doubts(given) == []
    assert next(check_settings(given)).found == 'issuer "https://issuer.example", audience "a", "b"'
    assert [(each.about, each.found) for each in check_keys(given, given.key_set, NOW)] == [
        ("keys", "1 to verify with, a secret (HS256) signs"),
        ("refresh keys", "1 to verify with, a secret (HS256) signs"),
    ]


def test_what_a_gateway_gives(tmp_path: Path) -> None:
    """The header that a client can send too, and the token for keys, are told. Others who can read it are doubted."""
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o644)
    remote: dict[str, Any] = {"secret": None, "jwks_url": "http://localhost/jwks", "jwks_token_file": token}
    given = settings(token_sources="header:X-Gateway,cookie:a", **remote)
    found = [each for each in check_settings(given) if "X-Gateway" in each.found or "JWKS_TOKEN_FILE" in each.found]
    assert [(each.level, each.found[:57]) for each in found] == [
        (OK, "tokens are read from X-Gateway, which a client can send p"),
        (OK, "ASGI_JWT_JWKS_TOKEN_FILE holds a token, which is sent to "),
        (WARNING, "the file of ASGI_JWT_JWKS_TOKEN_FILE can be read by every"),
    ]


def test_logouts_of_issuers() -> None:
    """The client ids of logout tokens, and how long a logout holds, are told. Without a store none could be kept."""
    given = settings(logout_audience="shop", revocation_ttl="2h", store="sqlite:///a.db")
    told = [finding.found for finding in check_settings(given)]
    assert told[1].startswith('logout tokens for "shop" revoke access tokens, for 2 hours: see that no issuer')
    assert doubts(given) == []
    assert [each.split(", which")[0] for each in doubts(settings(logout_audience="shop"))] == [
        "ASGI_JWT_LOGOUT_AUDIENCE takes logouts"
    ]


DOUBTED: dict[str, tuple[dict[str, Any], str]] = {
    "no URL for proofs": ({"dpop_bases": None}, "ASGI_JWT_DPOP_BASES is not set: the URL of a DPoP proof is compared"),
    "any audience": ({"audience": "*"}, "ASGI_JWT_AUDIENCE=* takes the tokens that the issuer made for any of its"),
    "a resource that is no audience": ({"resource": "https://host/mcp"}, "ASGI_JWT_AUDIENCE lacks ASGI_JWT_RESOURCE"),
    "keys over plain http": (
        {"secret": None, "jwks_url": "http://jwks.auth.svc/keys", "jwks_allow_http": "jwks.auth.svc"},
        "ASGI_JWT_JWKS_URL is plain http: whoever is on the way there can put in keys",
    ),
    "any type of one's own tokens": ({"type": "*"}, "ASGI_JWT_TYPE=* takes every kind of token that your keys sign"),
    "cookies over plain HTTP": ({"cookie_secure": False}, "ASGI_JWT_COOKIE_SECURE=false sends the tokens' cookies"),
    "long access tokens": ({"access_ttl": "45m"}, "ASGI_JWT_ACCESS_TTL is 45 minutes, for which a stolen access token"),
    "sessions in the process": ({"store": "memory://"}, "memory:// ends all sessions with the process"),
    "a secret that is a phrase": ({"secret": SECRET}, "ASGI_JWT_SECRET reads like a phrase, and who guesses it signs"),
    "a secret of few characters": ({"secret": "abc" * 20}, "ASGI_JWT_SECRET reads like a phrase"),
    "an old secret that is a phrase": (
        {"refresh_secret": [RANDOM[::-1], "change-me, " * 4]},
        "ASGI_JWT_REFRESH_SECRET reads like a phrase",
    ),
}


@pytest.mark.parametrize(("changes", "told"), DOUBTED.values(), ids=DOUBTED)
def test_what_is_doubted(changes: dict[str, Any], told: str) -> None:
    """Each is a warning of its own, and shows no secret."""
    (doubt,) = doubts(settings(**changes))
    assert doubt.startswith(told)


@pytest.mark.parametrize(
    "changes",
    [
        {"access_ttl": "30m"},
        {"resource": "https://host/mcp", "audience": ["orders", "https://host/mcp"]},
        {"resource": "https://host/mcp", "audience": None},
        {"resource": "https://host/mcp", "audience": "https://host/mcp", "dpop_bases": ()},
        {"dpop": "off", "dpop_bases": ()},
        {"secret": None, "jwks_url": "https://issuer.example/jwks", "access_ttl": "1h"},
        {"secret": None, "keys": jwks(), "access_ttl": "1h"},
        {"secret": b"\x00" * 64},
        {"refresh_secret": {"keys": [{"kty": "oct", "k": "c2VjcmV0" * 8}]}},
    ],
)
def test_what_is_not_doubted(changes: dict[str, Any]) -> None:
    """What matters to nobody here, or can't be told, is passed over."""
    given = settings(**changes)
    found = [*check_settings(given), *([] if given.is_remote else check_keys(given, given.key_set, NOW))]
    assert {finding.level for finding in found} == {OK}


def test_keys_that_only_verify() -> None:
    """A service that issues nothing is told so, and that is well."""
    given = settings(secret=None, keys=jwks())
    assert [each.found for each in check_keys(given, given.key_set, NOW)] == [
        "4 to verify with, none signs, for all are public"
    ]


def test_keys_that_end() -> None:
    """Where all have ended nothing verifies, and where all private ones will, somebody has to see to it."""
    for exp, level, told in (
        (NOW, PROBLEM, "all have ended, as their exp says"),
        (NOW + 60, WARNING, "every private one has an end"),
    ):
        given = settings(secret=None, keys={"keys": [private_jwk(exp=exp)]})
        *_, found = check_keys(given, given.key_set.at(NOW), NOW)
        assert (found.level, found.found) == (level, told)
        assert found.mend == "asgi-jwt keys rotate gives their file a new one"
        refresh = {"keys": [{"kty": "oct", "k": "c2VjcmV0" * 8, "exp": exp}]}
        given = settings(refresh_secret=refresh)
        *_, found = check_keys(given, given.key_set, NOW)
        assert (found.level, found.about, found.found) == (level, "refresh keys", told)
    rotated = settings(secret=None, keys={"keys": [private_jwk(exp=NOW + 60), private_jwk(kid="new", nbf=NOW + 30)]})
    assert [each.found for each in check_keys(rotated, rotated.key_set.at(NOW), NOW)] == [
        '2 to verify with, "p256" (ES256) signs'
    ]


def test_keys_that_have_not_begun() -> None:
    """Where all are to sign later one of them signs already: a clock is wrong, or the file is."""
    doubt = "no private one has begun, as their nbf says, and the first signs all the same"
    for begins, told in ((NOW, []), (NOW + 60, [doubt])):
        given = settings(secret=None, keys={"keys": [private_jwk(nbf=begins)]})
        found = [each for each in check_keys(given, given.key_set.at(NOW), NOW) if each.level != OK]
        assert [each.found for each in found] == told
        assert {each.level for each in found} <= {WARNING}


MODES = {
    (0o600, False): None,
    (0o640, False): None,
    (0o644, True): None,
    (0o644, False): WARNING,
    (0o604, False): WARNING,
    (0o620, True): WARNING,
    (0o660, False): WARNING,
    (0o602, True): PROBLEM,
    (0o666, False): PROBLEM,
}


@pytest.mark.parametrize(("mode", "public"), MODES)
def test_modes(tmp_path: Path, mode: int, public: bool) -> None:
    """A file that everyone can read is a warning, unless it is public; one that everyone can write is a problem."""
    path, level = tmp_path / "it's \x1b keys", MODES[mode, public]
    path.touch()
    path.chmod(mode)
    found: list[Finding] = list(check_mode(path, "keys", "the file", public=public))
    assert [finding.level for finding in found] == ([level] if level else [])
    assert all(finding.mend.startswith("chmod 600 ") and finding.mend.isprintable() for finding in found)


@pytest.mark.parametrize(
    ("mode", "level"), [(0o755, None), (0o775, WARNING), (0o757, PROBLEM), (0o777, PROBLEM), (0o1777, None)]
)
@pytest.mark.parametrize("linked", [False, True])
def test_modes_of_directories(tmp_path: Path, mode: int, level: str | None, linked: bool) -> None:
    """Whoever can write a key file's directory can replace the file, also where the path is a link to it."""
    directory = tmp_path / "keys"
    directory.mkdir()
    path = directory / "key.pem"
    path.touch(0o600)
    directory.chmod(mode)
    if linked:
        (tmp_path / "link.pem").symlink_to(path)
        path = tmp_path / "link.pem"
    found = list(check_mode(path, "keys", "the file"))
    assert [finding.level for finding in found] == ([level] if level else [])
    assert all("the directory of the file can be written" in finding.found for finding in found)
    assert all(finding.mend.startswith("chmod go-w ") for finding in found)


def test_every_path_is_public() -> None:
    """Public paths that are all paths are warned of."""
    for paths, told in ((("/health",), False), (("/health", "/*"), True), (("/*",), True)):
        found = [finding.found for finding in check_settings(settings(public_paths=paths))]
        assert ("ASGI_JWT_PUBLIC_PATHS=/* lets every request in without a token" in found) is told


def test_files_of_settings(tmp_path: Path) -> None:
    """The file of a secret or a private key is looked at, by the name of its variable; a public key may be read."""
    contents = {"secret": RANDOM, "refresh_secret": RANDOM[::-1], "store": "memory://", "issuer": "i", "audience": "a"}
    for name, content in {
        **contents,
        "keys": json.dumps({"keys": [private_jwk()]}),
        "public": json.dumps(jwks()),
    }.items():
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o644)
    files: dict[str, Any] = {f"{name}_file": str(tmp_path / name) for name in contents}
    given = Settings(**files, dpop="off")
    told = [finding.found for finding in check_settings(given) if "can be read by" in finding.found]
    assert told == [
        f"the file of ASGI_JWT_{name.upper()}_FILE can be read by everyone on this machine"
        for name in ("secret", "refresh_secret", "store")
    ]
    for name, count in (("keys", 1), ("public", 0)):
        given = settings(secret=None, keys_file=str(tmp_path / name))
        assert len([each for each in check_settings(given) if each.level == WARNING]) == count
