"""The events for logs and metrics, and the sink that emits them. No event holds a token, a secret or a cookie."""

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from inspect import isawaitable
from typing import Any, ClassVar

from anyio import move_on_after

ON_EVENT_TIMEOUT = 1.0
"""How long (s) an async `on_event` may take for one event. The request that caused the event waits for it."""

logger = logging.getLogger("asgi_jwt")


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all events. Each class has a `name` and a `level` of `logging`."""

    name: ClassVar[str]
    level: ClassVar[int] = logging.INFO


@dataclass(frozen=True, slots=True)
class TokenRefused(Event):
    """A request or a WebSocket was refused.

    `reason` is the error's stable code. `status` is the HTTP status of the standard answer. `transport` is `http` or
    `websocket`.
    """

    name: ClassVar[str] = "token_refused"

    reason: str
    status: int
    transport: str


@dataclass(frozen=True, slots=True)
class SocketClosed(Event):
    """An open WebSocket was closed with `code`, because its token has expired, was revoked, or can't be checked.

    `reason` is the stable code of the error that a new request with this token would get.
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
    """A user logged in."""

    name: ClassVar[str] = "session_opened"


@dataclass(frozen=True, slots=True)
class Refreshed(Event):
    """A refresh token was presented. `verdict` is a member of `Verdict`."""

    name: ClassVar[str] = "refreshed"

    verdict: str


@dataclass(frozen=True, slots=True)
class StaleReplayed(Event):
    """An old refresh token of a client in `SHARED_CLIENTS` was answered. In any other session it would be a theft."""

    name: ClassVar[str] = "refresh_stale"


@dataclass(frozen=True, slots=True)
class ReuseDetected(Event):
    """A rotated refresh token was presented again: it counts as stolen, and its session was ended."""

    name: ClassVar[str] = "reuse_detected"
    level: ClassVar[int] = logging.WARNING


@dataclass(frozen=True, slots=True)
class SessionEnded(Event):
    """A session was ended. `cause` is `reuse` for a stolen refresh token, `evicted` by `MAX_SESSIONS`, else `ended`."""

    name: ClassVar[str] = "session_ended"

    cause: str


@dataclass(frozen=True, slots=True)
class KeysFetched(Event):
    """A remote key set was fetched. `source` is its issuer or URL, `keys` the number of usable keys.

    `left_out` has one text for each unusable key: its name and the reason. For a tenant `source` is the issuer with its
    placeholder.
    """

    name: ClassVar[str] = "keys_fetched"

    source: str
    keys: int
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeysNotFetched(Event):
    """A remote key set could not be fetched, so the old one stays in use.

    `source` is its issuer or URL, for a tenant the issuer with its placeholder. `why` is the reason, for operators.
    """

    name: ClassVar[str] = "keys_not_fetched"
    level: ClassVar[int] = logging.WARNING

    source: str
    why: str


@dataclass(frozen=True, slots=True)
class KeysRead(Event):
    """A key file has changed and was read again.

    `source` is the setting that names the file, `keys` the number of its keys.
    """

    name: ClassVar[str] = "keys_read"

    source: str
    keys: int


@dataclass(frozen=True, slots=True)
class KeysNotRead(Event):
    """A key file has changed and is unusable, so the old keys stay in use.

    `source` is the setting that names the file. `why` is the reason, for operators.
    """

    name: ClassVar[str] = "keys_not_read"
    level: ClassVar[int] = logging.WARNING

    source: str
    why: str


@dataclass(frozen=True, slots=True)
class VerifierFailed(Event):
    """A verifier of tokens that are no JWT failed, and a caller got `VerifierUnavailable`.

    `verifier` is its class. `why` is the reason, for operators. It has the type of the host's exception and the line
    that raised it, and not its text, which may contain a token.
    """

    name: ClassVar[str] = "verifier_failed"
    level: ClassVar[int] = logging.WARNING

    verifier: str
    why: str


@dataclass(frozen=True, slots=True)
class StoreFailed(Event):
    """The session store failed or did not answer in time, and a caller got `StoreUnavailable`.

    `operation` is the store's method. `why` is the reason, for operators.
    """

    name: ClassVar[str] = "store_failed"
    level: ClassVar[int] = logging.WARNING

    operation: str
    why: str


