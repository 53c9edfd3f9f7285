"""Those who watch over open WebSockets: one task, whatever their number, and none when there are none."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from support.app import WatchedStore, authorization, make_auth
from support.sockets import ACCEPT, LEEWAY, LIFE, NOW, Echo, Server, Sockets, looked
from support.waiting import until

from asgi_jwt import JWTMiddleware
from asgi_jwt.events import Event
from asgi_jwt.http import sockets
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

EXPIRED = [(3000, "The access token expired")]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "LONGEST_WAIT", 0.01)


def tasks(backend: str) -> int:
    """How many there are in this event loop."""
    return len(asyncio.all_tasks()) if backend == "asyncio" else trio.lowlevel.current_statistics().tasks_living


@pytest.mark.parametrize("end", ["expired", "revoked", "out of reach", "failed watch"])
async def test_many_are_closed_in_slices(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections end at once, few are closed in one turn of the event loop: others are served between."""
    monkeypatch.setattr(sockets, "_SHORTEST_INTERVAL", 0.01)
    turns, closed_in = 0, Counter[int]()

    class Counted(Server):
        async def send(self, message: Message) -> None:
            closed_in[turns] += message["type"] == "websocket.close"
            await super().send(message)

    class Breaking(Clock):
        broken = False

        def __call__(self) -> float:
            assert not self.broken, "the watch fails"
            return super().__call__()

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    store, clock = WatchedStore(), Breaking(NOW)
    auth = make_auth(store=store, clock=clock, revocation_interval=0.02, revocation_max_staleness=50)
    open_ = Sockets(Echo(), auth)
    headers = authorization(auth)
    servers = [Counted() for _ in range(1000)]
    async with anyio.create_task_group() as group:
        async with anyio.create_task_group() as connections:
            for server in servers:
                connections.start_soon(open_.call, server, headers)
            await until(lambda: all(ACCEPT in server.sent for server in servers))
            group.start_soon(count)
            if end == "revoked":
                await auth.revoke_subject("alice")
                clock.turn(1)
            elif end == "out of reach":
                store.down = {"read_revocations"}
                clock.turn(60)
            elif end == "failed watch":
                clock.broken = True
            else:
                clock.turn(LIFE + LEEWAY)
        group.cancel_scope.cancel()
    assert sum(closed_in.values()) == 1000
    # One turn of the event loop may hold the ends of two of the counter's on trio, which takes tasks in any order.
    assert max(closed_in.values()) <= 2 * sockets.CLOSED_AT_ONCE


