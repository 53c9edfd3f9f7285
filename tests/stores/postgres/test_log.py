"""The log in PostgreSQL misses no entry: whichever order transactions commit in, and whatever becomes of the server."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import pytest
from support.postgres import Postgres
from support.stores import using
from support.waiting import PATIENCE, wait_until

from asgi_jwt.stores.base import LOG_PAGE, LogPage
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.packed import pack_revocation
from asgi_jwt.stores.postgres import PostgresStore
from asgi_jwt.stores.postgres.log import Snapshot
from asgi_jwt.stores.records import Revocation

pytestmark = pytest.mark.anyio

NOW = Millis(1_700_000_000_000)
HOUR = Millis(3_600_000)
NEXT_XID = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"


@pytest.fixture
def anyio_backend() -> str:
    """asyncpg runs on asyncio alone."""
    return "asyncio"


@pytest.fixture
async def url(postgres: Postgres) -> str:
    """The URL of an empty store, with its tables."""
    url: str = await anyio.to_thread.run_sync(postgres.empty)
    async with using(PostgresStore.from_url(url)) as store:
        await store.read_revocations()
    return url


def entry(value: str, life: Millis = HOUR) -> Revocation:
    return Revocation("sid", "issuer", value, NOW + life, NOW)


class Reader:
    """A process that mirrors the log: what each of its readings brings."""

    def __init__(self, store: PostgresStore) -> None:
        self.store = store
        self.cursor: Any = None
        self.pages: list[LogPage] = []

    async def read(self) -> list[str]:
        self.pages = []
        while not self.pages or self.pages[-1].more:
            page = await self.store.read_revocations(self.cursor)
            self.cursor = page.cursor
            self.pages.append(page)
        return [each.value for page in self.pages for each in page.revocations]


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[tuple[PostgresStore, Reader]]:
    async with using(PostgresStore.from_url(url)) as store:
        yield store, Reader(store)


@asynccontextmanager
async def transaction(url: str, *values: str) -> AsyncIterator[asyncpg.Connection]:
    """Another process's connection in the middle of a transaction that has appended entries."""
    connection = await asyncpg.connect(url, timeout=PATIENCE)
    try:
        await connection.execute("BEGIN")
        for value in values:
            await put(connection, value)
        yield connection
    finally:
        await connection.close(timeout=PATIENCE)


async def put(connection: asyncpg.Connection, value: str, xid: str = "pg_current_xact_id()") -> None:
    await connection.execute(
        f"INSERT INTO asgi_jwt_revocations (xid, until, record) VALUES ({xid}, now() + interval '1 hour', $1)",
        pack_revocation(entry(value)),
    )


async def test_rows_that_commit_late_are_read(url: str) -> None:
    """An entry whose transaction began first and commits last is read, once, by whoever read past it."""
    async with reading(url) as (store, reader), transaction(url, "late") as late:
        await store.append_revocations([entry("early")], NOW)
        assert await reader.read() == ["early"]
        await store.append_revocations([entry("next")], NOW)
        assert await reader.read() == ["next"]
        assert await reader.read() == []
        await late.execute("COMMIT")
        assert await reader.read() == ["late"]
        assert await reader.read() == []
        assert all(page.continues for page in reader.pages)


async def test_rows_that_commit_while_pages_are_read(url: str) -> None:
    """Pages of one reading leave out nothing that commits between them, however many there are."""
    async with reading(url) as (store, reader), transaction(url, "late") as late:
        for page in range(3):
            await store.append_revocations([entry(f"{page}-{n}") for n in range(LOG_PAGE)], NOW)
        first = await store.read_revocations()
        assert (len(first.revocations), first.more, first.continues) == (LOG_PAGE, True, False)
        await late.execute("COMMIT")
        await store.append_revocations([entry("last")], NOW)
        reader.cursor = first.cursor
        seen = await reader.read()
        assert all(page.continues for page in reader.pages)
        seen += await reader.read()
        assert {"late", "last"} <= set(seen)
        assert len(set(seen) | {each.value for each in first.revocations}) == 3 * LOG_PAGE + 2
        assert await reader.read() == []


async def test_long_transactions_of_others(url: str) -> None:
    """Behind a transaction of another program that writes for long, entries are read as ever, each once."""
    async with reading(url) as (store, reader), transaction(url) as foreign:
        await foreign.execute("CREATE TABLE another_programs (n integer)")
        for n in range(3):
            await store.append_revocations([entry(str(n))], NOW)
            assert await reader.read() == [str(n)]
            assert await reader.read() == []


async def test_rolled_back_rows_are_not_read(url: str) -> None:
    """An entry whose transaction is rolled back was never there."""
    async with reading(url) as (store, reader):
        await store.append_revocations([entry("early")], NOW)
        async with transaction(url, "never") as never:
            assert await reader.read() == ["early"]
            await never.execute("ROLLBACK")
        assert await reader.read() == []
        await store.append_revocations([entry("next")], NOW)
        assert await reader.read() == ["next"]


