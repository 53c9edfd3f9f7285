"""Revoked sessions and tokens: the log of the store, mirrored in the process."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Literal

import anyio
from anyio.lowlevel import checkpoint

from asgi_jwt.errors import RevocationsUnavailable, RevokedToken, StoreUnavailable
from asgi_jwt.events import (
    Event,
    EventSink,
    RevocationsNotRead,
    RevocationsReadAgain,
    RevocationsRebuilt,
    RevocationsStale,
)
from asgi_jwt.sessions.mirror import Mirror
from asgi_jwt.sessions.own_entries import OwnEntries
from asgi_jwt.stores.base import RevocationLog
from asgi_jwt.stores.records import Revocation
from asgi_jwt.tasks import SingleFlight, start
from asgi_jwt.tokens.claims import Claims

_PATIENCE = 0.25
_BETWEEN_ATTEMPTS = 0.25
_NEVER = float("-inf")
_PAGES = 100_000
_CLEARED = 4096


class Freshness(StrEnum):
    """How the mirror stands to the log."""

    FRESH = "fresh"
    """Read within the interval: nothing is to be done."""
    READING = "reading"
    """A read is under way."""
    FAILING = "failing"
    """A read failed a moment ago: the next attempt comes a little later."""
    DUE = "due"
    """Older than the interval: a read begins."""
    STALE = "stale"
    """Due, and too old to go by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationPolicy:
    """How old the mirror may be, in seconds, and what follows when it is older.

    `interval`: past it, a request reads what is new before it is answered. `max_staleness`: past it, when nothing could
    be read, requests are refused (`outage` is `closed`) or let in by the mirror as it is (`open`).
    """

    interval: float = 1
    max_staleness: float = 5
    outage: Literal["closed", "open"] = "closed"


