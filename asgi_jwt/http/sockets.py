"""WebSockets that were let in: each is closed when its token ends."""

from collections.abc import Iterator
from contextlib import suppress
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf

import anyio
from anyio import CancelScope, current_time, move_on_after, sleep_forever, sleep_until
from anyio.lowlevel import EventLoopToken, checkpoint, current_token
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asgi_jwt.auth import Auth
from asgi_jwt.errors import (
    AuthError,
    ConfigurationError,
    ExpiredToken,
    RevocationsUnavailable,
    RevokedToken,
    Unavailable,
)
from asgi_jwt.events import SocketClosed
from asgi_jwt.http.bearer import close_code
from asgi_jwt.tasks import start
from asgi_jwt.tokens.claims import Claims

LONGEST_LOOK = 1.0
"""Seconds between two looks at the clock, at the most: it may be turned, or set right."""

SHORTEST_LOOK = 0.02
"""At the least: those that end at nearly the same time are closed together."""

_SHORTEST_INTERVAL = 0.1
"""Seconds between two reads of the log for the open WebSockets, at the least."""

CLOSED_AT_ONCE = 20
"""WebSockets that are closed in one turn of the event loop. Servers take up to 0.2 ms for each, so 5 ms are enough."""

_COMPARED_AT_ONCE = 500
"""WebSockets that are compared with the log in one turn of the event loop, at some microseconds each."""

_CLOSE_TIMEOUT = 5.0
"""Seconds that a close may wait for a client that reads nothing."""

_PATIENCE = 1.0
"""Seconds after a close in which the app receives the messages that the server had before."""

_UNHEARD = 5.0
"""Seconds after a close in which the app may go on: its messages are dropped. After that it gets an `OSError`."""


class _Gone(OSError):
    """Ends an app that goes on long after a close, as the ASGI specification has `send` raise after a disconnect."""


class Sockets:
    """The WebSockets that are open behind one `Auth`, watched by one task in each event loop that has any."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._watches: dict[EventLoopToken, _Watch] = {}

    async def serve(self, app: ASGIApp, claims: Claims, scope: Scope, receive: Receive, send: Send) -> None:
        """Call `app`; once it accepts, its connection ends with the token of `claims`."""
        socket = _Socket(self, claims, receive, send)
        try:
            await app(scope, socket.receive, socket.send)
        except* _Gone:
            pass  # the app has ended; the server has no fault to log
        finally:
            self.leave(socket)
            # A server closes the connection in its own way as soon as the app returns.
            await socket.until_closed()

    def enter(self, socket: "_Socket") -> None:
        """From now on `socket` is watched."""
        loop = current_token()
        watch = self._watches.get(loop)
        if watch is None:
            watch = self._watches[loop] = _Watch(self._auth)
            start(watch.run)
        watch.add(socket)

    def leave(self, socket: "_Socket") -> None:
        """From now on `socket` is not watched. A second call does nothing."""
        loop = current_token()
        watch = self._watches.get(loop)
        if watch is not None and not watch.remove(socket):
            del self._watches[loop]

    async def emit_closed(self, error: AuthError) -> None:
        """Emit the event that a WebSocket was closed because of `error`."""
        await self._auth.events.emit(SocketClosed(error.reason, close_code(error.status)))


class _Watch:
    """Closes each of its sockets in time. It begins with the first and ends with the last of them."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._open: set[_Socket] = set()
        self._ends: list[tuple[float, int, _Socket]] = []
        self._numbers = count()
        self._nap = CancelScope()
        self._next_look = -inf
        self._check_at = -inf

    def add(self, socket: "_Socket") -> None:
        self._open.add(socket)
        ends_at = self._auth.verifier.ends_at(socket.claims)
        heappush(self._ends, (ends_at, next(self._numbers), socket))
        if ends_at < self._next_look:
            self._nap.cancel()

    def remove(self, socket: "_Socket") -> bool:
        """Whether other WebSockets are left."""
        self._open.discard(socket)
        if not self._open:
            self._nap.cancel()
        elif len(self._ends) > 2 * len(self._open) + 100:
            # Most WebSockets are closed long before their tokens end.
            self._ends = [end for end in self._ends if end[-1] in self._open]
            heapify(self._ends)
        return bool(self._open)

    async def run(self) -> None:
        try:
            await self._watch()
        except Exception:
            # No WebSocket stays open unwatched.
            await self._close([*self._open], Unavailable())
            raise

    async def _watch(self) -> None:
        while self._open:
            now = self._auth.clock()
            while expired := self._expired(now):
                await self._close(expired, ExpiredToken())
            ends_at = self._ends[0][0] if self._ends else inf
            wait = min(LONGEST_LOOK, max(SHORTEST_LOOK, ends_at - now))
            self._next_look = now + wait
            with move_on_after(wait) as self._nap:
                await self._close_revoked()

    def _expired(self, now: float) -> list["_Socket"]:
        """The first of those whose tokens have ended, as many as are closed at once."""
        expired: list[_Socket] = []
        while self._ends and self._ends[0][0] <= now and len(expired) < CLOSED_AT_ONCE:
            expired.append(heappop(self._ends)[-1])
        return expired

    async def _close_revoked(self) -> None:
        """Once an interval, when the mirror is due to read the log, have it read and close by it."""
        try:
            revocations = self._auth.revocations
        except ConfigurationError:  # without a store nothing is revoked
            await sleep_forever()
        while True:
            await sleep_until(self._check_at)
            await revocations.poll()
            if revocations.out_of_reach:
                # A read that was under way while the computer slept has not failed yet.
                await revocations.poll()
            if revocations.out_of_reach:
                await self._close([*self._open], RevocationsUnavailable())
            for sockets in _slices([*self._open], _COMPARED_AT_ONCE):
                revoked = [socket for socket in sockets if revocations.is_revoked(socket.claims)]
                await self._close(revoked, RevokedToken())
                await checkpoint()
            age, interval = revocations.age, revocations.interval
            due_in = interval - age if age is not None and 0 <= age < interval else interval
            self._check_at = current_time() + max(_SHORTEST_INTERVAL, due_in)

    async def _close(self, sockets: list["_Socket"], error: AuthError) -> None:
        """Close those that are open still, so many in one turn of the event loop."""
        for closing in _slices(sockets, CLOSED_AT_ONCE):
            for socket in closing:
                if socket in self._open:
                    socket.close(error)
            await checkpoint()


