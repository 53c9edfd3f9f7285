"""What happened, for logs and metrics. No event holds a token, a secret or a cookie."""

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from inspect import isawaitable
from typing import Any, ClassVar

from anyio import move_on_after

ON_EVENT_TIMEOUT = 1.0
"""How long (s) an async `on_event` may take for one event: whoever it is about waits for it."""

logger = logging.getLogger("asgi_jwt")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `name` and `level` (of `logging`) are its class's."""

    name: ClassVar[str]
    level: ClassVar[int] = logging.INFO


@dataclass(frozen=True, slots=True)
class TokenRefused(Event):
    """A request or a WebSocket was refused.

    `reason` is the error's stable code, `status` that of its standard answer, `transport` `http` or `websocket`.
    """

    name: ClassVar[str] = "token_refused"

    reason: str
    status: int
    transport: str


@dataclass(frozen=True, slots=True)
class SocketClosed(Event):
    """A WebSocket that had been let in was closed with `code`, because its token holds no longer.

    `reason` is the stable code of the error that a new request with this token gets.
    """

    name: ClassVar[str] = "socket_closed"

    reason: str
    code: int


@dataclass(frozen=True, slots=True)
class LoginRefused(Event):
    """A login was refused; `reason` is the error's stable code."""

    name: ClassVar[str] = "login_refused"

    reason: str


@dataclass(frozen=True, slots=True)
class SessionOpened(Event):
    """Someone logged in."""

    name: ClassVar[str] = "session_opened"


@dataclass(frozen=True, slots=True)
class Refreshed(Event):
    """A refresh token was judged: `verdict` is one of `Verdict`."""

    name: ClassVar[str] = "refreshed"

    verdict: str


@dataclass(frozen=True, slots=True)
class ReuseDetected(Event):
    """A refresh token came back that nobody honest still holds; its session has ended."""

    name: ClassVar[str] = "reuse_detected"
    level: ClassVar[int] = logging.WARNING


@dataclass(frozen=True, slots=True)
class SessionEnded(Event):
    """A session was ended; `cause` is `ended` or `reuse`."""

    name: ClassVar[str] = "session_ended"

    cause: str


@dataclass(frozen=True, slots=True)
class KeysFetched(Event):
    """A remote key set was read. `source` is its issuer or URL, `keys` how many there are.

    `left_out` says of each key that can't be used why not.
    """

    name: ClassVar[str] = "keys_fetched"

    source: str
    keys: int
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeysNotFetched(Event):
    """A remote key set could not be read, and the old one stays. `source` is its issuer or URL, `why` for operators."""

    name: ClassVar[str] = "keys_not_fetched"
    level: ClassVar[int] = logging.WARNING

    source: str
    why: str


@dataclass(frozen=True, slots=True)
class KeysRead(Event):
    """A key file had changed, and was read again. `source` is the variable that names it, `keys` how many there are."""

    name: ClassVar[str] = "keys_read"

    source: str
    keys: int


@dataclass(frozen=True, slots=True)
class KeysNotRead(Event):
    """A key file has changed and can't be used, and the old keys stay. `why` is for operators."""

    name: ClassVar[str] = "keys_not_read"
    level: ClassVar[int] = logging.WARNING

    source: str
    why: str


@dataclass(frozen=True, slots=True)
class StoreFailed(Event):
    """The session store did not answer, or not in time, and somebody waited for it: `StoreUnavailable`.

    `operation` is the store's method, `why` for operators.
    """

    name: ClassVar[str] = "store_failed"
    level: ClassVar[int] = logging.WARNING

    operation: str
    why: str


@dataclass(frozen=True, slots=True)
class TokensRevoked(Event):
    """The host had tokens revoked, or a client one; `kind` is `jti` for one token, `sub` for those of a subject.

    It is `sid` for a token that has no `jti`: all tokens of its session are refused.
    """

    name: ClassVar[str] = "tokens_revoked"

    kind: str


