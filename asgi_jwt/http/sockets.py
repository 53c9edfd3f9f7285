"""WebSockets that were let in: each is closed when its token ends."""

from collections.abc import Callable
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

_CLOSE_TIMEOUT = 5.0
"""How long (s) a close may wait for a client that reads nothing."""

_PATIENCE = 1.0
"""How long (s) after a close an app may take what came before it."""

_DRAIN = 0.2
"""How long (s) it waits for each such message: those that are there already, and a busy event loop hands over late."""

_UNHEARD = 5.0
"""How long (s) after a close an app may send what goes nowhere: longer than one that receives takes to be told."""


class _Gone(OSError):
    """An app sends long after the close: what ASGI has a server raise, so that no app goes on for ever unheard."""


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
            pass  # it has ended it, as it was to: no fault for the server to log
        finally:
            self.leave(socket)
            # The server closes the connection in its own way as soon as the app has returned.
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
        """From now on it is not. A second call does nothing."""
        loop = current_token()
        watch = self._watches.get(loop)
        if watch is not None and not watch.remove(socket):
            del self._watches[loop]

    async def tell(self, error: AuthError) -> None:
        """A WebSocket was closed because of `error`."""
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
        """Whether there are others left."""
        self._open.discard(socket)
        if not self._open:
            self._nap.cancel()
        elif len(self._ends) > 2 * len(self._open) + 100:
            # Most leave long before their tokens end.
            self._ends = [end for end in self._ends if end[-1] in self._open]
            heapify(self._ends)
        return bool(self._open)

    async def run(self) -> None:
        try:
            await self._watch()
        except Exception:
            # Nobody would close them when they have to be.
            self._close_if(lambda claims: True, Unavailable())
            raise

    async def _watch(self) -> None:
        while self._open:
            now = self._auth.clock()
            self._close_expired(now)
            ends_at = self._ends[0][0] if self._ends else inf
            wait = min(LONGEST_LOOK, max(SHORTEST_LOOK, ends_at - now))
            self._next_look = now + wait
            with move_on_after(wait) as self._nap:
                await self._close_revoked()

    def _close_expired(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            _, _, socket = heappop(self._ends)
            if socket in self._open:
                socket.close(ExpiredToken())

    async def _close_revoked(self) -> None:
        """Once an interval, when the copy of the log is due to be read on, have that done and go by it."""
        try:
            revocations = self._auth.revocations
        except ConfigurationError:  # without a store there are none
            await sleep_forever()
        while True:
            await sleep_until(self._check_at)
            await revocations.poll()
            if revocations.out_of_reach:
                # A read that was under way while the computer slept has not failed yet.
                await revocations.poll()
            if revocations.out_of_reach:
                self._close_if(lambda claims: True, RevocationsUnavailable())
            self._close_if(revocations.is_revoked, RevokedToken())
            age, interval = revocations.age, revocations.interval
            due_in = interval - age if age is not None and 0 <= age < interval else interval
            self._check_at = current_time() + max(_SHORTEST_INTERVAL, due_in)

    def _close_if(self, concerns: Callable[[Claims], bool], error: AuthError) -> None:
        for socket in [socket for socket in self._open if concerns(socket.claims)]:
            socket.close(error)


class _Socket:
    """A WebSocket between its server and its app."""

    def __init__(self, sockets: Sockets, claims: Claims, receive: Receive, send: Send) -> None:
        self.claims = claims
        self._sockets = sockets
        self._receive = receive
        self._send = send
        self._receiving: set[CancelScope] = set()
        # Whether it was closed here, what its app is told then, and until when, of the event loop's clock, the app may
        # take what came before, and send in vain.
        self._closed = False
        self._farewell: Message = {"type": "websocket.disconnect", "code": 1006}
        self._until = self._unheard_until = inf
        self._handed_over = anyio.Event()
        self._closed_by_app = False
        self._parted = False

    async def receive(self) -> Message:
        message = await (self._receive() if self._parted else self._next_message())
        # An app that asks on behind the end waits as the server has it wait, and gets no message.
        while self._parted and self._closed and message["type"] != "websocket.disconnect":
            message = await self._receive()
        if message["type"] != "websocket.disconnect":
            return message
        self._parted = True
        self._sockets.leave(self)
        return self._farewell if self._closed else message

    async def _next_message(self) -> Message:
        """The server's. After a close: what is there already, and where nothing is, the end."""
        deadline = inf
        if self._closed:
            now = current_time()
            if now >= self._until:
                return self._farewell
            deadline = min(self._until, now + _DRAIN)
        with CancelScope(deadline=deadline) as scope:
            self._receiving.add(scope)
            try:
                return await self._receive()
            except Exception:  # some servers take it ill to be asked after a close
                if not self._closed:
                    raise
            finally:
                self._receiving.discard(scope)
        return self._farewell

    async def send(self, message: Message) -> None:
        if self._closed:
            # An app that does nothing but send may rest here alone.
            await checkpoint()
            if current_time() >= self._unheard_until:
                raise _Gone("the WebSocket was closed when its token ended")
            return
        if message["type"] == "websocket.close":
            await self._close_for_app(message)
            return
        await self._send(message)
        if message["type"] == "websocket.accept":
            self._sockets.enter(self)

    async def _close_for_app(self, message: Message) -> None:
        self._closed_by_app = True
        try:
            await self._send(message)
        except BaseException:
            self._closed_by_app = False
            raise
        self._sockets.leave(self)

    def close(self, error: AuthError) -> None:
        """Close the connection because of `error`: from now on the app sends nothing, and soon receives nothing."""
        code, now = close_code(error.status), current_time()
        self._sockets.leave(self)
        self._closed = True
        self._farewell = {"type": "websocket.disconnect", "code": code, "reason": error.description}
        self._until, self._unheard_until = now + _PATIENCE, now + _UNHEARD
        for scope in self._receiving:
            scope.deadline = now + _DRAIN
        if self._closed_by_app:  # at this very moment
            self._handed_over.set()
            return
        # In a task of its own: an app may neither send nor receive for long, and a client may read nothing.
        start(lambda: self._close(error, code))

    async def _close(self, error: AuthError, code: int) -> None:
        try:
            with suppress(Exception), move_on_after(_CLOSE_TIMEOUT):  # those who have gone need not be told
                await self._send({"type": "websocket.close", "code": code, "reason": error.description})
        finally:
            self._handed_over.set()
        await self._sockets.tell(error)

    async def until_closed(self) -> None:
        """Once a close has begun: until the server has been told of it."""
        if self._closed:
            await self._handed_over.wait()
