"""The memory store keeps the contract of every store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise

import anyio
import pytest

from asgi_jwt.sessions.rotation import open_session
from asgi_jwt.stores.base import LOG_PAGE, SWEEP_AFTER, SWEEP_LIMIT, RevocationLog, SessionStore
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.records import Revocation, Session
from asgi_jwt.testing import Clock, StoreConformance

pytestmark = pytest.mark.anyio

LIFE = 1000


class TestMemoryStore(StoreConformance):
    @asynccontextmanager
    async def open_store(self) -> AsyncIterator[SessionStore]:
        self.clock = Clock(0)
        store = MemoryStore(monotonic=self.clock)
        try:
            yield store
        finally:
            await store.aclose()

    async def pass_time(self, store: RevocationLog, ms: int) -> bool:
        self.clock.turn(ms / 1000)
        return True


def a_session(sid: str, life: int = LIFE) -> Session:
    return open_session("alice", sid, now=0, refresh_ttl=life, session_ttl=life)


async def write(store: MemoryStore, session: Session | None, sid: str = "s1") -> None:
    await store.update(session.key if session else a_session(sid).key, lambda _: (session, None))


async def test_sweep_takes_a_bounded_number_a_call() -> None:
    """A sweep of many dead sessions takes its limit a call, and says how many went."""
    store = MemoryStore()
    for n in range(SWEEP_LIMIT + 1):
        await write(store, a_session(f"s{n}"))

    swept = [await store.sweep(LIFE + SWEEP_AFTER + 1) for _ in range(3)]

    assert swept == [SWEEP_LIMIT, 1, 0]
    assert await store.get(a_session("s0").key) is None


async def test_sweep_waits_for_the_clocks_of_others() -> None:
    """A record goes only when its end is further past than clocks differ."""
    store = MemoryStore()
    await write(store, a_session("s1"))

    assert [await store.sweep(LIFE + SWEEP_AFTER), await store.sweep(LIFE + SWEEP_AFTER + 1)] == [0, 1]


async def test_sweep_follows_an_end_that_moved() -> None:
    """A session whose end was moved on is swept at its new end; one that was deleted is not counted."""
    store = MemoryStore()
    for sid in ("moved", "deleted"):
        await write(store, a_session(sid))
    await write(store, replace(a_session("moved"), expires_at=2 * LIFE, ends_at=2 * LIFE))
    await write(store, None, "deleted")

    assert [await store.sweep(now + SWEEP_AFTER + 1) for now in (LIFE, LIFE, 2 * LIFE)] == [0, 0, 1]


async def test_one_dead_session_does_not_take_its_subject_along() -> None:
    """Sweeping a session leaves the others of its subject."""
    store = MemoryStore()
    await write(store, a_session("short"))
    await write(store, a_session("long", life=10 * LIFE))

    assert await store.sweep(LIFE + SWEEP_AFTER + 1) == 1
    assert [session.sid for session in await store.list("alice", LIFE)] == ["long"]


async def test_log_is_trimmed_by_a_clock_of_its_own() -> None:
    """The log forgets entries that lapsed by the monotonic clock, whatever a caller's clock says."""
    clock, left = Clock(0), []
    store = MemoryStore(monotonic=clock)
    for seconds in (0, 59, 1, 0, 60, 60):
        clock.turn(seconds)
        await store.append_revocations([Revocation("sid", "issuer", "s1", 10**6 + 1, 10**6)], 10**15)
        left.append(len((await store.read_revocations()).revocations))
    assert left == [1, 2, 3, 4, 3, 2]


async def test_long_lists_leave_the_loop_to_others() -> None:
    """A list of many sessions is made in slices, and is complete and in order."""
    store, turns = MemoryStore(), 0
    sids = [f"s{n:04}" for n in range(2500)]
    for sid in sids:
        await write(store, a_session(sid), sid)

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(others)
        await anyio.lowlevel.checkpoint()
        before = turns
        assert [session.sid for session in await store.list("alice", 0)] == sids
        assert turns - before >= 2
        group.cancel_scope.cancel()


async def test_every_append_looks_at_a_part_of_the_log() -> None:
    """A long log forgets what has lapsed, a bounded number an append, and keeps what has not."""
    clock = Clock(0)
    store = MemoryStore(monotonic=clock)
    lasting = [Revocation("sid", "i", f"long{n}", 10_000_000) for n in range(3)]
    await store.append_revocations(lasting[:1], 0)
    for page in range(5):
        await store.append_revocations([Revocation("sid", "i", f"{page}-{n}", 1000) for n in range(LOG_PAGE)], 0)
    await store.append_revocations(lasting[1:], 0)
    clock.turn(1000)
    sizes = [len(store._log)]
    for _ in range(6):
        await store.append_revocations(lasting[:1], 0)
        sizes.append(len(store._log))
    assert max(before - after for before, after in pairwise(sizes)) <= 2 * LOG_PAGE
    assert {entry.revocation for entry in store._log} == set(lasting)