@dataclass(frozen=True, slots=True)
class RevocationsNotRead(Event):
    """The log of revocations could not be read, and the copy stays as it is: told once, not for each try.

    `why` is for operators.
    """

    name: ClassVar[str] = "revocations_not_read"
    level: ClassVar[int] = logging.WARNING

    why: str


@dataclass(frozen=True, slots=True)
class RevocationsStale(Event):
    """The copy of the log is older than `REVOCATION_MAX_STALENESS`: told once, when a request meets it.

    `outage` says what follows: `closed`, tokens are refused with 503; `open`, they are let in by the copy there is.
    """

    name: ClassVar[str] = "revocations_stale"
    level: ClassVar[int] = logging.ERROR

    outage: str


@dataclass(frozen=True, slots=True)
class RevocationsReadAgain(Event):
    """After `RevocationsNotRead`: the log of revocations was read."""

    name: ClassVar[str] = "revocations_read_again"


@dataclass(frozen=True, slots=True)
class RevocationsRebuilt(Event):
    """The log did not go on where the copy ended, so all of it is read: it was flushed, trimmed, or is another's.

    The copy keeps what it had.
    """

    name: ClassVar[str] = "revocations_rebuilt"
    level: ClassVar[int] = logging.WARNING


OnEvent = Callable[[Event], Awaitable[None] | None]
Listener = Callable[[Event], None]


class EventSink:
    """Hands every event to the logger `asgi_jwt`, to listeners such as metrics, and to the host's `on_event`.

    What goes wrong in one of them is logged and ends there; an async `on_event` that takes longer than
    `ON_EVENT_TIMEOUT` is cancelled. It is awaited where the event happens and not queued: a flood of events then
    slows down those who cause it, fills no memory, and pushes no other event out.

    In the log record, the event's fields are attributes: `event`, and `event_` before each field's name. Line breaks
    and other control characters are escaped there, so that no value can make up a line of its own.
    """

    def __init__(self, on_event: OnEvent | None = None) -> None:
        self._on_event = on_event
        self._listeners: list[Listener] = []

    def add_listener(self, listener: Listener) -> None:
        """Have `listener` called with each event from now on. It has to return at once."""
        self._listeners.append(listener)

    async def emit(self, event: Event) -> None:
        if logger.isEnabledFor(event.level):
            fields = asdict(event)
            told = "".join([f" {name}={_formatted(value)}" for name, value in fields.items()])
            extra = {"event": event.name, **{f"event_{name}": _printable(value) for name, value in fields.items()}}
            logger.log(event.level, "%s%s", event.name, told, extra=extra)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                logger.exception("%r failed for %s", listener, event.name)
        if self._on_event is not None:
            try:
                answer = self._on_event(event)
                if isawaitable(answer):
                    await _bounded(answer, event)
            except Exception:
                logger.exception("on_event failed for %s", event.name)


async def _bounded(answer: Awaitable[None], event: Event) -> None:
    with move_on_after(ON_EVENT_TIMEOUT) as scope:
        await answer
    if scope.cancelled_caught:
        logger.error("on_event took longer than %g s for %s, and was cancelled", ON_EVENT_TIMEOUT, event.name)


def printable(text: str) -> str:
    """`text` in one line, with what is not printable in it escaped.

    Anyone may have written it: a line break makes up a line of the log, a terminal obeys escape sequences, and marks of
    direction make a text read as another.
    """
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() else each.encode("unicode_escape").decode() for each in text])


def _formatted(value: Any) -> str:
    """`value` as it stands behind `name=` in a line: quoted where it could pass for the next field otherwise."""
    text = "; ".join(value) if isinstance(value, tuple) else str(value)
    if _BARE.fullmatch(text) and text.isprintable():
        return text
    return '"' + "".join(f"\\{character}" if character in '\\"' else printable(character) for character in text) + '"'


_BARE = re.compile(r"[^\s\\\"=]+")


def _printable(value: Any) -> Any:
    """`value`, a field of an event, with each text in it printable."""
    if isinstance(value, tuple):
        return tuple([_printable(member) for member in value])
    return printable(value) if isinstance(value, str) else value
