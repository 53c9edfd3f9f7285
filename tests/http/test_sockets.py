"""A WebSocket that was let in ends with its token, whatever its app, its client and its server do."""

import anyio
import anyio.lowlevel
import pytest
from starlette.types import Message, Receive, Scope, Send
from support.app import CONNECT, authorization
from support.sockets import ACCEPT, LEEWAY, LIFE, NOW, Echo, Server, Sockets, accepting, looked
from support.waiting import until

from asgi_jwt import Auth, Identity, Settings
from asgi_jwt.errors import ExpiredToken
from asgi_jwt.events import SocketClosed
from asgi_jwt.http import sockets
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

EXPIRED = (3000, ExpiredToken.description)
PARTINGS = ["at once", "never", "raises"]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that was turned is looked at soon."""
    assert sockets.LONGEST_WAIT == 1
    monkeypatch.setattr(sockets, "LONGEST_WAIT", 0.01)


@pytest.mark.parametrize("parting", PARTINGS)
async def test_closed_when_its_token_ends(parting: str) -> None:
    """At `exp` and the leeway, and not before, the connection is closed with 3000, and its app told so, once. After the
    close the server is sent nothing, neither a message of the app's nor a second close."""
    app = Echo()
    open_, server = Sockets(app), Server(parting)
    async with open_.connected(server):
        server.arrive("hello")
        await until(lambda: server.texts == ["hello"])
        open_.turn(LIFE + LEEWAY - 0.5)
        await looked()
        server.arrive("still here")
        await until(lambda: server.texts == ["hello", "still here"])
        assert (server.closes, app.ends) == ([], [])
        open_.turn(0.5)
    assert (server.closes, app.ends, server.sent[-1]["type"]) == ([EXPIRED], [3000], "websocket.close")
    assert app.received[-1] == {"type": "websocket.disconnect", "code": 3000, "reason": "The access token expired"}
    await until(lambda: open_.heard == [SocketClosed("token_expired", 3000)])


@pytest.mark.parametrize("parting", ["at once", "never"])
async def test_messages_that_came_before_are_delivered(parting: str) -> None:
    """What the client sent before the close reaches an app that was busy with something else, in its order."""
    busy = anyio.Event()
    got: list[Message] = []

    @accepting
    async def app(receive: Receive, send: Send) -> None:
        await busy.wait()
        while not got or got[-1]["type"] != "websocket.disconnect":
            got.append(await receive())

    open_, server = Sockets(app), Server(parting)
    async with open_.connected(server):
        server.arrive("one", "two", "three")
        open_.turn()
        await until(lambda: server.closes)
        busy.set()
    assert [message.get("text", message.get("code")) for message in got] == ["one", "two", "three", 3000]


async def test_an_app_that_ignores_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that asks on after the disconnect gets no message but the same disconnect, holds nobody up, and ends."""
    monkeypatch.setattr(sockets, "_RECEIVE_TIME", 0.1)
    monkeypatch.setattr(sockets, "_SEND_TIME", 0.2)
    got: list[Message] = []

    @accepting
    async def app(receive: Receive, send: Send) -> None:
        while True:
            got.append(await receive())

    open_, server = Sockets(app), Server("never")
    async with open_.connected(server):
        open_.turn()
        await until(lambda: got)
        server.arrive("one", "two")
    told = {"type": "websocket.disconnect", "code": 3000, "reason": "The access token expired"}
    assert all(message == told for message in got)


async def test_a_server_that_refuses_the_code() -> None:
    """Where the server takes no such code, the connection is closed with the server's own."""

    class Choosy(Server):
        async def send(self, message: Message) -> None:
            if "code" in message:
                raise ValueError("invalid close code")
            await super().send({**message, "code": 1000} if message["type"] == "websocket.close" else message)

    app = Echo()
    open_, server = Sockets(app), Choosy()
    async with open_.connected(server):
        open_.turn()
    assert (server.closes, app.ends) == ([(1000, "")], [3000])


