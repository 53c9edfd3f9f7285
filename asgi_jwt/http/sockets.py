"""Watches the accepted WebSockets, and closes each when its token expires or is revoked."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf

import anyio
from anyio import CancelScope, current_time, move_on_after, sleep_forever, sleep_until
from anyio.lowlevel import EventLoopToken, checkpoint, current_token
from starlette.types import Message, Receive, Scope, Send

from asgi_jwt.auth import Auth
from asgi_jwt.errors import (
    AuthError,
    ConfigurationError,
    ExpiredToken,
    RevocationsUnavailable,
    RevokedToken,
    Unavailable,
    WrongIssuer,
)
from asgi_jwt.events import SocketClosed
from asgi_jwt.http.asgi import AnyASGIApp
from asgi_jwt.http.bearer import close_code
from asgi_jwt.http.renewal import Renewal
from asgi_jwt.tasks import SingleFlight, start
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.opaque import is_opaque

LONGEST_WAIT = 1.0
"""The longest time (s) between two comparisons with the clock, because the clock may be set."""

SHORTEST_WAIT = 0.02
"""The shortest time (s) between two comparisons. WebSockets whose tokens expire within it are closed together."""

_SHORTEST_INTERVAL = 0.1
"""The shortest time (s) between two reads of the log for the open WebSockets."""

CLOSED_AT_ONCE = 20
"""How many WebSockets are closed in one turn of the event loop. A server takes up to 0.2 ms for each."""

_COMPARED_AT_ONCE = 500
"""How many WebSockets are compared with the mirror in one turn of the event loop. Each takes some microseconds."""

_CLOSE_TIMEOUT = 5.0
"""How long (s) a close may wait for a client that reads nothing."""

_RECEIVE_TIME = 1.0
"""How long (s) after a close the app still receives messages that the server got before the close."""

_SEND_TIME = 5.0
"""How long (s) after a close the app may send messages, which are dropped. Later `send` raises an `OSError`."""


class _Gone(OSError):
    """Raised by `send` long after a close, to end an app that only sends (ASGI specification, disconnects)."""


class Sockets:
    """The open WebSockets of one `Auth`. One task in each event loop watches the WebSockets of that loop."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._watches: dict[EventLoopToken, _Watch] = {}

    async def serve(
        self, app: AnyASGIApp, claims: Claims, token: bytes | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Call `app`. Once the app accepts, the connection is closed when the token of `claims` ends.

        `token`: needed for a token that may be no JWT, whose verifier is asked again when its claims hold no longer.
        """
        socket = _Socket(self, claims, token if token is not None and is_opaque(token) else None, receive, send)
        try:
            await app(scope, socket.receive, socket.send)
        except* _Gone:
            pass  # this ended the app, so there is no fault for the server to log
        finally:
            self.leave(socket)
            # A server closes the connection with a code of its own when the app returns, so our close comes first.
            await socket.until_closed()

    def enter(self, socket: "_Socket") -> None:
        """Watch `socket` from now on."""
        loop = current_token()
        watch = self._watches.get(loop)
        if watch is None:
            watch = self._watches[loop] = _Watch(self._auth)
            start(watch.run)
        watch.add(socket)

    def leave(self, socket: "_Socket") -> None:
        """Stop watching `socket`. A second call does nothing."""
        loop = current_token()
        watch = self._watches.get(loop)
        if watch is not None and not watch.remove(socket):
            del self._watches[loop]

    async def emit_closed(self, error: AuthError) -> None:
        """Emit the event for a WebSocket that was closed because of `error`."""
        await self._auth.events.emit(SocketClosed(error.reason, close_code(error.status)))


class _Watch:
    """The task that watches the WebSockets of one event loop. It ends when none is left."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._open: set[_Socket] = set()
        self._ends: list[tuple[float, int, _Socket]] = []
        self._numbers = count()
        self._waiting = CancelScope()
        self._next_check = -inf
        self._compare_at = -inf
        self._renewal = Renewal(auth)
        self._rechecking = SingleFlight(self._recheck)

    def add(self, socket: "_Socket") -> None:
        self._open.add(socket)
        self._watch_end(socket)

    def _watch_end(self, socket: "_Socket") -> None:
        if socket.token is None:
            ends_at = self._auth.verifier.ends_at(socket.claims)
        else:
            ends_at = self._renewal.due_at(socket.token)
        heappush(self._ends, (ends_at, next(self._numbers), socket))
        if ends_at < self._next_check:
            self._waiting.cancel()

    def remove(self, socket: "_Socket") -> bool:
        """Remove `socket`. Returns whether other WebSockets are left."""
        self._open.discard(socket)
        if not self._open:
            self._waiting.cancel()
        elif len(self._ends) > 2 * len(self._open) + 100:
            # Most WebSockets are closed long before their tokens expire, so the heap is cleared of them.
            self._ends = [end for end in self._ends if end[-1] in self._open]
            heapify(self._ends)
        return bool(self._open)

    async def run(self) -> None:
        try:
            await self._watch()
        except Exception:
            # Nothing would close the open WebSockets any more, so all are closed now.
            await self._close([*self._open], Unavailable())
            raise

    async def _watch(self) -> None:
        while self._open:
            now = self._auth.clock()
            while expired := self._expired(now):
                for socket in expired:
                    if socket.token is not None:
                        start(partial(self._ask_again, socket, socket.token))
                await self._close([socket for socket in expired if socket.token is None], ExpiredToken())
            if self._auth.may_forget:
                await self._close_forgotten()
            ends_at = self._ends[0][0] if self._ends else inf
            wait = min(LONGEST_WAIT, max(SHORTEST_WAIT, ends_at - now))
            self._next_check = now + wait
            with move_on_after(wait) as self._waiting:
                await self._close_revoked()

    async def _close_forgotten(self) -> None:
        """Close the WebSockets whose issuers were forgotten, and start to ask again for the issuers of the others."""
        has_forgotten = self._auth.verifier.has_forgotten
        await self._close([socket for socket in self._open if has_forgotten(socket.claims)], WrongIssuer())
        self._rechecking.start()

    async def _recheck(self) -> None:
        """Have the host asked again for issuers whose answers are no longer held. If it gives none, close."""
        for iss in {socket.claims.issuer for socket in self._open}:
            try:
                await self._auth.verifier.ask_again(iss)
            except Unavailable as error:
                await self._close([socket for socket in self._open if socket.claims.issuer == iss], error)

    def _expired(self, now: float) -> list["_Socket"]:
        """The first WebSockets whose tokens have expired, `CLOSED_AT_ONCE` at most."""
        expired: list[_Socket] = []
        while self._ends and self._ends[0][0] <= now and len(expired) < CLOSED_AT_ONCE:
            expired.append(heappop(self._ends)[-1])
        return expired

    async def _ask_again(self, socket: "_Socket", token: bytes) -> None:
        """Have the verifier of an opaque token asked. The WebSocket stays open if the token is still its user's."""
        try:
            socket.claims = await self._renewal.ask(socket.claims, token)
        except AuthError as error:
            await self._close([socket], error)
        else:
            if socket in self._open:
                self._watch_end(socket)

    async def _close_revoked(self) -> None:
        """Once an interval, when the mirror is due, have the log read, and close the WebSockets that it revokes."""
        try:
            revocations = self._auth.revocations
        except ConfigurationError:  # without a store nothing is revoked
            await sleep_forever()
        while True:
            await sleep_until(self._compare_at)
            await revocations.poll()
            if revocations.out_of_reach:
                # If the computer slept during a read, the read has not failed yet, and a second poll waits for it.
                await revocations.poll()
            if revocations.out_of_reach:
                await self._close([*self._open], RevocationsUnavailable())
            for sockets in _slices([*self._open], _COMPARED_AT_ONCE):
                revoked = [socket for socket in sockets if revocations.is_revoked(socket.claims)]
                await self._close(revoked, RevokedToken())
                await checkpoint()
            age, interval = revocations.age, revocations.interval
            due_in = interval - age if age is not None and 0 <= age < interval else interval
            self._compare_at = current_time() + max(_SHORTEST_INTERVAL, due_in)

    async def _close(self, sockets: list["_Socket"], error: AuthError) -> None:
        """Close those of `sockets` that are still open, `CLOSED_AT_ONCE` in each turn of the event loop."""
        for closing in _slices(sockets, CLOSED_AT_ONCE):
            for socket in closing:
                if socket in self._open:
                    socket.close(error)
            await checkpoint()


def _slices(sockets: list["_Socket"], size: int) -> Iterator[list["_Socket"]]:
    return (sockets[first : first + size] for first in range(0, len(sockets), size))


class _Socket:
    """One WebSocket, between its server and its app.

    After a close because of the token, the app receives the messages that the server still has, and then a disconnect.
    Messages that the app sends are dropped. Later `send` raises, which ends an app that only sends.
    """

    def __init__(self, sockets: Sockets, claims: Claims, token: bytes | None, receive: Receive, send: Send) -> None:
        self.claims = claims
        self.token = token
        self._sockets = sockets
        self._receive = receive
        self._send = send
        self._receiving = CancelScope()
        # The members below belong to a close because of the token. The time is the event loop's.
        self._closed_at = inf
        self._disconnect: Message | None = None
        self._close_sent = anyio.Event()

    async def receive(self) -> Message:
        message = await self._next_message()
        if message["type"] != "websocket.disconnect":
            return message
        self._sockets.leave(self)
        return self._disconnect or message

    async def _next_message(self) -> Message:
        """The server's next message. After a close it is a disconnect, once the server has no more or time is up."""
        if self._disconnect is not None and current_time() >= self._closed_at + _RECEIVE_TIME:
            await self._yield_after_close()
            return self._disconnect
        with CancelScope(deadline=self._closed_at + _RECEIVE_TIME) as self._receiving:
            try:
                return await self._receive()
            except Exception:
                # Some servers raise from `receive` after a close.
                if self._disconnect is None:
                    raise
        return {"type": "websocket.disconnect"}

    async def send(self, message: Message) -> None:
        if self._disconnect is not None:
            await self._yield_after_close()
            return
        await self._send(message)
        if message["type"] == "websocket.accept":
            self._sockets.enter(self)
        elif message["type"] == "websocket.close":
            self._sockets.leave(self)

    async def _yield_after_close(self) -> None:
        """Let other tasks run, because the app may await nothing else. Raises `_Gone` after `_SEND_TIME`."""
        await checkpoint()
        if current_time() >= self._closed_at + _SEND_TIME:
            raise _Gone

    def close(self, error: AuthError) -> None:
        """Close the connection because of `error`."""
        code = close_code(error.status)
        self._sockets.leave(self)
        self._closed_at = current_time()
        self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": error.description}
        self._receiving.deadline = self._closed_at + _RECEIVE_TIME
        # A task of its own sends the close: the app may be busy for long, and the client may read nothing.
        start(lambda: self._close(error, code))

    async def _close(self, error: AuthError, code: int) -> None:
        try:
            # `send` raises if the client has gone, or if the app closed the connection at this moment.
            with suppress(Exception), move_on_after(_CLOSE_TIMEOUT):
                await self._send_close(code, error.description)
        finally:
            self._close_sent.set()
        await self._sockets.emit_closed(error)

    async def _send_close(self, code: int, reason: str) -> None:
        try:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception:
            # Daphne refuses the code 1013 and would leave the connection open, so this close has no code.
            await self._send({"type": "websocket.close"})

    async def until_closed(self) -> None:
        """If a close because of the token has begun, wait until the server has got it."""
        if self._disconnect is not None:
            await self._close_sent.wait()
