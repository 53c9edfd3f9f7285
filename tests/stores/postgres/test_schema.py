"""The tables of the PostgreSQL store: who makes them, and what becomes of a store without them."""

from asyncio import gather
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import anyio
import asyncpg
import pytest
from support.postgres import Postgres
from support.stores import KEY, NOW, a_session, stored, using, write
from support.waiting import PATIENCE

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.postgres import PostgresStore
from asgi_jwt.stores.postgres.schema import SQL

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """asyncpg runs on asyncio alone."""
    return "asyncio"


@pytest.fixture
async def url(postgres: Postgres) -> str:
    """The URL of a schema without tables."""
    return await anyio.to_thread.run_sync(postgres.empty)


@pytest.fixture
async def owner(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the schema's owner."""
    connection = await asyncpg.connect(url, timeout=PATIENCE)
    yield connection
    await connection.close(timeout=PATIENCE)


@pytest.fixture
async def role(url: str, owner: asyncpg.Connection) -> str:
    """A role that may use the schema, and no more; it has the schema's name."""
    schema = url.rpartition("=")[2]
    await owner.execute(f"CREATE ROLE {schema} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {schema}")
    return schema


async def test_processes_that_make_the_tables_at_once(url: str) -> None:
    """Of processes that meet an empty schema together each finds its tables."""
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(using(PostgresStore.from_url(url))) for _ in range(8)]
        await gather(*(write(store, a_session(f"s{n}")) for n, store in enumerate(stores)))
        assert len(await stores[0].list(KEY.subject, NOW)) == 8


async def test_role_that_may_not_create_tables(url: str, owner: asyncpg.Connection, role: str) -> None:
    """The error says how to get the SQL of the tables; with them and the rights it names, the store works."""
    async with using(PostgresStore.from_url(url.replace("postgres@", f"{role}@"))) as store:
        with pytest.raises(StoreUnavailable, match=r"42501.*grant its role SELECT.*`asgi-jwt check --sql`"):
            await store.get(KEY)
        await owner.execute(SQL)
        with pytest.raises(StoreUnavailable, match="42501"):
            await store.get(KEY)
        tables = "asgi_jwt_sessions, asgi_jwt_revocations"
        await owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role}")
        await write(store, a_session())
        await store.append_revocations([], NOW)
        assert (await store.sweep(NOW), (await store.read_revocations()).more) == (0, False)
        await owner.execute(f"REVOKE UPDATE ON {tables} FROM {role}")
        with pytest.raises(StoreUnavailable, match="grant its role"):
            await store.update(KEY, lambda session: (session and session.marked(NOW), None))
        await owner.execute(f"GRANT UPDATE ON {tables} TO {role}")
        assert await stored(store)


async def test_tables_that_were_dropped(url: str, owner: asyncpg.Connection) -> None:
    """One call fails, and the next makes the tables again."""
    async with using(PostgresStore.from_url(url)) as store:
        await write(store, a_session())
        await owner.execute("DROP TABLE asgi_jwt_sessions, asgi_jwt_revocations")
        with pytest.raises(StoreUnavailable, match=r"42P01.*makes it again"):
            await store.get(KEY)
        assert await store.get(KEY) is None
        await write(store, a_session())


async def test_tables_of_a_newer_release(url: str, owner: asyncpg.Connection) -> None:
    """Tables with the mark of another release are left alone."""
    await owner.execute(SQL)
    await owner.execute("COMMENT ON TABLE asgi_jwt_sessions IS 'asgi_jwt schema 2'")
    async with using(PostgresStore.from_url(url)) as store:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="is marked 'asgi_jwt schema 2'"):
                await store.get(KEY)
