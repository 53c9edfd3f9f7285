"""Auth with remote issuers, and with several of them."""

import sys
from collections.abc import Iterator

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from support.issuers import JWKS, OPENID, IssuerServer
from support.tokens import (
    AUDIENCE,
    ISSUER,
    NOW,
    SECRET,
    ec_key,
    jwk_of,
    jwks,
    p384_key,
    secret_token,
    thief_key,
    token_by,
)

from asgi_jwt import errors
from asgi_jwt.auth import Auth
from asgi_jwt.events import Event, KeysFetched
from asgi_jwt.settings import Settings
from asgi_jwt.testing import Clock, fake_issuer
from asgi_jwt.tokens.identity import Identity

pytestmark = pytest.mark.anyio


@pytest.fixture
def other() -> Iterator[IssuerServer]:
    """A second issuer, whose key has the same name."""
    with IssuerServer() as server:
        server.publish(jwk_of(thief_key(), "a"))
        server.describe()
        yield server


def environ(**variables: str) -> dict[str, str]:
    return {f"ASGI_JWT_{name}": value for name, value in {"AUDIENCE": AUDIENCE, **variables}.items()}


async def test_a_key_set_by_its_url(server: IssuerServer) -> None:
    """`JWKS_URL` alone verifies the issuer's tokens, with its events told, and a token needs no type claim."""
    heard: list[Event] = []
    given = environ(ISSUER=ISSUER, JWKS_URL=server.jwks_url)
    auth = Auth.from_env(given, clock=Clock(NOW), on_event=heard.append)
    token = token_by(ec_key(), "a", type="Bearer")
    assert (await auth.verify(token)).subject == "alice"
    assert auth.verify_cached(token) is not None
    await wait_all_tasks_blocked()
    assert (server.requests, heard) == ([JWKS], [KeysFetched(server.jwks_url, 1, ())])


async def test_issuers_of_the_environment(server: IssuerServer, other: IssuerServer) -> None:
    """With `DISCOVERY`, each issuer of the list has its own keys, and none can sign for another."""
    given = environ(ISSUER=f"{server.issuer},{other.issuer}", DISCOVERY="true")
    auth = Auth.from_env(given, clock=Clock(NOW))
    assert (await auth.verify(token_by(ec_key(), "a", iss=server.issuer))).issuer == server.issuer
    assert (await auth.verify(token_by(thief_key(), "a", iss=other.issuer))).issuer == other.issuer
    assert server.requests == other.requests == [OPENID, JWKS]
    for key, issuer in ((ec_key(), other.issuer), (thief_key(), server.issuer)):
        with pytest.raises(errors.InvalidSignature):
            await auth.verify(token_by(key, "a", iss=issuer))
    with pytest.raises(errors.WrongIssuer):
        await auth.verify(token_by(ec_key(), "a", iss=ISSUER))


async def test_algorithms_narrow_what_remote_keys_are_for(server: IssuerServer) -> None:
    """`ALGORITHMS` refuses what else the issuer's keys could verify."""
    given = environ(ISSUER=ISSUER, JWKS_URL=server.jwks_url, ALGORITHMS="ES384")
    server.publish(jwk_of(ec_key(), "a"), jwk_of(p384_key(), "2"))
    with pytest.raises(errors.AlgorithmNotAllowed):
        await Auth.from_env(given, clock=Clock(NOW)).verify(token_by(ec_key(), "a"))
    assert server.requests == []


async def test_an_issuer_of_ones_own_and_others(server: IssuerServer) -> None:
    """In code each issuer brings its keys, its audience and its rules; one's own signs."""
    others = [
        Settings(issuer=server.issuer, audience="client", discovery=True, audience_claim="azp"),
        Settings(issuer="https://keys.example", audience=AUDIENCE, keys=jwks(), type="*"),
    ]
    auth = Auth.from_env(environ(ISSUER=ISSUER, SECRET=SECRET), issuers=others, clock=Clock(NOW))
    assert auth.verifier.issuers == (ISSUER, server.issuer, "https://keys.example")
    assert (await auth.verify(auth.issuer.access_token(Identity("bob")))).issuer == ISSUER
    theirs = await auth.verify(token_by(ec_key(), "a", iss=server.issuer, aud="x", azp="client", type="x"))
    assert theirs.issuer == server.issuer
    third = await auth.verify(token_by(ec_key(), "p256", iss="https://keys.example"))
    assert third.issuer == "https://keys.example"
    with pytest.raises(errors.WrongAudience):
        await auth.verify(token_by(ec_key(), "a", iss=server.issuer, azp="another"))
    with pytest.raises(errors.AlgorithmNotAllowed):
        await auth.verify(secret_token(iss=server.issuer))