@pytest.mark.parametrize("with_store", [True, False])
async def test_it_begins_with_the_first_and_ends_with_the_last(anyio_backend: str, with_store: bool) -> None:
    """There is one while there are connections, none before and none after, and another for the next; before an app
    accepts, nobody watches."""
    store = WatchedStore() if with_store else None
    open_ = Sockets(Echo(), make_auth(store=store, clock=Clock(NOW)))
    alone = tasks(anyio_backend)

    async def never_accepts(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert tasks(anyio_backend) == alone

    await Sockets(never_accepts, open_.auth).call(Server())
    for _ in range(2):
        first, second = Server(), Server()
        async with open_.connected(first) as first_gone, open_.connected(second) as second_gone:
            await looked()
            assert tasks(anyio_backend) == alone + 3
            first.leave()
            await first_gone.wait()
            await looked()
            assert tasks(anyio_backend) == alone + 2
            second.leave()
            await second_gone.wait()
        await until(lambda: tasks(anyio_backend) == alone)
        assert open_.middleware._sockets._watches == {}


async def test_an_on_event_that_hangs_holds_up_no_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app and its server go on while the host's `on_event` takes its time over the close."""
    begun = anyio.Event()
    gate = anyio.Event()

    async def hang(event: Event) -> None:
        begun.set()
        await gate.wait()

    monkeypatch.setattr("asgi_jwt.events.ON_EVENT_TIMEOUT", 20)
    open_, server = Sockets(Echo(), make_auth(clock=Clock(NOW), on_event=hang)), Server()
    async with open_.connected(server):
        open_.turn()
    assert server.closes == EXPIRED
    await begun.wait()
    gate.set()


async def test_one_that_ends_earlier_than_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose token ends before anyone would have looked is closed at its time."""
    monkeypatch.setattr(sockets, "LONGEST_WAIT", 1000)
    open_ = Sockets(Echo(), make_auth(clock=Clock(NOW), leeway=0.1))
    late, early = Server(), Server()
    late_headers = authorization(open_.auth)
    open_.turn(-LIFE)
    early_headers = authorization(open_.auth)
    open_.turn(LIFE)
    async with open_.connected(late, late_headers):
        await looked()
        async with open_.connected(early, early_headers):
            open_.turn(0.1)
        assert (early.closes, late.closes) == (EXPIRED, [])
        late.leave()


async def test_a_clock_that_is_set_back() -> None:
    """A clock that is set back keeps connections open, and set right closes them."""
    open_, server = Sockets(Echo()), Server()
    async with open_.connected(server):
        open_.turn(-3600)
        await looked()
        assert server.closes == []
        open_.turn(3600 + LIFE + LEEWAY)
    assert server.closes == EXPIRED


async def test_a_watch_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """When the watch itself fails, as with a clock of the host's that raises, everyone is closed: none stays unwatched.
    The next connections are watched again."""

    class Broken(Clock):
        broken = False

        def __call__(self) -> float:
            if self.broken:
                raise LookupError("no time server")
            return super().__call__()

    clock = Broken(NOW)
    open_ = Sockets(Echo(), make_auth(clock=clock))
    servers = Server(), Server()
    async with open_.connected(servers[0]), open_.connected(servers[1]):
        clock.broken = True
    assert [server.closes[0][0] for server in servers] == [1013, 1013]
    (failure,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert failure.exc_info is not None
    assert failure.exc_info[0] is LookupError
    clock.broken = False
    again = Server()
    async with open_.connected(again):
        open_.turn()
    assert again.closes == EXPIRED


async def test_those_who_left_are_forgotten() -> None:
    """Connections that come and go leave nothing behind, long before their tokens end."""
    open_ = Sockets(Echo())
    stays = Server()
    async with open_.connected(stays):
        for _ in range(10):
            servers = [Server() for _ in range(50)]
            async with anyio.create_task_group() as group:
                for server in servers:
                    server.leave()
                    group.start_soon(open_.call, server)
        (watch,) = open_.middleware._sockets._watches.values()
        assert len(watch._open) == 1
        assert len(watch._ends) <= 103
        open_.turn()
    assert stays.closes == EXPIRED


@contextmanager
def connected(client: TestClient, headers: dict[str, str]) -> Iterator[WebSocketTestSession]:
    with client.websocket_connect("/ws", headers=headers) as session:
        assert session.receive_text() == "hello"
        yield session


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_several_event_loops(backend: Any) -> None:
    """Connections in loops of their own, as a test client opens them, are watched each in its own."""

    async def ws(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        with pytest.raises(WebSocketDisconnect) as ended:
            await websocket.receive_text()
        codes.append(ended.value.code)

    codes: list[int] = []
    auth = make_auth(clock=Clock(NOW))
    clock: Any = auth.clock
    middleware = JWTMiddleware(Starlette(routes=[WebSocketRoute("/ws", ws)]), auth)
    client = TestClient(middleware, backend=backend)
    headers = authorization(auth)
    with ExitStack() as stack:
        sessions = [stack.enter_context(connected(client, headers)) for _ in range(3)]
        assert len(middleware._sockets._watches) == 3
        clock.turn(LIFE + LEEWAY)
        for session in sessions:
            with pytest.raises(WebSocketDisconnect) as closed:
                session.receive_text()
            assert closed.value.code == 3000
    assert codes == [3000] * 3
    assert middleware._sockets._watches == {}
