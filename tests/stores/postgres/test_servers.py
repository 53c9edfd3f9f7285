"""The PostgreSQL store at other servers: Debian's version, behind PgBouncer, and one of several hosts."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
import pytest
from support.outside import program
from support.postgres import Postgres
from support.stores import KEY, NOW, a_session, advance, stored, using, write
from support.valkey import free_port
from support.waiting import PATIENCE, wait_until

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.postgres import PostgresStore
from asgi_jwt.stores.records import Revocation

pytestmark = [pytest.mark.anyio, pytest.mark.outside]

DEBIAN = Path("/usr/lib/postgresql/15/bin")
ENTRY = Revocation("sid", "issuer", "s1", NOW, NOW)


@pytest.fixture
def anyio_backend() -> str:
    """asyncpg runs on asyncio alone."""
    return "asyncio"


@contextmanager
def server_of(programs: Path, *options: str) -> Iterator[Postgres]:
    server = Postgres(programs, *options)
    try:
        yield server
    finally:
        server.remove()


@contextmanager
def pooled(server: Postgres) -> Iterator[str]:
    """The address of a PgBouncer that pools transactions."""
    port = free_port()
    file = server.home / "pgbouncer.ini"
    file.write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 4\n"
    )
    process = subprocess.Popen(
        [program("pgbouncer"), "-q", str(file)], **server.user, cwd=server.home, stderr=subprocess.DEVNULL
    )
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
    finally:
        process.kill()
        process.wait(PATIENCE)


async def until_it_works(store: PostgresStore) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(StoreUnavailable):
                return await write(store, a_session())
            await asyncio.sleep(0.05)


async def use(store: PostgresStore) -> None:
    """Make all kinds of calls, many at once."""
    await write(store, a_session())
    await asyncio.gather(*(store.update(KEY, advance) for _ in range(50)))
    await store.append_revocations([ENTRY], NOW)
    assert (await store.read_revocations()).revocations == [ENTRY]
    assert (await stored(store)).generation == 50
    assert (len(await store.list(KEY.subject, NOW)), await store.sweep(NOW)) == (1, 0)


@pytest.fixture
def debian() -> Iterator[Postgres]:
    """A server of Debian's version."""
    if not DEBIAN.is_dir():
        pytest.skip("PostgreSQL 15 is missing: apt-get install postgresql-15")
    with server_of(DEBIAN) as server:
        yield server


async def test_debian(debian: Postgres) -> None:
    """PostgreSQL 15 takes all statements."""
    async with using(PostgresStore.from_url(debian.url)) as store:
        await use(store)


async def test_pgbouncer(own_postgres: Postgres) -> None:
    """Behind a pool of transactions, calls succeed without prepared statements; else the error and `check` say so."""
    with pooled(own_postgres) as url:
        async with using(PostgresStore.from_url(f"{url}&statement_cache_size=0")) as store:
            await until_it_works(store)
            await use(store)
            assert [fact for fact, _ in await store.cautions()] == [
                "runs with fsync=off: a crash may lose its last writes"
            ]
        async with using(PostgresStore.from_url(url)) as store:
            assert "is reached through a pooler" in [fact for fact, _ in await store.cautions()]


@pytest.fixture
def standby(own_postgres: Postgres) -> Iterator[Postgres]:
    """A standby that follows the test's server."""
    with server_of(own_postgres.programs, "hot_standby=on") as standby:
        standby.stop()
        shutil.rmtree(standby.data)
        standby.run("pg_basebackup", "-h", "127.0.0.1", "-p", str(own_postgres.port), "-U", "postgres", "-R")
        assert standby.start()
        yield standby


async def test_failover(own_postgres: Postgres, standby: Postgres) -> None:
    """Of several hosts the one that takes writes is used, whichever is named first, also after a failover."""
    hosts = f"127.0.0.1:{standby.port},127.0.0.1:{own_postgres.port}"
    url = own_postgres.url.replace(f"127.0.0.1:{own_postgres.port}", hosts)
    async with using(PostgresStore.from_url(url)) as store:
        await use(store)
        ends = await own_postgres.query("SELECT pg_current_wal_lsn()::text")
        caught_up = f"SELECT (pg_last_wal_replay_lsn() >= '{ends}')::integer"
        await anyio.to_thread.run_sync(lambda: wait_until(lambda: standby.ask(caught_up)))
        await anyio.to_thread.run_sync(own_postgres.stop)
        with pytest.raises(StoreUnavailable):
            await store.update(KEY, advance)
        await standby.query("SELECT pg_promote()")
        await until_it_works(store)
        assert await store.update(KEY, advance) == 1
