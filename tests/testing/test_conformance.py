"""The conformance suite finds the faults of stores that break their promises."""

import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import anyio.lowlevel
import pytest

import asgi_jwt.testing
from asgi_jwt.stores.base import LOG_PAGE, Change, LogPage, RevocationLog, SessionStore, T, outcome
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Revocation, Session, SessionKey
from asgi_jwt.testing import Clock, StoreConformance

pytestmark = pytest.mark.anyio


class Stale(MemoryStore):
    """Reads, goes away, and writes over what came in between."""

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        changed, result, _ = outcome(change(await self.get(key)))
        await anyio.lowlevel.checkpoint()
        return await super().update(key, lambda stored: (changed and replace(changed), result))


class Eager(MemoryStore):
    """Writes whatever a change gives back."""

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        def rewrite(stored: Session | None) -> tuple[Session | None, T]:
            changed, result, _ = outcome(change(stored))
            return changed and replace(changed), result

        return await super().update(key, rewrite)


class Forgetful(MemoryStore):
    """Deletes a session that has ended."""

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        def forget(stored: Session | None) -> tuple[Session | None, T]:
            changed, result, _ = outcome(change(stored))
            return None if changed is None or changed.ended_at is not None else changed, result

        return await super().update(key, forget)


class Careless(MemoryStore):
    """Finds a session by its `sid`, whoever's it is."""

    async def get(self, key: SessionKey) -> Session | None:
        return next((sessions[key.sid] for sessions in self._subjects.values() if key.sid in sessions), None)


class Unclosed(MemoryStore):
    """Goes on after it was closed."""

    async def aclose(self) -> None:
        return


class Impatient(MemoryStore):
    """Sweeps what still lives."""

    async def sweep(self, now: int) -> int:
        return await super().sweep(Millis(now + 10**12))


class Unsorted(MemoryStore):
    """Lists the youngest first, the dead as well."""

    async def list(self, subject: str, now: int) -> tuple[Session, ...]:
        return tuple(reversed(self._subjects.get(subject, {}).values()))


class Overtaking(MemoryStore):
    """Goes on from the number of entries that it had, whatever was forgotten since."""

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        page = self._log[cursor or 0 :][:LOG_PAGE]
        end = (cursor or 0) + len(page)
        return LogPage([entry.revocation for entry in page], end, cursor is not None, end < len(self._log))


class Whole(MemoryStore):
    """Has pages of any length."""

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        entries = [entry for entry in self._log if entry.number > (cursor or 0)]
        last = entries[-1].number if entries else cursor
        return LogPage([entry.revocation for entry in entries], last, cursor is not None, False)


class Hasty(MemoryStore):
    """Forgets a revocation when it lapses by the clock of the process that appends."""

    async def append_revocations(self, revocations: Sequence[Revocation], now: int) -> None:
        await super().append_revocations(revocations, Millis(now))
        self._log = [entry for entry in self._log if entry.revocation.until > now]


class Hoarding(MemoryStore):
    """Forgets nothing."""

    async def append_revocations(self, revocations: Sequence[Revocation], now: int) -> None:
        kept = list(self._log)
        await super().append_revocations(revocations, Millis(now))
        self._log = kept + [entry for entry in self._log if entry not in kept]


class Emptying(MemoryStore):
    """Forgets the newest entry, too."""

    async def append_revocations(self, revocations: Sequence[Revocation], now: int) -> None:
        await super().append_revocations(revocations, Millis(now))
        kept = self._monotonic() * 1000
        self._log = [entry for entry in self._log if entry.kept_until > kept]

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        page = await super().read_revocations(cursor)
        return page._replace(continues=cursor in [entry.number for entry in self._log])


class Deaf(MemoryStore):
    """Knows nothing of entries that come with a tombstone."""

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        return await super().update(key, lambda stored: outcome(change(stored))[:2])


class Heedless(MemoryStore):
    """Appends a change's entries before it looks at its record."""

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        await self.append_revocations(outcome(change(await self.get(key)))[2], Millis(0))
        return await super().update(key, lambda stored: outcome(change(stored))[:2])


class Markless(MemoryStore):
    """Lists no session whose end has begun."""

    async def list(self, subject: str, now: int) -> tuple[Session, ...]:
        return tuple(session for session in await super().list(subject, Millis(now)) if session.ending_at is None)


class Endless(MemoryStore):
    """Says that there is more, for ever."""

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        return (await super().read_revocations(cursor))._replace(more=True)


Check = Callable[[StoreConformance, SessionStore], Awaitable[None]]


class Suite(StoreConformance):
    """The suite, for a store whose clock it turns."""

    def __init__(self) -> None:
        self.clock = Clock(0)

    async def pass_time(self, store: RevocationLog, ms: int) -> bool:
        self.clock.turn(ms / 1000)
        return True


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (Stale, StoreConformance.test_concurrent_changes_are_atomic),
        (Stale, StoreConformance.test_concurrent_creations_make_one),
        (Stale, StoreConformance.test_one_token_rotates_once),
        (Eager, StoreConformance.test_same_object_writes_nothing),
        (Forgetful, StoreConformance.test_tombstone_is_kept),
        (Careless, lambda suite, store: suite.test_any_subject(store, "alice")),
        (Unclosed, StoreConformance.test_closed_store_refuses),
        (Impatient, StoreConformance.test_sweep_spares_what_lives),
        (Unsorted, StoreConformance.test_list_is_ordered_by_age),
        (Unsorted, StoreConformance.test_list_holds_live_sessions_alone),
        (Overtaking, StoreConformance.test_cursor_of_what_was_forgotten),
        (Whole, StoreConformance.test_log_is_read_by_the_page),
        (Hasty, StoreConformance.test_log_spares_what_holds),
        (Hoarding, StoreConformance.test_log_forgets_what_has_lapsed),
        (Emptying, StoreConformance.test_newest_entry_stays),
        (Deaf, StoreConformance.test_session_ends_with_its_entries),
        (Deaf, StoreConformance.test_mark_is_listed_until_it_is_finished),
        (Deaf, StoreConformance.test_many_end_one_session),
        (Deaf, StoreConformance.test_no_refresh_follows_an_end),
        (Heedless, StoreConformance.test_entries_of_a_change_that_fails),
        (Markless, StoreConformance.test_mark_is_listed_until_it_is_finished),
        (Endless, StoreConformance.test_log_begins_empty),
        (Unclosed, StoreConformance.test_closed_store_has_no_log),
    ],
)
async def test_finds_a_broken_store(make: type[MemoryStore], check: Check) -> None:
    """Each fault fails the test that is about it, which the sound store passes."""
    suite = Suite()
    await check(suite, MemoryStore(monotonic=suite.clock))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await check(suite, make(monotonic=suite.clock))


async def test_names_when_a_record_may_go() -> None:
    """A store that sweeps too early is told by which names it may look that up."""
    with pytest.raises(AssertionError, match=r"86400000 ms \(SWEEP_AFTER\) past its Session\.kept_until"):
        await Suite().test_sweep_spares_what_lives(Impatient())


def test_tells_what_to_override() -> None:
    """A suite without a store says which method it lacks."""
    with pytest.raises(NotImplementedError, match="open_store"):
        StoreConformance().open_store()


def test_testing_brings_pytest_only_with_the_suite() -> None:
    """`asgi_jwt.testing` can be imported without pytest, and has no other names than it says."""
    told = "import sys, asgi_jwt.testing; print('pytest' in sys.modules, end='')"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, check=True, text=True).stdout == "False"
    with pytest.raises(AttributeError, match="no attribute 'Suite'"):
        _ = asgi_jwt.testing.Suite