async def test_a_client_that_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A close that the server can't get rid of holds up neither its app nor anyone else's connection."""
    monkeypatch.setattr(sockets, "_CLOSE_TIMEOUT", 0.1)
    app = Echo()
    open_ = Sockets(app)
    stalled, other = Server(stalls="websocket.close"), Server()
    async with open_.connected(stalled), open_.connected(other):
        open_.turn()
    assert (stalled.closes, other.closes, app.ends) == ([], [EXPIRED], [3000, 3000])


@pytest.mark.parametrize("way", ["at rest", "restless", "in a task"])
async def test_an_app_that_only_sends(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that never asks for messages is closed all the same, goes on unheard for a moment, and then ends as with
    a server whose client has left; not even one that sends without a rest holds anybody up meanwhile."""
    monkeypatch.setattr(sockets, "_SEND_TIME", 0.1)
    raised: list[OSError] = []

    async def tick(send: Send) -> None:
        try:
            while True:
                await send({"type": "websocket.send", "text": "tick"})
                if way != "restless":
                    await anyio.sleep(0.001)
        except OSError as error:
            raised.append(error)
            raise

    @accepting
    async def app(receive: Receive, send: Send) -> None:
        if way == "in a task":
            async with anyio.create_task_group() as group:
                group.start_soon(tick, send)
        else:
            await tick(send)

    open_, server = Sockets(app), Server()
    async with open_.connected(server) as returned:
        await until(lambda: len(server.texts) > 3)
        open_.turn()
        await until(lambda: server.closes)
        assert not returned.is_set()
        await returned.wait()
        assert server.sent[-1]["type"] == "websocket.close"
    assert len(raised) == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_the_app_raises_passes(when: str) -> None:
    """An app's exception, before the close or because of it, reaches the server as it is."""
    mistake = LookupError("no such room")

    @accepting
    async def app(receive: Receive, send: Send) -> None:
        if when == "after":
            assert (await receive())["type"] == "websocket.disconnect"
        raise mistake

    open_, server = Sockets(app), Server()

    async def expire() -> None:
        await until(lambda: ACCEPT in server.sent)
        open_.turn()

    async with anyio.create_task_group() as group:
        if when == "after":
            group.start_soon(expire)
        with pytest.raises(LookupError) as raised:
            await open_.call(server)
    assert raised.value is mistake
    assert server.closes == ([EXPIRED] if when == "after" else [])


@pytest.mark.parametrize("failing", ["send", "receive"])
async def test_what_the_server_raises_passes(failing: str) -> None:
    """Before any close, what the server raises from `receive` or `send` reaches the app as it is."""

    class Broken(Server):
        async def receive(self) -> Message:
            if ACCEPT in self.sent and failing == "receive":
                raise OSError("the connection is lost")
            return await super().receive()

        async def send(self, message: Message) -> None:
            if message["type"] == "websocket.send":
                raise OSError("the connection is lost")
            await super().send(message)

    server = Broken()
    server.arrive("hello")
    with pytest.raises(OSError, match="the connection is lost"):
        await Sockets(Echo()).call(server)
    assert server.closes == []


async def test_an_app_that_returns_early() -> None:
    """An app that returns leaves the connection to its server, and nothing is closed later."""

    @accepting
    async def app(receive: Receive, send: Send) -> None:
        await anyio.lowlevel.checkpoint()

    open_, server = Sockets(app), Server()
    await open_.call(server)
    open_.turn()
    await looked()
    assert (server.sent, open_.heard) == ([ACCEPT], [])


@pytest.mark.parametrize("who", ["client", "app"])
async def test_a_connection_that_is_closed_already(who: str) -> None:
    """When the client or the app has closed, the token's end changes nothing, while the app still tidies up."""
    tidy = anyio.Event()
    got: list[Message] = []

    @accepting
    async def app(receive: Receive, send: Send) -> None:
        if who == "app":
            await send({"type": "websocket.close", "code": 1000})
        got.append(await receive())
        await tidy.wait()

    open_, server = Sockets(app), Server()
    async with open_.connected(server):
        if who == "client":
            server.leave()
        await until(lambda: got)
        open_.turn()
        await looked()
        tidy.set()
    assert server.closes == ([(1000, "")] if who == "app" else [])
    assert got == [{"type": "websocket.disconnect", "code": 1000 if who == "app" else 1001}]
    assert open_.heard == []


async def close(send: Send) -> None:
    await send({"type": "websocket.close", "code": 1000})


