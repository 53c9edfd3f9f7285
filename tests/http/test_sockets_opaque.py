"""An open WebSocket with a token that is no JWT: its verifier is asked again when its claims hold no longer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.app import AUDIENCE, ISSUER, SECRET, WatchedStore
from support.issuers import IssuerServer
from support.sockets import LEEWAY, NOW, Echo, Server, Sockets, looked
from support.waiting import until

from asgi_jwt import Auth, Claims, Settings, errors
from asgi_jwt.events import SocketClosed
from asgi_jwt.http import renewal, sockets
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

KEY = "key-of-alice"
ALICE = {"iss": ISSUER, "sub": "alice"}
INACTIVE = (3000, "The access token is unknown or no longer active")
AWAY = (1013, "Authentication is temporarily unavailable")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that was turned is looked at soon."""
    monkeypatch.setattr(sockets, "LONGEST_WAIT", 0.01)


class Keys:
    """A verifier of one key. What it answers can be changed; an exception is raised."""

    ttl = 60

    def __init__(self) -> None:
        self.answer: Any = ALICE
        self.asked = 0
        self.waits = False

    async def verify(self, token: str) -> Claims | None:
        self.asked += 1
        await until(lambda: not self.waits)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer and Claims(self.answer)


def sockets_of(verifier: Any, app: Any = None, store: Any = None, **settings: Any) -> Sockets:
    given = Settings(issuer=ISSUER, audience=AUDIENCE, secret=SECRET, **settings)
    return Sockets(app or Echo(), Auth(given, verifiers=[verifier], store=store, clock=Clock(NOW)))


@asynccontextmanager
async def connected(open_: Sockets, server: Server, **headers: str) -> AsyncIterator[None]:
    async with open_.connected(server, headers or {"authorization": f"Bearer {KEY}"}):
        yield


async def test_a_key_that_is_still_good() -> None:
    """After each `ttl` its verifier is asked, once for all WebSockets with the key, and they stay open."""
    keys = Keys()
    open_, first, second = sockets_of(keys), Server(), Server()
    async with connected(open_, first), connected(open_, second):
        open_.turn(59)
        await looked()
        assert keys.asked == 1
        open_.turn(60)
        await until(lambda: keys.asked == 2)
        await looked()
        open_.turn(60)
        await until(lambda: keys.asked == 3)
        first.arrive("hello")
        await until(lambda: first.texts == ["hello"])
        assert (first.closes, second.closes, keys.asked) == ([], [], 3)
        first.leave()
        second.leave()


ENDS: list[tuple[Any, tuple[int, str]]] = [
    (None, INACTIVE),
    ({**ALICE, "sub": "bob"}, INACTIVE),
    ({**ALICE, "iss": "https://other.example"}, INACTIVE),
    ({**ALICE, "exp": NOW - 60}, (3000, "The access token expired")),
    (errors.RevokedToken(), (3000, "The access token was revoked")),
    (errors.InsufficientScope(), (3003, "The access token lacks a required scope")),
    (RuntimeError("the database is away"), AWAY),
    ("no claims", AWAY),
]


@pytest.mark.parametrize(("answer", "close"), ENDS, ids=[repr(answer) for answer, _ in ENDS])
async def test_a_key_that_has_ended(answer: Any, close: tuple[int, str]) -> None:
    """The connection is closed as a new one with the key would be refused; one whose key is another user's now, too."""
    keys = Keys()
    open_, server = sockets_of(keys), Server()
    async with connected(open_, server):
        keys.answer = answer if not isinstance(answer, str) else Exception(answer)
        open_.turn(60)
        await until(lambda: server.closes == [close])
    await until(lambda: [type(event) for event in open_.heard].count(SocketClosed) == 1)


async def test_a_forgotten_issuer() -> None:
    """The WebSockets of its keys are closed within a second, and no others; for a new one the verifier is asked."""
    keys = Keys()
    open_, server = sockets_of(keys), Server()
    async with connected(open_, server):
        for iss, closes in (("https://other.example", []), (ISSUER, [(3000, errors.WrongIssuer.description)])):
            open_.auth.forget_issuer(iss)
            await looked()
            await until(lambda closes=closes: server.closes == closes)  # type: ignore[misc]
        again = Server()
        async with connected(open_, again):
            await looked()
            assert (again.closes, keys.asked) == ([], 2)
            again.leave()