class RevocationList:
    """Which access tokens are revoked, by the process's mirror of the store's log.

    Asking costs no I/O while the mirror is fresh. When it is due, the next request has the new entries read first, once
    for all requests meanwhile, in a task of its own. Nothing leaves the mirror before it lapses.

    `log` gives the log when it is first needed; `clock` gives seconds since the epoch, `monotonic` seconds since any
    moment: by it entries lapse, however the clock is set.

    A task that looks after many connections calls `poll()` once an interval, and then asks `is_revoked` for each of
    their `Claims`, and `out_of_reach` once for all.
    """

    def __init__(
        self,
        log: Callable[[], RevocationLog],
        policy: RevocationPolicy,
        *,
        clock: Callable[[], float],
        events: EventSink,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        self.policy = policy
        self._log = log
        self._clock = clock
        self._events = events
        self._monotonic = monotonic
        self.own = OwnEntries()
        self._mirror = Mirror()
        self._covers = self._mirror.covers
        self._cleared: dict[int, Claims] = {}  # by `id`: claims that no entry of the mirror covers
        self._cursor: object = None
        self._lapses = 0
        self._read_at = self._due_at = _NEVER  # by `clock`: as of when the mirror is, and when it is due
        self._began = 0.0  # by the event loop's clock: when the last read began
        self._failed_at: tuple[float, float] | None = None  # by both: when the last read failed, if it did
        self._failure: str | None = None
        self._stale_emitted = False
        self._flight = SingleFlight(self._read)
        self.reads = 0

    def __len__(self) -> int:
        """How many revocations the mirror holds."""
        return len(self._mirror)

    @property
    def interval(self) -> float:
        """How many seconds old the mirror may be before it is due."""
        return self.policy.interval

    @property
    def age(self) -> float | None:
        """How many seconds old the mirror is; None before the first read."""
        return None if self._read_at == _NEVER else self._clock() - self._read_at

    @property
    def freshness(self) -> Freshness:
        """How the mirror stands to the log now."""
        now = self._clock()
        if self._read_at <= now < self._due_at:  # a mirror from the future is due: the clock was set back
            return Freshness.FRESH
        if self._flight.under_way:
            return Freshness.READING
        if self._failed_at is not None and self._just(self._failed_at):
            return Freshness.FAILING
        return Freshness.DUE if self._is_usable else Freshness.STALE

    @property
    def out_of_reach(self) -> bool:
        """Whether tokens are to be refused because the mirror is too old to go by: never with the outage `open`.

        `poll` first: a mirror that no request has asked for a while is old, too.
        """
        return self.policy.outage == "closed" and not self._is_usable

    def clears(self, claims: Claims) -> bool:
        """Whether the token with these verified claims passes at once: the mirror is fresh and does not cover it."""
        # Every request calls this: it makes no call that can be spared.
        if not self._read_at <= self._clock() < self._due_at:
            return False
        cleared = self._cleared
        if id(claims) in cleared:
            return True
        if self._covers(claims._members):
            return False
        if len(cleared) >= _CLEARED:
            cleared.clear()
        cleared[id(claims)] = claims
        return True

    def is_revoked(self, claims: Claims) -> bool:
        """Whether the token with these verified claims is revoked, by the mirror as it is, however old."""
        return self._covers(claims._members)

    async def check(self, claims: Claims) -> None:
        """Raises `RevokedToken`, or `RevocationsUnavailable` where the log is out of reach; reads it if that is due."""
        if self._covers(claims._members):
            raise RevokedToken
        if self.freshness is not Freshness.FRESH:
            await self.current()
            if self._covers(claims._members):
                raise RevokedToken

    async def current(self) -> None:
        """Have new entries read, if that is due. Raises `RevocationsUnavailable` where the log is out of reach."""
        if self.freshness is Freshness.FRESH:
            return
        await self.poll()
        if self._is_usable:
            return
        if not self._stale_emitted:
            self._stale_emitted = True
            await self._events.emit(RevocationsStale(self.policy.outage))
        if self.out_of_reach:
            raise RevocationsUnavailable(self._failure)

    async def poll(self) -> None:
        """Have new entries read, if that is due, whether the read succeeds or not.

        A store that stalls holds up no caller for longer than the mirror needs to be usable.
        """
        if self.freshness is Freshness.FRESH:
            return
        await self._read_if_due()
        if self.freshness is Freshness.STALE and self._failed_at is None:
            await self._read_if_due()  # the read had begun long ago, before the process was put to sleep

    def warm_up(self) -> None:
        """Begin the first read, and don't wait for it. Needs a running event loop."""
        if self._read_at == _NEVER:
            self._begin_if_due()

    def take(self, revocations: Iterable[Revocation]) -> None:
        """Take over entries that this process has put into the log: it refuses their tokens now."""
        self._add(revocations, self._elapsed(), int(self._clock() * 1000))

    def has_token(self, issuer: str, jti: str) -> bool:
        """Whether an entry for this token is in the mirror as it is."""
        return self._mirror.has_token(issuer, jti)

    def has_session(self, issuer: str, sid: str) -> bool:
        """Whether this session's tokens are revoked, by the mirror as it is."""
        return self._mirror.has_session(issuer, sid)

    def has_subject(self, claims: Claims) -> bool:
        """Whether all tokens of this one's subject were revoked since it was issued, by the mirror as it is."""
        return self._mirror.has_subject(claims.issuer, claims.subject, claims.get("iat", _NEVER))

    @property
    def _is_usable(self) -> bool:
        return abs(self._clock() - self._read_at) <= self.policy.max_staleness

    def _just(self, moment: tuple[float, float]) -> bool:
        # By either clock: `clock` may stand still, in a test, or have been set.
        now = anyio.current_time(), self._clock()
        return all(0 <= after - before < _BETWEEN_ATTEMPTS for before, after in zip(moment, now, strict=True))

    def _begin_if_due(self) -> None:
        if self.freshness in (Freshness.DUE, Freshness.STALE):
            self._began = anyio.current_time()
            self._flight.start()

    async def _read_if_due(self) -> None:
        self._begin_if_due()
        if self.freshness is Freshness.READING:
            patience = self._began + self._patience - anyio.current_time()
            if patience > 0:
                with anyio.move_on_after(patience):
                    await self._flight.wait()

    @property
    def _patience(self) -> float:
        """How many seconds from the beginning of a read a request waits for it."""
        if self._failed_at is None:
            return _PATIENCE if self._is_usable else self.policy.max_staleness
        return 0 if self._is_usable else _PATIENCE

    async def _read(self) -> None:
        self.reads += 1
        now = self._clock()
        try:
            await self._read_pages(int(now * 1000))
        except Exception as error:
            self._failed(str(error) if isinstance(error, StoreUnavailable) else type(error).__name__)
            if not isinstance(error, StoreUnavailable):
                raise
        else:
            self._succeeded(now)

    def _failed(self, why: str) -> None:
        if self._failed_at is None:
            self._emit(RevocationsNotRead(why))
        self._failed_at, self._failure = (anyio.current_time(), self._clock()), why

    def _succeeded(self, now: float) -> None:
        if self._failed_at is not None:
            self._emit(RevocationsReadAgain())
        self._read_at, self._due_at = now, now + self.policy.interval
        self._failed_at, self._stale_emitted = None, False
        if self._mirror.lapse(self._elapsed()):
            start(self._lapse_the_rest)

    async def _lapse_the_rest(self) -> None:
        """In slices: as many entries lapse at once as were revoked at once."""
        while self._mirror.lapse(self._elapsed()):
            await checkpoint()

    async def _read_pages(self, wall: int) -> None:
        log = self._log()
        self.own.reading_began()
        for _ in range(_PAGES):
            page = await log.read_revocations(self._cursor)
            now = self._elapsed()
            self._add(page.revocations, now, wall)
            self.own.read(page.revocations)
            if self._cursor is not None and not page.continues:
                self.own.place_was_lost()
                if now <= self._lapses:  # else the log has forgotten an entry that lapsed
                    self._emit(RevocationsRebuilt())
            self._cursor = page.cursor
            if page.revocations:
                self._lapses = now + page.revocations[-1].life(wall)
            if not page.more:
                self.own.reading_ended()
                return
            await checkpoint()  # a store may answer without waiting: a long log still leaves the loop to others
        raise StoreUnavailable("the log of revocations has no end")

    def _add(self, revocations: Iterable[Revocation], now: int, wall: int) -> None:
        if self._mirror.add(revocations, now, wall):
            self._cleared = {}

    def _elapsed(self) -> int:
        return int(self._monotonic() * 1000)

    def _emit(self, event: Event) -> None:
        # In a task of its own: the host's listener may take its time, and all requests wait for the read.
        start(lambda: self._events.emit(event))