async def test_writers_at_once(url: str) -> None:
    """Of what eight writers append at once, a reader that reads all the while misses nothing."""
    seen: list[str] = []
    async with reading(url) as (store, reader):

        async def write(writer: int) -> None:
            for n in range(40):
                await store.append_revocations([entry(f"{writer}-{n}")], NOW)

        async def read() -> None:
            while True:
                seen.extend(await reader.read())

        async with anyio.create_task_group() as readers:
            readers.start_soon(read)
            async with anyio.create_task_group() as writers:
                for writer in range(8):
                    writers.start_soon(write, writer)
            readers.cancel_scope.cancel()
        seen.extend(await reader.read())
    assert set(seen) == {f"{writer}-{n}" for writer in range(8) for n in range(40)}


@pytest.mark.outside
async def test_transaction_ids_that_come_again(postgres_programs: Path) -> None:
    """A crash takes back transaction ids whose end was not on the disk: entries that get them afterwards are read."""
    server = await anyio.to_thread.run_sync(Postgres, postgres_programs, "wal_writer_delay=10s")
    try:
        async with reading(server.url) as (store, reader):
            await store.append_revocations([entry("first")], NOW)
            async with transaction(server.url) as other:
                for _ in range(20):
                    await other.execute("SELECT pg_current_xact_id(); ROLLBACK; BEGIN")
                before = await other.fetchval(NEXT_XID)
                assert await reader.read() == ["first"]
                server.stop(signal.SIGQUIT)
            assert await anyio.to_thread.run_sync(server.start)
            assert await server.query(NEXT_XID) < before
            async with using(PostgresStore.from_url(server.url)) as reader.store:
                await reader.store.append_revocations([entry("second")], NOW)
                assert await reader.read() == ["second"]
    finally:
        server.remove()


@pytest.mark.parametrize("lost", ["the newest row", "all rows"])
async def test_log_that_lost_its_newest_rows(url: str, lost: str) -> None:
    """Where the place is lost, as by a failover, a reading begins at the last one less the clocks' difference."""
    async with reading(url) as (store, reader), transaction(url) as server:
        await store.append_revocations([entry("old")], NOW)
        await server.execute("UPDATE asgi_jwt_revocations SET appended = appended - interval '1 hour'")
        await server.execute("COMMIT")
        await store.append_revocations([entry("kept")], NOW)
        await store.append_revocations([entry("lost")], NOW)
        assert await reader.read() == ["old", "kept", "lost"]
        which = "WHERE id = (SELECT max(id) FROM asgi_jwt_revocations)" if lost == "the newest row" else ""
        await server.execute(f"DELETE FROM asgi_jwt_revocations {which}")
        assert await reader.read() == (["kept"] if which else [])
        assert not reader.pages[0].continues
        await store.append_revocations([entry("next")], NOW)
        assert (await reader.read())[-1] == "next"
        await store.append_revocations([entry("after")], NOW)
        assert await reader.read() == ["after"]
        assert reader.pages[0].continues


async def test_dump_of_another_server(postgres: Postgres, own_postgres: Postgres, url: str) -> None:
    """A dump restored at a server whose transaction ids are lower is read whole, and what is appended there as well."""
    async with reading(url) as (store, reader):
        await store.append_revocations([entry("one"), entry("two")], NOW)
        assert await reader.read() == ["one", "two"]
    far = "(2^40)::bigint::text::xid8"
    async with transaction(own_postgres.url) as connection, using(PostgresStore.from_url(own_postgres.url)) as here:
        await connection.execute("COMMIT")
        await here.read_revocations()
        for value in ("one", "two"):
            await put(connection, value, far)
        new, moved = Reader(here), Reader(here)
        moved.cursor = reader.cursor._replace(read=Snapshot(2**40 + 1, ()), newest=(2**40, 1))
        assert await new.read() == await moved.read() == ["one", "two"]
        await here.append_revocations([entry("three")], NOW)
        for each in (new, moved):
            assert "three" in await each.read()
            assert await each.read() == []


async def test_long_logs_cost_no_more_than_short_ones(postgres: Postgres, url: str) -> None:
    """A reading of what is new, and a sweep that finds nothing, read few of the thousands of rows."""
    schema = url.rpartition("=")[2]
    scans = f"SELECT sum(idx_scan)::bigint FROM pg_stat_user_indexes WHERE schemaname = '{schema}'"
    pages = f"""SELECT sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read)::bigint
        FROM pg_statio_user_tables WHERE schemaname = '{schema}'"""
    async with transaction(url) as other:
        await other.execute("""INSERT INTO asgi_jwt_sessions
            SELECT 'user', n::text::bytea, 1, false, 20000, 1728000000000, repeat('-', 400)::bytea
            FROM generate_series(1, 20000) n; COMMIT""")
    async with reading(url) as (store, reader):
        for n in range(100):
            await store.append_revocations([entry(f"{n}-{each}") for each in range(50)], NOW)
        assert len(await reader.read()) == 5000
    before = [await postgres.query(count) for count in (scans, pages)]
    async with reading(url) as (store, again):
        again.cursor = reader.cursor
        for _ in range(20):
            assert (await again.read(), await store.sweep(NOW)) == ([], 0)
    # The server counts a connection's readings when it closes.
    await anyio.to_thread.run_sync(lambda: wait_until(lambda: postgres.ask(scans) >= before[0] + 40))
    assert await postgres.query(pages) - before[1] < 20 * 2 * 8
