"""What the cache of verified tokens weighs, in a process of its own, by tracemalloc.

The line `{"fixture": {...}, "cache_size": n}` is answered with `{"full": ..., "after a flood": ...}`: bytes for
each of n tokens, and the same after three times as many more have pushed them out.
"""

import asyncio
import gc
import json
import sys
import tracemalloc

from benchmarks.fixture import Fixture
from benchmarks.verify import auth


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


async def work() -> None:
    """Answer one line."""
    setup = json.loads(sys.stdin.readline())
    print(json.dumps(await weigh(Fixture(**setup["fixture"]), cache_size=setup["cache_size"])), flush=True)


if __name__ == "__main__":
    asyncio.run(work())
