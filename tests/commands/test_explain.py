"""Each kind of refusal is explained in one line: what was found, what is expected, and the mend."""

import json
from typing import Any
from unittest.mock import AsyncMock

import pytest
from support.command_line import CommandLine
from support.forgeries import FORGERIES, Forgery
from support.issuers import IssuerServer
from support.tokens import (
    AUDIENCE,
    ISSUER,
    LOGOUT_EVENT,
    NOW,
    SECRET,
    Part,
    claims,
    ec_key,
    genuine,
    hs256,
    jwk_of,
    jwks,
    jws,
    keys_auth,
    secret_token,
    thief_key,
    token_by,
)

from asgi_jwt.auth import Auth
from asgi_jwt.errors import AuthError, InvalidToken, RefusedToken, RevocationsUnavailable, RevokedToken
from asgi_jwt.tokens.key_rotation import generate_jwk

KEYS = {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "KEYS": json.dumps(jwks())}


@pytest.fixture
def remote(asgi_jwt: CommandLine, server: IssuerServer) -> IssuerServer:
    asgi_jwt.environ = {"ISSUER": server.issuer, "AUDIENCE": AUDIENCE, "DISCOVERY": "true"}
    return server


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_each_forgery_is_explained(asgi_jwt: CommandLine, forgery: Forgery) -> None:
    """The verdict is that of `Auth.verify` for the token as it is pasted; the explanation is one line with a mend."""
    given = forgery.token()
    if forgery.auth is keys_auth:
        asgi_jwt.environ = KEYS
    for name, stdin in (("-", given.encode()), ("--", None)):
        told = asgi_jwt("inspect", name, *([given] if stdin is None else []), stdin=stdin)
        if not given.strip():
            assert told.status == 2
        elif given.strip() != given:  # what stands around a token is taken off
            assert told.status == 0
        else:
            first, *rest = told.out.splitlines()
            assert (told.status, told.err) == (1, "")
            assert first.startswith(f"refused ({forgery.reason}): ")
            assert first.isprintable()
            assert first.count(": ") >= 2, "what was found, and the mend"
            assert all(line.isprintable() for line in rest)
            signature = given.rpartition(".")[2]
            assert len(signature) < 40 or signature not in told.out
            read = asgi_jwt("inspect", "--json", "--", given).json
            assert (read["accepted"], read["reason"]) == (False, forgery.reason)
            assert first == f"refused ({forgery.reason}): {read['explanation']}"


def test_each_reason_is_among_the_forgeries() -> None:
    """What the table of forgeries lacks of the tree of errors is tested below, each by its name."""
    tree = {error.reason for error in InvalidToken.__subclasses__()}
    below = {"token_revoked", "token_refused", "token_inactive", "token_unbound"}
    assert tree - {forgery.reason for forgery in FORGERIES.values()} == below


# A token, the settings that refuse it, and the whole explanation.
def by_secret(header: Part, **changes: Any) -> str:
    return jws(header, claims(**changes), hs256(SECRET))


def by_keys(*jwks: Any, **variables: str) -> dict[str, str]:
    return {"SECRET": "", "KEYS": json.dumps({"keys": jwks}), **variables}


RSA, P256, P384, *_ = jwks()["keys"]
NAMELESS = jws({"alg": "ES256"}, claims(), genuine)
NAMELESS_384 = jws({"alg": "ES384"}, claims(), genuine)
MANY = by_keys(*(generate_jwk("ES256") for _ in range(5)))
TYPED = {"REQUIRE_TYP": "true", "TYP": "at+jwt"}
EXPECTED = f'ASGI_JWT_AUDIENCE is "{AUDIENCE}"'