@dataclass(frozen=True, slots=True)
class TokensRevoked(Event):
    """The host or a client revoked tokens.

    `kind` is `jti` for one token, `sub` for all tokens of a subject, and `sid` for all tokens of a session. Revoking a
    token that has no `jti` revokes its session's tokens.
    """

    name: ClassVar[str] = "tokens_revoked"

    kind: str


@dataclass(frozen=True, slots=True)
class RevocationsNotRead(Event):
    """The log of revocations could not be read, so the mirror stays as it is. Emitted once for each outage.

    `why` is the reason, for operators.
    """

    name: ClassVar[str] = "revocations_not_read"
    level: ClassVar[int] = logging.WARNING

    why: str


@dataclass(frozen=True, slots=True)
class RevocationsStale(Event):
    """The mirror of the log is older than `REVOCATION_MAX_STALENESS`. The first request of an outage emits it.

    `outage` is `REVOCATION_OUTAGE`. With `closed`, requests are refused with 503. With `open`, the old mirror decides.
    """

    name: ClassVar[str] = "revocations_stale"
    level: ClassVar[int] = logging.ERROR

    outage: str


@dataclass(frozen=True, slots=True)
class RevocationsReadAgain(Event):
    """The log of revocations could be read again, after `RevocationsNotRead`."""

    name: ClassVar[str] = "revocations_read_again"


@dataclass(frozen=True, slots=True)
class RevocationsRebuilt(Event):
    """The log has lost the place up to which it was read: it was flushed or trimmed, or the server is another.

    The log is read again, and the mirror keeps the entries that it had.
    """

    name: ClassVar[str] = "revocations_rebuilt"
    level: ClassVar[int] = logging.WARNING


OnEvent = Callable[[Event], Awaitable[None] | None]
Listener = Callable[[Event], None]


class EventSink:
    """Hands every event to the logger `asgi_jwt`, to listeners such as metrics, and to the host's `on_event`.

    An exception of a listener or of `on_event` is logged and goes no further. An async `on_event` is cancelled after
    `ON_EVENT_TIMEOUT`. It is awaited at the place of the event: a queue would fill memory in a flood of events, or lose
    some of them.

    The log record has the attribute `event` for the event's name, and `event_<field>` for each field. Control
    characters are escaped there: a value with a line break can't forge a line of the log.
    """

    def __init__(self, on_event: OnEvent | None = None) -> None:
        self._on_event = on_event
        self._listeners: list[Listener] = []

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` with each event from now on. It must return at once."""
        self._listeners.append(listener)

    async def emit(self, event: Event) -> None:
        """Log `event`, and call the listeners and `on_event` with it. Raises nothing of theirs."""
        if logger.isEnabledFor(event.level):
            fields = asdict(event)
            text = "".join([f" {name}={_formatted(value)}" for name, value in fields.items()])
            extra = {"event": event.name, **{f"event_{name}": _printable(value) for name, value in fields.items()}}
            logger.log(event.level, "%s%s", event.name, text, extra=extra)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                logger.exception("%r failed for %s", listener, event.name)
        if self._on_event is not None:
            try:
                answer = self._on_event(event)
                if isawaitable(answer):
                    await _await_in_time(answer, event)
            except Exception:
                logger.exception("on_event failed for %s", event.name)


async def _await_in_time(answer: Awaitable[None], event: Event) -> None:
    with move_on_after(ON_EVENT_TIMEOUT) as scope:
        await answer
    if scope.cancelled_caught:
        logger.error("on_event took longer than %g s for %s, and was cancelled", ON_EVENT_TIMEOUT, event.name)


def printable(text: str) -> str:
    """`text` with every unprintable character escaped, for a log or a terminal.

    The text may come from an attacker: a line break forges a line of the log, a terminal obeys escape sequences, and
    direction marks reorder the shown text.
    """
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() else each.encode("unicode_escape").decode() for each in text])


def _formatted(value: Any) -> str:
    """`value` as text behind `name=`, in quotes if it could be read as the start of another field."""
    text = "; ".join(value) if isinstance(value, tuple) else str(value)
    if _BARE.fullmatch(text) and text.isprintable():
        return text
    return '"' + "".join(f"\\{character}" if character in '\\"' else printable(character) for character in text) + '"'


_BARE = re.compile(r"[^\s\\\"=]+")


def _printable(value: Any) -> Any:
    """The event's field `value` with each of its texts made printable."""
    if isinstance(value, tuple):
        return tuple([_printable(member) for member in value])
    return printable(value) if isinstance(value, str) else value
