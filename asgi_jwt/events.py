"""What happened, for logs and metrics. No event holds a token, a secret or a cookie."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import ClassVar

from asgi_jwt.hooks import settle

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
class TokensRevoked(Event):
    """The host had tokens revoked; `kind` is `jti` for one token, `sub` for those of a subject."""

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


OnEvent = Callable[[Event], Awaitable[None] | None]


class EventSink:
    """Hands every event to the logger `asgi_jwt` and to the host's `on_event`, whose failure is logged and ends there.

    In the log record, the event's fields are attributes: `event`, and `event_` before each field's name.
    """

    def __init__(self, on_event: OnEvent | None = None) -> None:
        self._on_event = on_event

    async def emit(self, event: Event) -> None:
        if logger.isEnabledFor(event.level):
            fields = asdict(event)
            told = " ".join(f"{name}={value}" for name, value in fields.items())
            extra = {"event": event.name, **{f"event_{name}": value for name, value in fields.items()}}
            logger.log(event.level, "%s %s", event.name, told, extra=extra)
        if self._on_event is not None:
            try:
                await settle(self._on_event(event))
            except Exception:
                logger.exception("on_event failed for %s", event.name)
