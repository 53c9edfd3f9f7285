"""What a store keeps. Times are integers, milliseconds since the epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self

CLOCK_SKEW = 60_000
"""How far (ms) the clocks of several servers are taken to differ."""


class SessionKey(NamedTuple):
    """Where a session is found: by its subject and its `sid`, never by the `sid` alone."""

    subject: str
    sid: str


@dataclass(frozen=True, slots=True)
class Client:
    """The device a session was opened from, as far as it told: shown to the user in the list of sessions."""

    user_agent: str | None = None
    address: str | None = None


@dataclass(frozen=True, kw_only=True)
class Session:
    """One login on one device: one record, however long it lives, whose size never grows with its rotations.

    `generation` counts the rotations. `rotated_branch` is the branch whose presentation made this generation;
    `window_at` is when the present window began (None before the first rotation); `seen` tells that a token of
    this generation came back. `expires_at` is the idle end, which a rotation moves; `ends_at` the absolute one, which
    nothing moves. `ended_at` makes the record a tombstone; `ending_at` marks one whose end has begun: it is live for
    `list` alone, and whoever meets it ends it. `version` is the store's: it grows with each write. `others` are members
    that a newer release has written: they are kept.
    """

    sid: str
    subject: str
    client_id: str | None = None
    generation: int = 0
    rotated_branch: str | None = None
    window_at: int | None = None
    seen: bool = False
    created_at: int
    used_at: int
    expires_at: int
    ends_at: int
    ending_at: int | None = None
    ended_at: int | None = None
    version: int = 0
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    client: Client = field(default_factory=Client)
    others: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def changed(self, **changes: Any) -> Self:
        """A copy with `changes`: `dataclasses.replace`, at a tenth of its cost, for every refresh makes one."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, **changes)
        return copy

    @property
    def key(self) -> SessionKey:
        """By what a store finds it: its subject and its `sid`."""
        return SessionKey(self.subject, self.sid)

    def is_live(self, now: int) -> bool:
        """Whether it is neither ended nor expired at `now` (ms)."""
        return self.ended_at is None and now < self.expires_at and now < self.ends_at

    def marked(self, now: int) -> Self:
        """The record from which no token refreshes the session, as of `now` (ms); the same object when it is so."""
        return self if self.ending_at is not None or self.ended_at is not None else self.changed(ending_at=now)

    @property
    def kept_until(self) -> int:
        """Its end (ms): a tombstone's is `ends_at`, so that nothing re-arms the session; else the idle end."""
        return self.ends_at if self.ended_at is not None else min(self.expires_at, self.ends_at)

    @property
    def kept_for(self) -> int:
        """How long (ms) after its last write a store has to keep it: a tombstone until `ends_at`, else the idle end.

        It is relative, so that a store may let its own clock run it down, wherever that clock stands.
        """
        if self.ended_at is not None:
            return max(0, self.ends_at - self.ended_at)
        return max(0, self.expires_at - self.used_at)


LONGEST_VALUE = 64
"""What is longer stands in the log as its digest, so that no entry, and no mirror of them, is larger than another."""


def log_value(value: str) -> str:
    """`value`, a `sid`, a `jti` or a subject, as the log has it. No digest is as short as what stands for itself."""
    if len(value) <= LONGEST_VALUE:
        return value
    return f"sha256:{sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()}"


class Revocation(NamedTuple):
    """An entry of the log of revocations: access tokens that are refused although they verify.

    `kind` is `sid` (those of a session), `jti` (one token) or `sub` (those of a subject, issued up to `time`); `value`
    says whose, in the form of `log_value`, among the tokens of `issuer`. A `sub` with `spares_sessions` leaves the last
    minute before `time` to entries of the sessions' own, where tokens have a `sid`, so that a login right after it is
    untouched, at a server whose clock is behind as well.

    `time` is when the entry was made and `until` when it lapses, both by the clock of the process that made it: other
    clocks may differ by hours, so only the time between the two counts.
    """

    kind: Literal["sid", "jti", "sub"]
    issuer: str
    value: str
    until: int
    time: int = 0
    spares_sessions: bool = False

    @property
    def act(self) -> tuple[str, str, str, int]:
        """What tells the entry from others, however much of its life is left."""
        return self.kind, self.issuer, self.value, self.time

    def life(self, now: int) -> int:
        """How long (ms) the entry is kept from when it was appended or read.

        An entry of a release before has no `time`, unless it is of a subject: its life is counted from `now`.
        """
        return max(0, self.until - (self.time or now))