async def test_closed_by_the_app_at_that_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the server takes the app's own close, the token's end is told to the app, and a server that refuses a
    second close harms nobody."""
    monkeypatch.setattr(sockets, "_RECEIVE_TIME", 0.1)
    got: list[Message] = []

    @accepting
    async def app(receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(close, send)
            got.append(await receive())
            group.cancel_scope.cancel()

    class Slow(Server):
        begun = False

        async def send(self, message: Message) -> None:
            if self.begun:
                raise RuntimeError("unexpected message: the connection is closed")
            self.begun = message["type"] == "websocket.close"
            await super().send(message)

    open_, server = Sockets(app), Slow(stalls="websocket.close")
    async with open_.connected(server):
        await until(lambda: server.begun)
        open_.turn()
    assert (server.closes, [message["code"] for message in got]) == ([], [3000])


async def test_an_apps_close_that_was_given_up() -> None:
    """An app that gives up on its own close and goes on is closed at its token's end."""
    got: list[Message] = []

    @accepting
    async def app(receive: Receive, send: Send) -> None:
        with anyio.move_on_after(0.01):
            await send({"type": "websocket.close", "code": 1000})
        server.stalls = ""
        got.append(await receive())

    open_, server = Sockets(app), Server(stalls="websocket.close")
    async with open_.connected(server):
        await until(lambda: not server.stalls)
        open_.turn()
    assert (server.closes, [message["code"] for message in got]) == ([EXPIRED], [3000])


async def test_cancelled_by_the_server() -> None:
    """A server that cancels the app, as when it stops, cancels it and nothing else; nothing is closed later."""
    open_, server = Sockets(Echo()), Server()
    with anyio.CancelScope() as stop:
        async with anyio.create_task_group() as group:
            group.start_soon(open_.call, server)
            await until(lambda: ACCEPT in server.sent)
            stop.cancel()
    open_.turn()
    await looked()
    assert (stop.cancelled_caught, server.sent, open_.heard) == (True, [ACCEPT], [])


async def test_accepted_after_its_token_ended() -> None:
    """An app that takes its time to accept is closed at once when it does so after the token's end."""
    slow = anyio.Event()
    got: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await slow.wait()
        await send(ACCEPT)
        got.append(await receive())

    open_, server = Sockets(app), Server()
    async with anyio.create_task_group() as group:
        group.start_soon(open_.call, server)
        await looked()
        open_.turn()
        await looked()
        assert server.sent == []
        slow.set()
        await until(lambda: server.closes)
    assert (server.sent[0], server.closes, [message["code"] for message in got]) == (ACCEPT, [EXPIRED], [3000])


async def test_denied_by_the_app() -> None:
    """An app that denies the handshake has its answer sent as it is."""
    denial: list[Message] = [
        {"type": "websocket.http.response.start", "status": 404, "headers": []},
        {"type": "websocket.http.response.body", "body": b""},
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == CONNECT
        for message in denial:
            await send(message)

    open_, server = Sockets(app), Server()
    await open_.call(server)
    open_.turn()
    await looked()
    assert server.sent == denial


@pytest.mark.parametrize("how", ["public", "optional"])
async def test_nobodys_connection_is_not_watched(how: str) -> None:
    """Where no token let it in, none ends it."""
    app = Echo()
    open_, server = Sockets(app, **({"public": ["/*"]} if how == "public" else {"optional": True})), Server()
    async with open_.connected(server, headers=authorization(open_.auth) if how == "public" else {}):
        open_.turn()
        await looked()
        assert (server.closes, app.ends) == ([], [])
        server.leave()
    assert (app.ends, open_.heard) == ([1001], [])


async def test_the_leeway_is_that_of_the_tokens_issuer() -> None:
    """Each token ends by the rules of its own issuer."""
    ours = Settings(issuer="https://a.example", audience="x", secret="a" * 32, leeway=10)
    theirs = Settings(issuer="https://b.example", audience="x", secret="b" * 32, leeway=200)
    clock = Clock(NOW)
    open_ = Sockets(Echo(), Auth(ours, issuers=[theirs], clock=clock))
    tokens = [Auth(each, clock=clock).issuer.access_token(Identity("alice")) for each in (ours, theirs)]
    servers = Server(), Server()
    one, two = ({"authorization": f"Bearer {token}"} for token in tokens)
    async with open_.connected(servers[0], one), open_.connected(servers[1], two):
        clock.turn(LIFE + 10)
        await until(lambda: servers[0].closes)
        await looked()
        assert servers[1].closes == []
        clock.turn(190)
        await until(lambda: servers[1].closes)