async def test_a_verifier_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is closed with 1013 after a while, also where many wait for their turn."""
    monkeypatch.setattr(renewal, "ASK_TIMEOUT", 0.2)
    monkeypatch.setattr(renewal, "ASKED_AT_ONCE", 1)
    keys = Keys()
    open_, servers = sockets_of(keys), [Server(), Server()]
    async with connected(open_, servers[0]), connected(open_, servers[1]):
        keys.waits = True
        open_.turn(60)
        await until(lambda: all(server.closes == [AWAY] for server in servers))
        keys.waits = False


async def test_a_key_with_an_end() -> None:
    """It holds until then, with the leeway; nobody is asked before."""
    keys = Keys()
    keys.answer = {**ALICE, "exp": NOW + 600}
    open_, server = sockets_of(keys), Server()
    async with connected(open_, server):
        open_.turn(600 + LEEWAY - 1)
        await looked()
        assert (server.closes, keys.asked) == ([], 1)
        open_.turn(1)
        await until(lambda: server.closes == [(3000, "The access token expired")])


async def test_a_client_that_leaves_meanwhile() -> None:
    """A WebSocket that its client closes while its verifier is asked is not watched any more."""
    keys = Keys()
    open_, server, other = sockets_of(keys), Server(), Server()
    async with open_.connected(other):
        async with connected(open_, server):
            keys.waits = True
            open_.turn(60)
            await until(lambda: keys.asked == 2)
            server.leave()
        keys.waits = False
        await looked()
        open_.turn(60)
        await looked()
        assert (server.closes, keys.asked) == ([(1000, "")], 2)
        other.leave()


async def test_answers_that_hold_for_no_time() -> None:
    """An open WebSocket is asked about once a second at most."""
    keys = Keys()
    keys.ttl = 0
    open_, server = sockets_of(keys), Server()
    async with connected(open_, server):
        await looked()
        assert keys.asked == 1
        open_.turn(1)
        await until(lambda: keys.asked == 2)
        server.leave()


async def test_revoked_here() -> None:
    """A revocation closes it within the interval, as one with a JWT."""
    keys = Keys()
    keys.answer = {**ALICE, "jti": "1"}
    open_, server = sockets_of(keys, store=WatchedStore(), revocation_interval=0.1), Server()
    async with connected(open_, server):
        await open_.auth.revoke_token(KEY)
        await until(lambda: server.closes == [(3000, "The access token was revoked")])


@pytest.mark.parametrize(
    ("source", "headers"),
    [("header:X-Key", {"x-key": KEY}), ("cookie:key", {"cookie": f"key={KEY}"}), ("header", {})],
)
async def test_wherever_the_key_stands(source: str, headers: dict[str, str]) -> None:
    """The key of any source is asked about again; a JWT beside it ends by itself."""
    keys = Keys()
    open_, server, jwts = sockets_of(keys, token_sources=f"header,{source}"), Server(), Server()
    async with connected(open_, server, **headers), open_.connected(jwts):
        keys.answer = None
        open_.turn(60)
        await until(lambda: server.closes == [INACTIVE])
        assert jwts.closes == []
        open_.turn()
        await until(lambda: jwts.closes == [(3000, "The access token expired")])


@pytest.mark.parametrize(("status", "close"), [(200, INACTIVE), (500, AWAY)])
async def test_introspected(server: IssuerServer, status: int, close: tuple[int, str]) -> None:
    """A token that its server no longer calls active ends its WebSocket within `INTROSPECTION_TTL`, whatever its `exp`;
    while the server is away, it is 1013."""
    given = Settings(
        issuer=ISSUER,
        audience="*",
        introspection_url=f"{server.issuer}/introspect",
        introspection_client_id="orders",
        introspection_client_secret="secret",
    )
    active = {"active": True, "sub": "alice", "exp": NOW + 3600}
    server.answer("/introspect", active, content_type="application/json")
    open_, socket = Sockets(Echo(), Auth(given, clock=Clock(NOW))), Server()
    async with connected(open_, socket):
        server.answer("/introspect", {"active": False}, status=status, content_type="application/json")
        open_.turn(60)
        await until(lambda: socket.closes == [close])
