"""Revoked sessions and tokens: the log of the store, mirrored in the process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from asgi_jwt.stores.base import LOG_PAGE, RevocationLog
from asgi_jwt.stores.records import Revocation
from asgi_jwt.tasks import SingleFlight, start
from asgi_jwt.tokens.claims import Claims, set_cleared_by

_PATIENCE = 0.25
_BETWEEN_ATTEMPTS = 0.25
_NEVER = float("-inf")
_PAGES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationPolicy:
    """How old a copy of the log may be, in seconds, and what follows when it is older.

    `interval`: past it, a request reads what is new before it is answered. `max_staleness`: past it, when nothing could
    be read, requests are refused (`outage` is `closed`) or let in by the copy there is (`open`).
    """

    interval: float = 1
    max_staleness: float = 5
    outage: Literal["closed", "open"] = "closed"


class RevocationList:
    """Which access tokens are revoked, by a copy of the store's log that the process keeps.

    Asking costs no I/O while the copy is fresh. When it is older than the interval, whoever asks next has what is new
    read first, once for all who ask meanwhile, in a task of its own. Nothing leaves the copy before it lapses.

    `store` gives the store when it is first needed; `clock` gives seconds since the epoch.

    A task that looks after many connections for longer calls `poll()` once an interval, and then asks `is_revoked` for
    each of their `Claims`, and `out_of_reach` once for all.
    """

    def __init__(
        self,
        store: Callable[[], RevocationLog],
        policy: RevocationPolicy,
        *,
        clock: Callable[[], float],
        events: EventSink,
    ) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._events = events
        self._mirror = Mirror()
        self._covers = self._mirror.covers
        self._interval = policy.interval
        self._cursor: object = None
        self._lapses = 0
        # As of when the copy is; when a read began last, by the event loop's clock; when one failed last, by either.
        self._read_at = self._due_at = _NEVER
        self._began = 0.0
        self._failed_at: tuple[float, float] | None = None
        self._failure: str | None = None
        self._told_stale = False
        self._flight = SingleFlight(self._read)
        self.reads = 0

    def __len__(self) -> int:
        """How many revocations it holds."""
        return len(self._mirror)

    @property
    def interval(self) -> float:
        """How many seconds old the copy may be before it is read on."""
        return self._interval

    @property
    def age(self) -> float | None:
        """How many seconds old the copy is; None before the first read."""
        return None if self._read_at == _NEVER else self._clock() - self._read_at

    @property
    def out_of_reach(self) -> bool:
        """Whether the copy is too old to go by, and tokens are to be refused for it: never with the outage `open`.

        Says so too where nobody has asked for a while: `poll` first.
        """
        return self._policy.outage == "closed" and not self._is_usable(self._clock())

    def clears(self, claims: Claims) -> bool:
        """Whether the token with these verified claims may pass at sight: the copy is fresh, and it is not revoked."""
        # Every request asks: no call that can be spared.
        if not self._read_at <= self._clock() < self._due_at:
            return False
        if claims._cleared_by is self._mirror.state:
            return True
        state = self._mirror.state
        if self._covers(claims._members):
            return False
        set_cleared_by(claims, state)
        return True

    def is_revoked(self, claims: Claims) -> bool:
        """Whether the token with these verified claims is revoked, by the copy there is, however old."""
        return self._covers(claims._members)

    async def check(self, claims: Claims) -> None:
        """Raises `RevokedToken`, or `RevocationsUnavailable` where the log is out of reach; reads it if that is due."""
        if self._covers(claims._members):
            raise RevokedToken
        if not self._is_fresh(self._clock()):
            await self.current()
            if self._covers(claims._members):
                raise RevokedToken

    async def current(self) -> None:
        """Have what is new read, if that is due. Raises `RevocationsUnavailable` where the log is out of reach."""
        await self.poll()
        if self._is_usable(self._clock()):
            return
        if not self._told_stale:
            self._told_stale = True
            await self._events.emit(RevocationsStale(self._policy.outage))
        if self.out_of_reach:
            raise RevocationsUnavailable(self._failure)

    async def poll(self) -> None:
        """Have what is new read, if that is due, whether it succeeds or not.

        It doesn't wait for long where the copy can be gone by meanwhile: a store that stalls holds up nobody.
        """
        await self._read_on()
        if not (self._is_usable(self._clock()) or self._flight.under_way or self._failed_at is not None):
            # That read had begun long ago, before the process was put to sleep.
            await self._read_on()

    def warm_up(self) -> None:
        """Begin the first read, and don't wait for it. Needs a running event loop."""
        if self._read_at == _NEVER:
            self._attempt()

    async def add(self, revocations: Sequence[Revocation]) -> int:
        """Put revocations into the log: every process refuses what they are about once it has read them, this one now.

        Those known already are not put there again; how many were new. Raises `StoreUnavailable`: they may be in the
        log or not.
        """
        store, now = self._store(), int(self._clock() * 1000)
        new = [revocation for revocation in revocations if not self._mirror.holds(revocation)]
        for first in range(0, len(new), LOG_PAGE):
            page = new[first : first + LOG_PAGE]
            await store.append_revocations(page, now)
            self._mirror.add(page, now)
        return len(new)

    def has_session(self, issuer: str, sid: str) -> bool:
        """Whether this session's tokens are revoked, by the copy there is."""
        return self._mirror.has_session(issuer, sid)

    def _is_fresh(self, now: float) -> bool:
        # Not where the clock was set back either.
        return self._read_at <= now < self._due_at

    def _is_usable(self, now: float) -> bool:
        return abs(now - self._read_at) <= self._policy.max_staleness

    def _patience(self, now: float) -> float:
        """How many seconds from the beginning of a read someone waits for it."""
        failing = self._failed_at is not None
        if self._is_usable(now):
            return 0 if failing else _PATIENCE
        return _PATIENCE if failing else self._policy.max_staleness

    async def _read_on(self) -> None:
        now = self._clock()
        if self._is_fresh(now):
            return
        self._attempt()
        if self._flight.under_way:
            patience = self._began + self._patience(now) - anyio.current_time()
            if patience > 0:
                with anyio.move_on_after(patience):
                    await self._flight.wait()

    def _attempt(self) -> None:
        """Begin a read, unless one is under way or has just failed."""
        if self._flight.under_way:
            return
        now = anyio.current_time(), self._clock()
        # Whichever of the two goes on: the clock may stand still, in a test, or have been turned.
        if self._failed_at is None or not all(
            0 <= after - before < _BETWEEN_ATTEMPTS for before, after in zip(self._failed_at, now, strict=True)
        ):
            self._began = now[0]
            self._flight.start()

    async def _read(self) -> None:
        self.reads += 1
        now = self._clock()
        if now < self._read_at:
            # By a clock that was ahead, entries lapsed that have not: the log has them still.
            self._cursor = None
        try:
            await self._read_pages(int(now * 1000))
        except Exception as error:
            why = str(error) if isinstance(error, StoreUnavailable) else type(error).__name__
            if self._failed_at is None:
                self._tell(RevocationsNotRead(why))
            self._failed_at, self._failure = (anyio.current_time(), self._clock()), why
            if not isinstance(error, StoreUnavailable):
                raise
            return
        if self._failed_at is not None:
            self._tell(RevocationsReadAgain())
        self._read_at, self._due_at = now, now + self._interval
        self._failed_at, self._told_stale = None, False
        if self._mirror.lapse(int(now * 1000)):
            start(self._forget_the_rest)

    async def _forget_the_rest(self) -> None:
        """By and by, and in nobody's way: so many lapse at once where so many were revoked at once."""
        while self._mirror.lapse(int(self._clock() * 1000)):
            await checkpoint()

    async def _read_pages(self, now: int) -> None:
        store = self._store()
        for _ in range(_PAGES):
            page = await store.read_revocations(self._cursor)
            self._mirror.add(page.revocations, now)
            # What has lapsed is forgotten, the entry where the copy ended like any other.
            if self._cursor is not None and not page.continues and now <= self._lapses:
                self._tell(RevocationsRebuilt())
            self._cursor = page.cursor
            if page.revocations:
                self._lapses = page.revocations[-1].until
            if not page.more:
                return
            await checkpoint()  # a long log holds nobody up, also where the store itself never waits
        raise StoreUnavailable("the log of revocations has no end")

    def _tell(self, event: Event) -> None:
        # Not within the read: the host's listener may take its time, and all would wait for it.
        start(lambda: self._events.emit(event))