# A token, the settings that refuse it, and what the explanation says.
EXPLAINED: list[tuple[str, dict[str, str], str]] = [
    (
        by_secret({"alg": "HS256", "typ": "rt+jwt"}),
        by_keys(*jwks()["keys"]),
        "it is a refresh token, as it says itself",
    ),
    (secret_token(aud="billing"), {"AUDIENCE": "orders"}, 'aud is "billing", ASGI_JWT_AUDIENCE is "orders": ask for a'),
    (secret_token(aud=["x", "y"]), {"AUDIENCE": "a,b"}, 'aud is ["x", "y"], ASGI_JWT_AUDIENCE is "a", "b": ask for a'),
    (secret_token(aud="*"), {}, f'aud is "*", ASGI_JWT_AUDIENCE is "{AUDIENCE}": ask for a token for this service'),
    (secret_token(aud="app", nonce="n"), {}, f'aud is "app", {EXPECTED}: it looks like an ID token, for it has nonce'),
    (
        secret_token(client_id="app"),
        {"AUDIENCE_CLAIM": "client_id"},
        f'client_id is "app", {EXPECTED}: ask for a token',
    ),
    (
        secret_token(),
        {"AUDIENCE_CLAIM": "azp"},
        f"azp is missing, {EXPECTED}: ask for a token for this service, or name",
    ),
    *(
        (secret_token(events={LOGOUT_EVENT: {}}, **changes), {}, "it is a logout token, as it says itself: its issuer")
        for changes in ({}, {"aud": "shop"}, {"exp": NOW - 300})
    ),
    (by_secret({"alg": "HS256", "typ": "logout+jwt"}), {}, "it is a logout token, as it says itself: its issuer sends"),
    (secret_token(events=LOGOUT_EVENT, aud="shop"), {}, f'aud is "shop", {EXPECTED}: ask for a token'),
    (
        secret_token(cnf={"x5t#S256": "x"}),
        {},
        'cnf is {"x5t#S256": "x"}, and only proofs of its member jkt are checked here: ask',
    ),
    (secret_token(cnf={"jkt": "x"}), {"DPOP": "off"}, 'cnf is {"jkt": "x"}, and ASGI_JWT_DPOP is off: ask for a token'),
    (secret_token(), {"DPOP": "required"}, "cnf is missing, ASGI_JWT_DPOP is required: log in with a proof of a key"),
    (secret_token(sid=["s1"]), {}, 'sid is ["s1"], and has to be a string: have the issuer send one, or leave it out'),
    (
        NAMELESS,
        MANY,
        "kid is missing, 5 keys fit, and 4 at most are tried: have the issuer name the key by its own kid",
    ),
    (
        secret_token(exp=NOW - 300),
        {"LEEWAY": "10"},
        "exp is 2027-01-15 07:55:00 UTC, 5 minutes ago, ASGI_JWT_LEEWAY is 10",
    ),
    (
        secret_token(exp=NOW - 300),
        {"LEEWAY": "10"},
        " seconds: refresh it; if it was made just now, set this machine's",
    ),
    (
        secret_token(iat=NOW + 40),
        {},
        "iat is 2027-01-15 08:00:40 UTC, in 40 seconds, ASGI_JWT_LEEWAY is 30 seconds: this",
    ),
    (secret_token(iss="https://x.example"), {}, f'iss is "https://x.example", ASGI_JWT_ISSUER is "{ISSUER}": ask that'),
    (
        secret_token(iss=f"{ISSUER}/"),
        {},
        f'iss is "{ISSUER}/", ASGI_JWT_ISSUER is "{ISSUER}": they have to be the same',
    ),
    (by_secret({"alg": "HS256"}), TYPED, "typ is missing in its header, ASGI_JWT_REQUIRE_TYP asks for at+jwt: have"),
    (secret_token(), {"REQUIRED_CLAIMS": "email"}, "email is missing, ASGI_JWT_REQUIRED_CLAIMS asks for it: have the"),
    (
        secret_token(n=False),
        {"REQUIRED_CLAIMS": "n=true"},
        'n is false, ASGI_JWT_REQUIRED_CLAIMS asks for "true": send',
    ),
    (
        secret_token(),
        by_keys(RSA, P256),
        'alg is "HS256", allowed here: ES256, RS256: it is signed with a secret, as which',
    ),
    (
        by_secret({"alg": "HS512"}),
        {},
        'alg is "HS512", allowed here: HS256: have the issuer sign with one of them, or add',
    ),
    (NAMELESS, by_keys(RSA, P384, ALGORITHMS="ES384"), 'alg is "ES256", allowed here: ES384: have the issuer sign'),
    (NAMELESS_384, by_keys({**P384, "use": "enc"}, P256), 'alg is "ES384", allowed here: ES256: have the issuer sign'),
    (
        by_secret({"alg": "HS256", "x": [[]] * 20}),
        {},
        "it is a header with too many objects and lists: have the issuer",
    ),
    (jws({"alg": "HS256"}, claims(), hs256("another")), {}, "its signature was not made with ASGI_JWT_SECRET: it was"),
]