def test_an_issuer_named_twice() -> None:
    """The same issuer with two kinds of keys is a fault."""
    settings = Settings(issuer=ISSUER, audience=AUDIENCE, secret=SECRET)
    with pytest.raises(errors.ConfigurationError, match="trusted twice"):
        Auth(settings, issuers=[Settings(issuer=ISSUER, audience="other", keys=jwks())])


@pytest.mark.parametrize("source", [{"jwks_url": "https://issuer.example/jwks"}, {"discovery": True}])
def test_issuing_needs_keys_of_ones_own(source: dict[str, str]) -> None:
    """A remote issuer's private key is not here: neither tokens nor sessions can be issued."""
    auth = Auth(Settings(issuer=ISSUER, audience=AUDIENCE, refresh_secret="r" * 32, store="memory://", **source))
    with pytest.raises(
        errors.ConfigurationError, match="ASGI_JWT_KEYS is not set, and a remote issuer gives no private key"
    ):
        _ = auth.issuer
    with pytest.raises(errors.ConfigurationError, match="no private key"):
        _ = auth.sessions


def test_without_httpx2(monkeypatch: pytest.MonkeyPatch) -> None:
    """The missing extra shows where the Auth is built, with the line that mends it; own keys don't need it."""
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(errors.ConfigurationError, match="pip install httpx2"):
        Auth.from_env(environ(ISSUER=ISSUER, DISCOVERY="true"))
    assert Auth.from_env(environ(ISSUER=ISSUER, SECRET=SECRET))


async def test_a_fake_issuer_fetches_nothing(server: IssuerServer, other: IssuerServer) -> None:
    """In users' tests the keys of remote issuers are thrown away ones, for each of them, and no network is needed."""
    given = environ(ISSUER=f"{server.issuer},{other.issuer}", DISCOVERY="true", SCOPE_CLAIM="scp")
    auth = Auth.from_env(given, clock=Clock(NOW))
    with fake_issuer(auth) as issue:
        auth.warm_up()
        token = issue.token("bob", scopes="a")
        claims = await auth.verify(token)
        assert (claims.subject, claims.issuer, *claims.scopes) == ("bob", server.issuer, "a")
        assert (await auth.verify(issue.token(claims={"iss": other.issuer}))).issuer == other.issuer
        with pytest.raises(errors.WrongIssuer):
            await auth.verify(issue.token(claims={"iss": ISSUER}))
    assert server.requests == other.requests == []
    with pytest.raises(errors.UnknownKey):
        await auth.verify(token)


async def test_warming_up(server: IssuerServer, other: IssuerServer) -> None:
    """A warm-up begins the fetch of every remote issuer's keys and returns at once; the first tokens need none.

    Another one changes nothing, while a fetch is under way and while the keys are fresh.
    """
    given = environ(ISSUER=f"{server.issuer},{other.issuer}", DISCOVERY="true")
    auth = Auth.from_env(given, clock=Clock(NOW))
    with server.holding(), other.holding():
        for _ in range(2):
            auth.warm_up()
        for each in (server, other):
            await each.request()
    tokens = {server: token_by(ec_key(), "a", iss=server.issuer), other: token_by(thief_key(), "a", iss=other.issuer)}
    async with anyio.create_task_group() as group:
        for token in tokens.values():
            group.start_soon(auth.verify, token)
    auth.warm_up()
    assert all([await auth.verify(token) for token in tokens.values()])
    assert (server.count(), other.count()) == (1, 1)
