"""The records that a store keeps. Times are in whole milliseconds since the epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self

from asgi_jwt.stores.millis import Millis

CLOCK_SKEW = Millis(60_000)
"""How far (ms) the clocks of several servers may differ."""


class SessionKey(NamedTuple):
    """The key of a session's record: its subject and its `sid`. The `sid` alone never finds a session."""

    subject: str
    sid: str


@dataclass(frozen=True, slots=True)
class Client:
    """The device from which a session was opened, as its login request showed it. The list of sessions shows it."""

    user_agent: str | None = None
    address: str | None = None


@dataclass(frozen=True, kw_only=True)
class Session:
    """One login on one device. A session is one record, whose size does not grow with its rotations.

    `generation`: the number of rotations.
    `rotated_branch`: the branch of the token whose rotation began this generation.
    `window_at`: when the window began in which SAME, REPLAYED or RECOVERED hold. None before the first rotation.
    `seen`: a token of this generation was presented.
    `expires_at`: the end of a session that is not refreshed. Each rotation moves it.
    `ends_at`: the end in any case. Nothing moves it.
    `ended_at`: the session was ended, and this record is its tombstone.
    `remember`: False if the browser forgets the session when it is closed. None: it keeps the session.
    `jkt`: the thumbprint of the key that the session is bound to, or None (RFC 9449 section 5).
    `acr`, `amr`: the kind of the login and its methods. Its time is `auth_time`.
    `ending_at`: an end of the session has begun. No token refreshes it, and the next call that finds it ends it.
    `version`: the store's counter of writes.
    `others`: members that a newer release has written. They are kept.
    """

    sid: str
    subject: str
    client_id: str | None = None
    generation: int = 0
    rotated_branch: str | None = None
    window_at: Millis | None = None
    seen: bool = False
    created_at: Millis
    used_at: Millis
    expires_at: Millis
    ends_at: Millis
    jkt: str | None = None
    ending_at: Millis | None = None
    ended_at: Millis | None = None
    version: int = 0
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    client: Client = field(default_factory=Client)
    acr: str | None = None
    amr: tuple[str, ...] = ()
    remember: bool | None = None
    others: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def changed(self, **changes: Any) -> Self:
        """A copy with `changes`. Every refresh makes one, so it is ten times as fast as `dataclasses.replace`."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, **changes)
        return copy

    @property
    def key(self) -> SessionKey:
        """The key under which a store keeps this record."""
        return SessionKey(self.subject, self.sid)

    @property
    def auth_time(self) -> Millis:
        """When the user logged in (ms). Refreshes don't change it."""
        return self.created_at

    def is_live(self, now: Millis) -> bool:
        """Whether the session is neither ended nor expired at `now` (ms)."""
        return self.ended_at is None and now < self.expires_at and now < self.ends_at

    def marked(self, now: Millis) -> Self:
        """The record with `ending_at`, which is `now` (ms). An ending or ended record is returned unchanged."""
        return self if self.ending_at is not None or self.ended_at is not None else self.changed(ending_at=now)

    @property
    def kept_until(self) -> Millis:
        """Until when (ms) a store has to keep the record: until its idle end, and a tombstone until `ends_at`.

        As long as a tombstone is kept, no refresh token can bring the session back.
        """
        return self.ends_at if self.ended_at is not None else min(self.expires_at, self.ends_at)

    @property
    def kept_for(self) -> Millis:
        """How long (ms) after its last write a store has to keep the record.

        It is a duration, so a store can count it by a clock of its own, even if that clock is wrong.
        """
        if self.ended_at is not None:
            return max(Millis(0), self.ends_at - self.ended_at)
        return max(Millis(0), self.expires_at - self.used_at)


LONGEST_VALUE = 64
"""The log has the digest of a longer value (characters), so that the size of entries and mirrors is bounded."""


def log_value(value: str) -> str:
    """The form in which the log has `value`, a `sid`, a `jti` or a subject: itself, or its digest if it is long.

    A digest has more than `LONGEST_VALUE` characters, so no digest is equal to another value itself.
    """
    if len(value) <= LONGEST_VALUE:
        return value
    return f"sha256:{sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()}"


class Revocation(NamedTuple):
    """An entry of the log of revocations. It revokes access tokens of `issuer`.

    `kind` is `sid` for the tokens of a session, `jti` for one token, and `sub` for the tokens of a subject that were
    issued until `time`. `value` is that `sid`, `jti` or subject, in the form of `log_value`.

    `spares_sessions` keeps a login right after a logout everywhere valid, also at a server whose clock is behind. Such
    a `sub` entry does not revoke a token with a `sid` that was issued less than `CLOCK_SKEW` before `time`. The tokens
    of earlier sessions are revoked by entries of their own.

    `time` is when the entry was made, and `until` when it lapses, by the clock of one process. Other clocks may differ
    by hours, so only the difference between the two counts.
    """

    kind: Literal["sid", "jti", "sub"]
    issuer: str
    value: str
    until: Millis
    time: Millis = Millis(0)
    spares_sessions: bool = False

    @property
    def act(self) -> tuple[str, str, str, Millis]:
        """Equal for two entries of the same revocation, whatever their lives are."""
        return self.kind, self.issuer, self.value, self.time

    def life(self, now: Millis) -> Millis:
        """The life (ms) of the entry, counted from its append or from its read.

        In older releases only `sub` entries have a `time`. The life of an entry without a `time` is counted from `now`.
        """
        return max(Millis(0), self.until - (self.time or now))
