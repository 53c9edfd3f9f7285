"""Servers' side of WebSockets behind the middleware: each treats a close in the way of one that there is."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from support.app import CONNECT, authorization, make_auth, websocket_scope
from support.waiting import PATIENCE, until

from asgi_jwt import Auth, JWTMiddleware
from asgi_jwt.events import Event
from asgi_jwt.testing import Clock

ACCEPT: Message = {"type": "websocket.accept"}
NOW = 1_800_000_000
LEEWAY = 30
LIFE = 900


class Server:
    """Hands over what the client sends, and keeps what it is sent itself.

    `parting`: what follows upon a close: `at once` the disconnect, `never` (the client does not answer and goes on
    sending), or `raises`. `stalls`: messages of this type are never taken, as for a client that reads nothing.
    """

    def __init__(self, parting: str = "at once", *, stalls: str = "") -> None:
        self.sent: list[Message] = []
        self.parting = parting
        self.stalls = stalls
        self._queue: deque[Message] = deque([CONNECT])
        self._arrived = anyio.Event()

    def arrive(self, *messages: Message | str) -> None:
        """From the client: texts, or messages as they are."""
        self._queue += [{"type": "websocket.receive", "text": m} if isinstance(m, str) else m for m in messages]
        self._arrived.set()

    def leave(self, code: int = 1001) -> None:
        """The client closes."""
        self.arrive({"type": "websocket.disconnect", "code": code})

    async def receive(self) -> Message:
        if self.closes and self.parting == "raises":
            raise RuntimeError("the transport is closed")
        while not self._queue:
            self._arrived = anyio.Event()
            await self._arrived.wait()
            if self.closes and self.parting == "raises":
                raise RuntimeError("the transport is closed")
        return self._queue.popleft()

    async def send(self, message: Message) -> None:
        if message["type"] == self.stalls:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        self.sent.append(message)
        if message["type"] == "websocket.close":
            if self.parting == "at once":
                self.arrive({"type": "websocket.disconnect", "code": message["code"]})
            self._arrived.set()

    @property
    def closes(self) -> list[tuple[int, str]]:
        """The codes and reasons that it was told to close with."""
        return [(sent["code"], sent.get("reason", "")) for sent in self.sent if sent["type"] == "websocket.close"]

    @property
    def texts(self) -> list[str]:
        return [sent["text"] for sent in self.sent if sent["type"] == "websocket.send"]


def accepting(serve: Callable[[Receive, Send], Awaitable[None]]) -> ASGIApp:
    """An app that accepts, and then serves."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await serve(receive, send)

    return app


class Echo:
    """An app that sends back what it gets, until the end; then it tries to send more, and to close."""

    def __init__(self) -> None:
        self.received: list[Message] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == CONNECT
        await send(ACCEPT)
        while True:
            message = await receive()
            self.received.append(message)
            if message["type"] == "websocket.disconnect":
                break
            await send({"type": "websocket.send", "text": message["text"]})
        await send({"type": "websocket.send", "text": "too late"})
        await send({"type": "websocket.close", "code": 1000})

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.received if message["type"] == "websocket.receive"]

    @property
    def ends(self) -> list[int]:
        """The codes of the disconnects that it was told of."""
        return [message["code"] for message in self.received if message["type"] == "websocket.disconnect"]


class Sockets:
    """WebSockets behind one middleware, each a call of it in a task of its own."""

    def __init__(self, app: ASGIApp, auth: Auth | None = None, **options: Any) -> None:
        self.auth = auth or make_auth(clock=Clock(NOW))
        self.heard: list[Event] = []
        self.auth.events.add_listener(self.heard.append)
        self.middleware = JWTMiddleware(app, self.auth, **options)

    async def call(self, server: Server, headers: dict[str, str] | None = None, path: str = "/") -> None:
        """What the server does with a connection; returns or raises as the app does."""
        scope = websocket_scope(path, headers=authorization(self.auth) if headers is None else headers)
        await self.middleware(scope, server.receive, server.send)

    @asynccontextmanager
    async def connected(self, server: Server, headers: dict[str, str] | None = None) -> AsyncIterator[anyio.Event]:
        """While a WebSocket is open; in the end, until its app has returned, which the event tells."""
        returned = anyio.Event()

        async def call() -> None:
            await self.call(server, headers)
            returned.set()

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                group.start_soon(call)
                await until(lambda: ACCEPT in server.sent)
                yield returned

    def turn(self, seconds: float = LIFE + LEEWAY) -> None:
        """The clock goes on; without a number, until the tokens have ended."""
        clock: Any = self.auth.clock
        clock.turn(seconds)


async def looked() -> None:
    """Until whoever looks every hundredth of a second has done so several times."""
    await anyio.sleep(0.05)
