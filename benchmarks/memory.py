"""What the cache of verified tokens weighs, by tracemalloc."""

import gc
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.fixture import Fixture
from benchmarks.verify import auth
from benchmarks.work import Work


async def weigh(fixture: Fixture, *, cache_size: int) -> dict[str, float]:
    """Fill the cache, then flood it with valid tokens that it has not seen."""
    verifier = auth(fixture, cache_size=cache_size).verifier
    await verifier.verify(fixture.mint().encode())
    tracemalloc.start()
    start = _traced()
    weights: dict[str, float] = {}
    for state, tokens in (("full", cache_size), ("after a flood", 3 * cache_size)):
        for _ in range(tokens):
            await verifier.verify(fixture.mint().encode())
        weights[state] = (_traced() - start) / cache_size
    tracemalloc.stop()
    return weights


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@asynccontextmanager
async def weighing(fixture: dict[str, Any], cache_size: int) -> AsyncIterator[Work]:
    """Introduced by `{"full": ..., "after a flood": ...}`: bytes for each of so many tokens, and the same after three
    times as many more have pushed them out.
    """
    yield Work(await weigh(Fixture(**fixture), cache_size=cache_size))