@pytest.mark.parametrize(("token", "variables", "told"), EXPLAINED)
def test_explanations(asgi_jwt: CommandLine, token: str, variables: dict[str, str], told: str) -> None:
    """What was found, what is expected under which variable, and the mend."""
    asgi_jwt.environ |= variables
    explained = asgi_jwt("inspect", "--json", token)
    assert explained.status == 1
    assert told in explained.json["explanation"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RevokedToken(), 'it was revoked: itself (jti is "1"), its session (sid is missing), or all'),
        (RefusedToken("on leave"), "the service's own validate refuses it, on leave: see what it asks of sub is"),
        (
            RevocationsUnavailable("no answer"),
            "the store can't be asked whether it was revoked, no answer: requests are",
        ),
        (InvalidToken("odd"), "odd: ask for a new token"),
        (AuthError(), "Authentication is required: ask for a new token"),
    ],
)
def test_what_no_token_brings_about_by_itself(
    asgi_jwt: CommandLine, monkeypatch: pytest.MonkeyPatch, error: AuthError, told: str
) -> None:
    """What the service raises for reasons of its own is explained too."""
    monkeypatch.setattr(Auth, "authentic", AsyncMock(side_effect=error))
    explained = asgi_jwt("inspect", "--json", secret_token())
    assert (explained.status, explained.json["reason"]) == (1, error.reason)
    assert explained.json["explanation"].startswith(told)


def test_a_kid_that_the_remote_issuer_has_not(asgi_jwt: CommandLine, remote: IssuerServer) -> None:
    """The kids that it has are told."""
    remote.publish(*(jwk_of(ec_key(), f"k{number}") for number in range(12)))
    told = asgi_jwt("inspect", "--json", stdin=token_by(ec_key(), "x", iss=remote.issuer)).json
    kids = ", ".join(f'"k{number}"' for number in range(10))
    assert told["explanation"] == (
        f'kid is "x", the kids of {remote.issuer} are {kids}, 2 more: ask the issuer for a new token, and see that it '
        "is the issuer of this one"
    )


def test_a_key_set_by_its_url(asgi_jwt: CommandLine, remote: IssuerServer) -> None:
    """It is named without its query, which may hold a code."""
    asgi_jwt.environ = {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "JWKS_URL": f"{remote.jwks_url}?code=hush"}
    remote.answer("/jwks?code=hush", {"keys": [jwk_of(ec_key(), "a")]})
    told = asgi_jwt("inspect", "--json", stdin=token_by(thief_key(), "a")).json
    assert told["explanation"].startswith(f'its signature was not made with the key "a" of {remote.jwks_url}: ')
    told = asgi_jwt("inspect", "--json", stdin=token_by(ec_key(), "a", alg="RS256")).json
    assert told["explanation"].startswith(f'alg is "RS256", the key "a" of {remote.jwks_url} is made for ES256: ')
    told = asgi_jwt("inspect", "--json", stdin=token_by(ec_key(), None, alg="RS256")).json
    assert told["explanation"].startswith(f'alg is "RS256", no key of {remote.jwks_url} is made for it: ')


def test_an_issuer_that_is_down(asgi_jwt: CommandLine, remote: IssuerServer) -> None:
    """Why its keys can't be had is told, with what it does to requests; nothing of the log is printed beside it."""
    remote.fail()
    told = asgi_jwt("inspect", stdin=token_by(ec_key(), "a", iss=remote.issuer))
    assert (told.status, told.err) == (1, "")
    assert told.out.startswith(
        f"refused (keys_unavailable): the keys of {remote.issuer} can't be had, {remote.issuer}/"
    )
    assert "answered 500" in told.out
    assert "requests are answered with 503 until they can: `asgi-jwt check` looks at them\n" in told.out


def test_several_issuers(asgi_jwt: CommandLine, remote: IssuerServer) -> None:
    """A token is judged by the rules of its own issuer, and told whom else is trusted."""
    with IssuerServer() as other:
        other.publish(jwk_of(thief_key(), "a"))
        other.describe()
        asgi_jwt.environ["ISSUER"] = f"{remote.issuer},{other.issuer}"
        assert asgi_jwt("inspect", stdin=token_by(thief_key(), "a", iss=other.issuer)).status == 0
        forged = asgi_jwt("inspect", "--json", stdin=token_by(ec_key(), "a", iss=other.issuer)).json
        assert f'the key "a" of {other.issuer}' in forged["explanation"]
        strange: Any = asgi_jwt("inspect", "--json", stdin=token_by(ec_key(), "a")).json
        assert f'ASGI_JWT_ISSUER is "{remote.issuer}", "{other.issuer}"' in strange["explanation"]
        assert strange["signature_verified"] is False
