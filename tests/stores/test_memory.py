"""The memory store keeps the contract of every store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support.stores import using

from asgi_jwt.stores.base import RevocationLog, SessionStore
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.records import Revocation
from asgi_jwt.testing import Clock, StoreConformance

pytestmark = pytest.mark.anyio


class TestMemoryStore(StoreConformance):
    @asynccontextmanager
    async def open_store(self) -> AsyncIterator[SessionStore]:
        self.clock = Clock(0)
        async with using(MemoryStore(monotonic=self.clock)) as store:
            yield store

    async def pass_time(self, store: RevocationLog, ms: int) -> bool:
        self.clock.turn(ms / 1000)
        return True


async def test_log_is_trimmed_once_a_while() -> None:
    """The log looks for entries that lapsed once a minute, by the monotonic clock, whatever a caller's clock says."""
    clock, left = Clock(0), []
    store = MemoryStore(monotonic=clock)
    for seconds in (0, 59, 1, 0, 60, 60):
        clock.turn(seconds)
        await store.append_revocations([Revocation("sid", "issuer", "s1", 10**6 + 1, 10**6)], 10**15)
        left.append(len((await store.read_revocations()).revocations))
    assert left == [1, 2, 3, 4, 3, 2]
