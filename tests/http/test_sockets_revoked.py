"""A WebSocket whose token is revoked is closed, as is every one when nobody knows what is revoked."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from support.app import WatchedStore, make_auth, payload
from support.sockets import NOW, Echo, Server, Sockets, looked
from support.waiting import until

from asgi_jwt import Auth, Identity, MemoryStore
from asgi_jwt.errors import RevocationsUnavailable, RevokedToken
from asgi_jwt.events import SocketClosed
from asgi_jwt.http import sockets
from asgi_jwt.stores.base import LogPage
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

REVOKED = (3000, RevokedToken.description)
OUT_OF_REACH = (1013, RevocationsUnavailable.description)
REFRESH_SECRET = "the secret of refresh tokens: thirty-two bytes and more"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "LONGEST_WAIT", 0.01)
    monkeypatch.setattr(sockets, "_SHORTEST_INTERVAL", 0.01)


def an_auth(store: WatchedStore, clock: Clock | None = None, **settings: Any) -> Auth:
    """One of several processes' on one store, which it reads again and again."""
    given = {"refresh_secret": REFRESH_SECRET, "revocation_interval": 0.02, **settings}
    return make_auth(store=store, clock=clock or Clock(NOW), **given)


async def logged_in(auth: Auth, subject: str) -> dict[str, str]:
    pair = await auth.sessions.open(Identity(subject))
    return {"authorization": f"Bearer {pair.access_token}"}


REVOCATIONS: dict[str, Callable[[Auth, str], Awaitable[object]]] = {
    "jti": lambda auth, token: auth.revoke_token(token),
    "sub": lambda auth, token: auth.revoke_subject("alice"),
    "all": lambda auth, token: auth.sessions.end_all("alice"),
    "sid": lambda auth, token: auth.sessions.end("alice", payload(token)["sid"]),
}


@pytest.mark.parametrize("kind", REVOCATIONS)
@pytest.mark.parametrize("where", ["here", "elsewhere"])
async def test_closed_when_revoked(kind: str, where: str) -> None:
    """What is revoked, in this process or in another on the same store, is closed with 3000; others stay open, and so
    does what another session of the user has open when one session ends."""
    store, clock, app = WatchedStore(), Clock(NOW), Echo()
    open_ = Sockets(app, an_auth(store, clock))
    alice = await logged_in(open_.auth, "alice")
    other = await logged_in(open_.auth, "alice" if kind == "sid" else "bob")
    hers, his = Server(), Server()
    revoking = open_.auth if where == "here" else an_auth(store, clock)
    async with open_.connected(his, other):
        async with open_.connected(hers, alice):
            await looked()
            clock.turn(1)
            await REVOCATIONS[kind](revoking, alice["authorization"].split()[1])
            clock.turn(1)
        assert (hers.closes, app.ends) == ([REVOKED], [3000])
        await until(lambda: SocketClosed("token_revoked", 3000) in open_.heard)
        await looked()
        assert his.closes == []
        his.leave()


@pytest.mark.parametrize("outage", ["closed", "open"])
async def test_when_revocations_are_out_of_reach(outage: str) -> None:
    """Past the staleness everyone is closed with 1013, or, with the outage `open`, nobody; before it nobody either."""
    store, clock = WatchedStore(), Clock(NOW)
    app = Echo()
    open_ = Sockets(app, an_auth(store, clock, revocation_max_staleness=5, revocation_outage=outage))
    servers = Server(), Server()
    alice = await logged_in(open_.auth, "alice")
    async with open_.connected(servers[0], alice), open_.connected(servers[1], alice):
        store.down = {"read_revocations"}
        clock.turn(4)
        await looked()
        assert servers[0].closes == servers[1].closes == []
        clock.turn(2)
        if outage == "open":
            await looked()
            assert servers[0].closes == servers[1].closes == []
            for server in servers:
                server.leave()
    if outage == "closed":
        assert servers[0].closes == servers[1].closes == [OUT_OF_REACH]
        assert app.ends == [1013, 1013]
        await until(lambda: open_.heard.count(SocketClosed("revocations_unavailable", 1013)) == 2)


async def test_a_store_that_comes_back_in_time() -> None:
    """An outage shorter than the staleness closes nobody, and what was revoked meanwhile is closed after it."""
    store, clock = WatchedStore(), Clock(NOW)
    open_ = Sockets(Echo(), an_auth(store, clock))
    alice, bob = await logged_in(open_.auth, "alice"), await logged_in(open_.auth, "bob")
    hers, his = Server(), Server()
    async with open_.connected(his, bob):
        async with open_.connected(hers, alice):
            store.down = {"read_revocations"}
            clock.turn(3)
            await looked()
            await an_auth(WatchedStore(store.inner), clock).revoke_subject("alice")
            await looked()
            assert hers.closes == []
            store.down = set()
            clock.turn(1)
        assert hers.closes == [REVOKED]
        assert his.closes == []
        his.leave()


class HangingStore(WatchedStore):
    """Its log is read when the gate is open."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.gate = anyio.Event()
        self.gate.set()
        self.waiting = 0

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        return await super().read_revocations(cursor)


async def test_a_store_that_hangs_delays_no_other_end() -> None:
    """While a read of the log gets no answer, tokens end in time."""
    store, clock = HangingStore(), Clock(NOW)
    open_, server = Sockets(Echo(), an_auth(store, clock, revocation_outage="open", access_ttl=60, leeway=0)), Server()
    async with open_.connected(server, await logged_in(open_.auth, "alice")):
        store.gate = anyio.Event()
        clock.turn(30)
        await until(lambda: store.waiting)
        clock.turn(30)
        await until(lambda: server.closes)
        assert store.waiting
        store.gate.set()
    assert server.closes[0][0] == 3000


async def test_a_clock_that_jumps_during_a_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer that wakes from its sleep in the middle of a read has not failed to read: nobody is closed."""
    monkeypatch.setattr(sockets, "LONGEST_WAIT", 1000)
    monkeypatch.setattr("asgi_jwt.sessions.revocations._READ_WAIT", 0.1)
    store, clock = HangingStore(), Clock(NOW)
    open_, server = Sockets(Echo(), an_auth(store, clock)), Server()
    async with open_.connected(server, await logged_in(open_.auth, "alice")):
        store.gate = anyio.Event()
        clock.turn(1)
        await until(lambda: store.waiting)
        clock.turn(600)
        await anyio.sleep(0.2)
        store.gate.set()
        await looked()
        assert server.closes == []
        server.leave()
