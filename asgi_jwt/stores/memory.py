"""MemoryStore: sessions in the memory of one process.

It is for tests, for demos, and for an app of one process whose users may have to log in again after a restart.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from operator import attrgetter
from time import monotonic
from typing import Any, NamedTuple

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.base import LOG_PAGE, SWEEP_AFTER, SWEEP_LIMIT, Change, LogPage, T, next_version, outcome
from asgi_jwt.stores.millis import Millis, millis
from asgi_jwt.stores.records import CLOCK_SKEW, Revocation, Session, SessionKey
from asgi_jwt.tasks import in_slices

_LISTED_AT_ONCE = 1000
_TRIMMED_AT_ONCE = 2 * LOG_PAGE


class _Logged(NamedTuple):
    number: int
    kept_until: Millis
    revocation: Revocation


class MemoryStore:
    """A `SessionStore` in a dict. Only a long `list` awaits, so each other call is atomic within its event loop.

    `monotonic` returns seconds since any moment. The log counts the life of its entries by it.
    """

    def __init__(self, *, monotonic: Callable[[], float] = monotonic) -> None:
        self._subjects: dict[str, dict[str, Session]] = {}
        # Each session has one member here: a time at which it may have ended. `sweep` puts it back if it has not.
        self._ends: list[tuple[Millis, SessionKey]] = []
        self._log: list[_Logged] = []
        self._numbers = count(1)
        self._monotonic = monotonic
        self._trimmed_to = 0
        self._closed = False

    async def get(self, key: SessionKey) -> Session | None:
        return self._sessions(key.subject).get(key.sid)

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        stored = self._sessions(key.subject).get(key.sid)
        changed, result, entries = outcome(change(stored))
        if changed is None:
            self._forget(key)
        elif changed is not stored:
            self._subjects.setdefault(key.subject, {})[key.sid] = next_version(key, stored, changed)
            if stored is None:
                heappush(self._ends, (changed.kept_until, key))
        if entries:
            self._append(entries, Millis(0))
        return result

    async def list(self, subject: str, now: Millis) -> tuple[Session, ...]:
        live: list[Session] = []
        async for sessions in in_slices([*self._sessions(subject).values()], _LISTED_AT_ONCE):
            live += [session for session in sessions if session.is_live(now)]
        # They stand in the order of their logins, so that there is little to sort.
        return tuple(sorted(live, key=attrgetter("created_at", "sid")))

    async def sweep(self, now: Millis) -> int:
        self._require_open()
        swept = 0
        for _ in range(min(SWEEP_LIMIT, len(self._ends))):
            if self._ends[0][0] >= now - SWEEP_AFTER:
                break
            _, key = heappop(self._ends)
            session = self._sessions(key.subject).get(key.sid)
            if session is None:
                continue
            if session.kept_until >= now - SWEEP_AFTER:
                heappush(self._ends, (session.kept_until, key))
                continue
            self._forget(key)
            swept += 1
        return swept

    async def append_revocations(self, revocations: Sequence[Revocation], now: Millis) -> None:
        self._require_open()
        self._append(revocations, now)

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        self._require_open()
        start = bisect_right(self._log, cursor or 0, key=attrgetter("number"))
        page = self._log[start : start + LOG_PAGE]
        return LogPage(
            [entry.revocation for entry in page],
            page[-1].number if page else cursor,
            cursor is not None,
            start + LOG_PAGE < len(self._log),
        )

    async def aclose(self) -> None:
        self._closed = True
        self._subjects.clear()
        self._ends.clear()
        self._log.clear()

    def _append(self, revocations: Sequence[Revocation], now: Millis) -> None:
        from_now = millis(self._monotonic()) + CLOCK_SKEW
        self._log += [_Logged(next(self._numbers), from_now + entry.life(now), entry) for entry in revocations]
        self._trim()

    def _trim(self) -> None:
        """Remove lapsed entries from a bounded part of the log. The next call goes on behind that part."""
        now, newest = millis(self._monotonic()), len(self._log) - 1
        start = self._trimmed_to
        end = min(start + _TRIMMED_AT_ONCE, newest)
        kept = [entry for entry in self._log[start:end] if entry.kept_until > now]
        self._log[start:end] = kept
        self._trimmed_to = start + len(kept) if end < newest else 0

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the memory store is closed")

    def _sessions(self, subject: str) -> dict[str, Session]:
        self._require_open()
        return self._subjects.get(subject, {})

    def _forget(self, key: SessionKey) -> None:
        sessions = self._subjects.get(key.subject, {})
        sessions.pop(key.sid, None)
        if not sessions:
            self._subjects.pop(key.subject, None)
