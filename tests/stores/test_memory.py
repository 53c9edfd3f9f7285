"""The memory store keeps the contract of every store."""

from contextlib import AbstractAsyncContextManager
from itertools import pairwise

import anyio.lowlevel
import pytest
from support.stores import NOW, a_session, using, write

from asgi_jwt.stores.base import LOG_PAGE, RevocationLog, SessionStore
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Revocation
from asgi_jwt.testing import Clock, StoreConformance

pytestmark = pytest.mark.anyio


class TestMemoryStore(StoreConformance):
    def open_store(self) -> AbstractAsyncContextManager[SessionStore]:
        self.clock = Clock(0)
        return using(MemoryStore(monotonic=self.clock))

    async def pass_time(self, store: RevocationLog, ms: int) -> bool:
        self.clock.turn(ms / 1000)
        return True


async def test_log_is_trimmed_by_a_clock_of_its_own() -> None:
    """The log forgets entries that lapsed by the monotonic clock, whatever a caller's clock says."""
    clock, left = Clock(0), []
    store = MemoryStore(monotonic=clock)
    for seconds in (0, 59, 1, 0, 60, 60):
        clock.turn(seconds)
        await store.append_revocations(
            [Revocation("sid", "issuer", "s1", Millis(10**6 + 1), Millis(10**6))], Millis(10**15)
        )
        left.append(len((await store.read_revocations()).revocations))
    assert left == [1, 2, 3, 4, 3, 2]


async def test_long_lists_leave_the_loop_to_others() -> None:
    """A list of many sessions is made in slices, and is complete and in order."""
    store, turns = MemoryStore(), 0
    sids = [f"s{n:04}" for n in range(2500)]
    for sid in sids:
        await write(store, a_session(sid))

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(others)
        await anyio.lowlevel.checkpoint()
        before = turns
        assert [session.sid for session in await store.list("alice", Millis(NOW))] == sids
        assert turns > before
        group.cancel_scope.cancel()


async def test_every_append_looks_at_a_part_of_the_log() -> None:
    """A long log forgets what has lapsed, a bounded number an append, and keeps what has not."""
    clock = Clock(0)
    store = MemoryStore(monotonic=clock)
    lasting = [Revocation("sid", "i", f"long{n}", Millis(10_000_000)) for n in range(3)]
    await store.append_revocations(lasting[:1], Millis(0))
    for page in range(5):
        await store.append_revocations(
            [Revocation("sid", "i", f"{page}-{n}", Millis(1000)) for n in range(LOG_PAGE)], Millis(0)
        )
    await store.append_revocations(lasting[1:], Millis(0))
    clock.turn(1000)
    sizes = [len(store._log)]
    for _ in range(6):
        await store.append_revocations(lasting[:1], Millis(0))
        sizes.append(len(store._log))
    assert max(before - after for before, after in pairwise(sizes)) <= 2 * LOG_PAGE
    assert {entry.revocation for entry in store._log} == set(lasting)
