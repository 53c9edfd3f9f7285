"""RevocationList: keeps the process's mirror of the revocation log fresh, and answers from it."""

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
from asgi_jwt.stores.millis import Millis, millis
from asgi_jwt.stores.records import Revocation
from asgi_jwt.tasks import SingleFlight, start
from asgi_jwt.tokens.claims import Claims

_READ_WAIT = 0.25
"""How long (s) a request waits for a read of the log while the mirror is still usable."""

_RETRY_AFTER = 0.25
"""How long (s) after a failed read the next read begins, at the earliest."""

_NEVER = float("-inf")
_MAX_PAGES = 100_000
_MAX_PASSED = 4096


class Freshness(StrEnum):
    """How old the mirror is, and whether a read is under way."""

    FRESH = "fresh"
    """The mirror was read within the interval."""
    READING = "reading"
    """The mirror is older than the interval, and a read is under way."""
    FAILING = "failing"
    """The last read failed a moment ago. The next one begins a little later."""
    DUE = "due"
    """The mirror is older than the interval, so a read has to begin."""
    STALE = "stale"
    """The mirror is older than `max_staleness`, and a read has to begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationPolicy:
    """How old the mirror may be, in seconds, and how requests are answered if it is older.

    `interval`: if the mirror is older, the next request first has new entries read.
    `max_staleness`: if the mirror is older because the log can't be read, requests are refused (`outage` is `closed`),
    or the old mirror decides (`outage` is `open`).
    """

    interval: float = 1
    max_staleness: float = 5
    outage: Literal["closed", "open"] = "closed"


class RevocationList:
    """The revoked access tokens, by the process's mirror of the store's log.

    While the mirror is fresh, an answer costs no I/O. When the mirror is due, the next request starts one read, in a
    task of its own, and all requests that come meanwhile wait for the same read. An entry stays in the mirror until it
    lapses.

    `log` returns the log, and is called at the first read. `clock` returns seconds since the epoch. `monotonic` returns
    seconds since any moment; entries lapse by it, so that setting the wall clock has no effect.

    A task that watches many connections calls `poll()` once an interval, then reads `out_of_reach` once, and calls
    `is_revoked` for the `Claims` of each connection.
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
        self.own_entries = OwnEntries()
        self._mirror = Mirror()
        self._covers = self._mirror.covers
        self._passed: dict[int, Claims] = {}  # claims that no entry of the mirror covers, by their `id`
        self._cursor: object = None
        self._last_entry_lapses_at = Millis(0)  # in ms of `monotonic`
        self._read_at = self._due_at = _NEVER  # in seconds of `clock`: the start of the last good read, and the next
        self._read_began_at = 0.0  # in seconds of the event loop: the start of the last read, good or not
        self._failed_at: tuple[float, float] | None = None  # the last read failed at, in seconds of event loop, `clock`
        self._failure: str | None = None
        self._stale_emitted = False
        self._flight = SingleFlight(self._read)
        self.reads = 0

    def __len__(self) -> int:
        """The number of entries in the mirror."""
        return len(self._mirror)

    @property
    def interval(self) -> float:
        """The age (s) at which the mirror is due."""
        return self.policy.interval

    @property
    def age(self) -> float | None:
        """The age (s) of the mirror. None: it was never read."""
        return None if self._read_at == _NEVER else self._clock() - self._read_at

    @property
    def freshness(self) -> Freshness:
        """The present state of the mirror."""
        now = self._clock()
        if self._read_at <= now < self._due_at:  # if the clock was set back, `_read_at` is in the future
            return Freshness.FRESH
        if self._flight.under_way:
            return Freshness.READING
        if self._failed_at is not None and self._is_recent(self._failed_at):
            return Freshness.FAILING
        return Freshness.DUE if self._is_usable else Freshness.STALE

    @property
    def out_of_reach(self) -> bool:
        """Whether all tokens have to be refused, because the mirror is too old and the outage is `closed`.

        Call `poll` first: without requests the mirror grows old, although the log can be read.
        """
        return self.policy.outage == "closed" and not self._is_usable

    def passes(self, claims: Claims) -> bool:
        """Whether the mirror is fresh and has no entry for the token with these verified claims."""
        # Every request runs this, so it calls as little as possible.
        if not self._read_at <= self._clock() < self._due_at:
            return False
        passed = self._passed
        if id(claims) in passed:
            return True
        if self._covers(claims._members):
            return False
        if len(passed) >= _MAX_PASSED:
            passed.clear()
        passed[id(claims)] = claims
        return True

    def is_revoked(self, claims: Claims) -> bool:
        """Whether the mirror, however old it is, revokes the token with these verified claims."""
        return self._covers(claims._members)

    async def check(self, claims: Claims) -> None:
        """Have the log read if the mirror is due, and raise `RevokedToken` if the token is revoked.

        Raises `RevocationsUnavailable` if the log is out of reach.
        """
        if self._covers(claims._members):
            raise RevokedToken
        if self.freshness is not Freshness.FRESH:
            await self.current()
            if self._covers(claims._members):
                raise RevokedToken

    async def current(self) -> None:
        """Have the log read if the mirror is due. Raises `RevocationsUnavailable` if the log is out of reach."""
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
        """Have the log read if the mirror is due. A failed read raises nothing.

        While the mirror is usable, a store that stalls delays a caller by `_READ_WAIT` at most.
        """
        if self.freshness is Freshness.FRESH:
            return
        await self._read_if_due()
        if self.freshness is Freshness.STALE and self._failed_at is None:
            await self._read_if_due()  # the read began before the computer slept, so its result is too old

    def warm_up(self) -> None:
        """Start the first read and return at once. It needs a running event loop."""
        if self._read_at == _NEVER:
            self._begin_if_due()

    def add(self, revocations: Iterable[Revocation]) -> None:
        """Add entries that this process has appended to the log, so that it refuses their tokens at once."""
        now = self._elapsed()
        self._add(revocations, now, millis(self._clock()))
        self._mirror.lapse(now)  # no read may follow, in a process that only ends sessions

    def has_token(self, issuer: str, jti: str) -> bool:
        """Whether the mirror has an entry for this one token."""
        return self._mirror.has_token(issuer, jti)

    def has_session(self, issuer: str, sid: str) -> bool:
        """Whether the mirror has an entry for this session."""
        return self._mirror.has_session(issuer, sid)

    def has_subject(self, claims: Claims) -> bool:
        """Whether the mirror has an entry that revokes all tokens of the subject, and is newer than this token."""
        return self._mirror.has_subject(claims.issuer, claims.subject, claims.get("iat", _NEVER))

    @property
    def _is_usable(self) -> bool:
        return abs(self._clock() - self._read_at) <= self.policy.max_staleness

    def _is_recent(self, moment: tuple[float, float]) -> bool:
        # Both clocks have to agree: `clock` may have been set, or may stand still in a test.
        now = anyio.current_time(), self._clock()
        return all(0 <= after - before < _RETRY_AFTER for before, after in zip(moment, now, strict=True))

    def _begin_if_due(self) -> None:
        if self.freshness in (Freshness.DUE, Freshness.STALE):
            self._read_began_at = anyio.current_time()
            self._flight.start()

    async def _read_if_due(self) -> None:
        self._begin_if_due()
        if self.freshness is Freshness.READING:
            wait = self._read_began_at + self._longest_wait - anyio.current_time()
            if wait > 0:
                with anyio.move_on_after(wait):
                    await self._flight.wait()

    @property
    def _longest_wait(self) -> float:
        """How long (s) after the start of a read a request stops waiting for it."""
        if self._failed_at is None:
            # The read should succeed. With a usable mirror the request can go on without it; else it needs the read.
            return _READ_WAIT if self._is_usable else self.policy.max_staleness
        # The last read failed, so this one may fail, too: a request waits no longer than it must.
        return 0 if self._is_usable else _READ_WAIT

    async def _read(self) -> None:
        self.reads += 1
        now = self._clock()
        try:
            await self._read_pages(millis(now))
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
        """Remove the other lapsed entries in slices, because many entries may lapse at the same time."""
        while self._mirror.lapse(self._elapsed()):
            await checkpoint()

    async def _read_pages(self, wall: Millis) -> None:
        log = self._log()
        self.own_entries.reading_began()
        for _ in range(_MAX_PAGES):
            page = await log.read_revocations(self._cursor)
            now = self._elapsed()
            self._add(page.revocations, now, wall)
            self.own_entries.read(page.revocations)
            if self._cursor is not None and not page.continues:
                self.own_entries.place_was_lost()
                if now <= self._last_entry_lapses_at:  # otherwise the log only removed entries that had lapsed
                    self._emit(RevocationsRebuilt())
            self._cursor = page.cursor
            if page.revocations:
                self._last_entry_lapses_at = now + page.revocations[-1].life(wall)
            if not page.more:
                self.own_entries.reading_ended()
                return
            await checkpoint()  # a store may answer without waiting, and a long log must not block the event loop
        raise StoreUnavailable("the log of revocations has no end")

    def _add(self, revocations: Iterable[Revocation], now: Millis, wall: Millis) -> None:
        if self._mirror.add(revocations, now, wall):
            self._passed = {}

    def _elapsed(self) -> Millis:
        return millis(self._monotonic())

    def _emit(self, event: Event) -> None:
        # A task of its own emits: the host's `on_event` may be slow, and requests wait for this read.
        start(lambda: self._events.emit(event))