def _slices(sockets: list["_Socket"], size: int) -> Iterator[list["_Socket"]]:
    return (sockets[first : first + size] for first in range(0, len(sockets), size))


class _Socket:
    """A WebSocket between its server and its app.

    When it is closed because of its token, the app receives the messages that the server had before, then a disconnect.
    The app's own messages are dropped, and `send` raises after a while, so that an app that only sends ends too.
    """

    def __init__(self, sockets: Sockets, claims: Claims, receive: Receive, send: Send) -> None:
        self.claims = claims
        self._sockets = sockets
        self._receive = receive
        self._send = send
        self._waiting = CancelScope()
        # The rest is of a close because of the token; its time is the event loop's.
        self._closed_at = inf
        self._farewell: Message | None = None
        self._told_server = anyio.Event()

    async def receive(self) -> Message:
        message = await self._next_message()
        if message["type"] != "websocket.disconnect":
            return message
        self._sockets.leave(self)
        return self._farewell or message

    async def _next_message(self) -> Message:
        """The server's next message. After a close the end, when the time is up or the server has no more."""
        if self._farewell is not None and current_time() >= self._closed_at + _PATIENCE:
            await self._give_way()
            return self._farewell
        with CancelScope(deadline=self._closed_at + _PATIENCE) as self._waiting:
            try:
                return await self._receive()
            except Exception:
                # Some servers raise when they are asked after a close.
                if self._farewell is None:
                    raise
        return {"type": "websocket.disconnect"}

    async def send(self, message: Message) -> None:
        if self._farewell is not None:
            await self._give_way()
            return
        await self._send(message)
        if message["type"] == "websocket.accept":
            self._sockets.enter(self)
        elif message["type"] == "websocket.close":
            self._sockets.leave(self)

    async def _give_way(self) -> None:
        """Let other tasks run, for the app may do so nowhere else; raise once the app has gone on for too long."""
        await checkpoint()
        if current_time() >= self._closed_at + _UNHEARD:
            raise _Gone

    def close(self, error: AuthError) -> None:
        """Close the connection because of `error`."""
        code = close_code(error.status)
        self._sockets.leave(self)
        self._closed_at = current_time()
        self._farewell = {"type": "websocket.disconnect", "code": code, "reason": error.description}
        self._waiting.deadline = self._closed_at + _PATIENCE
        # In a task of its own: the app may neither send nor receive for long, and the client may read nothing.
        start(lambda: self._close(error, code))

    async def _close(self, error: AuthError, code: int) -> None:
        try:
            # The client may have gone, or the app have sent a close of its own at this moment.
            with suppress(Exception), move_on_after(_CLOSE_TIMEOUT):
                await self._send_close(code, error.description)
        finally:
            self._told_server.set()
        await self._sockets.emit_closed(error)

    async def _send_close(self, code: int, reason: str) -> None:
        try:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception:
            # Daphne refuses the code 1013, and would leave the connection open.
            await self._send({"type": "websocket.close"})

    async def until_closed(self) -> None:
        """Once a close has begun: until the server has been told."""
        if self._farewell is not None:
            await self._told_server.wait()
