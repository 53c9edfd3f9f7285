"""The PostgreSQL store keeps the contract of every store, and what it promises of connections and of its tables."""

import asyncio
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import anyio
import pytest
from support.postgres import Postgres
from support.stores import KEY, a_session, advance, stored, using, write
from support.waiting import PATIENCE

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.stores.base import RevocationLog, SessionStore
from asgi_jwt.stores.packed import pack
from asgi_jwt.stores.postgres import PostgresStore
from asgi_jwt.stores.records import Session
from asgi_jwt.stores.urls import open_store
from asgi_jwt.testing import ProofConformance

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """asyncpg runs on asyncio alone."""
    return "asyncio"


class TestPostgresStore(ProofConformance):
    @pytest.fixture(autouse=True)
    def at(self, postgres: Postgres) -> None:
        self.url = postgres.empty()
        self.server = postgres

    def open_store(self) -> AbstractAsyncContextManager[SessionStore]:
        return using(PostgresStore.from_url(self.url))

    async def pass_time(self, store: RevocationLog, ms: int) -> bool:
        schema = self.url.rpartition("=")[2]
        await self.server.query(
            f"UPDATE {schema}.asgi_jwt_revocations SET until = until - $1::bigint * interval '1 ms'", ms
        )
        return True


async def test_lapsed_proofs_are_removed(postgres: Postgres) -> None:
    """A proof may be claimed again a minute after it is accepted no more, and each claim removes two such rows."""
    url = await anyio.to_thread.run_sync(postgres.empty)
    table = f"{url.rpartition('=')[2]}.asgi_jwt_proofs"
    async with using(PostgresStore.from_url(url)) as store:
        for n in range(4):
            assert await store.claim(bytes([n]), 0)
        assert not await store.claim(b"\0", 0)
        await postgres.query(f"UPDATE {table} SET until = until - interval '61 s'")
        assert await store.claim(b"\0", 0)
        assert await store.claim(b"new", 0)
        left = await postgres.query(f"SELECT array_agg(digest ORDER BY digest) FROM {table}")
    assert left == [b"\0", b"new"]


@pytest.fixture
async def store(postgres: Postgres) -> AsyncIterator[PostgresStore]:
    """A store with the session `KEY`."""
    async with using(PostgresStore.from_url(await anyio.to_thread.run_sync(postgres.empty))) as store:
        await write(store, a_session())
        yield store


async def test_two_event_loops(store: PostgresStore) -> None:
    """Threads with an event loop each change one session through one store, and lose no change."""

    def work() -> None:
        async def changes() -> None:
            await asyncio.gather(*(store.update(KEY, advance) for _ in range(20)))

        asyncio.run(changes())

    await asyncio.gather(*(asyncio.to_thread(work) for _ in range(3)))
    assert (await stored(store)).generation == 60


async def test_change_that_fails(store: PostgresStore) -> None:
    """An error of the change reaches its caller as it is, a TimeoutError too, and writes nothing."""

    def fail(_: object) -> Any:
        raise TimeoutError("of the change")

    with pytest.raises(TimeoutError, match="of the change"):
        await store.update(KEY, fail)
    assert await store.update(KEY, advance) == 1


def test_trio() -> None:
    """Under trio the error names the reason and another store."""
    store = PostgresStore.from_url("postgresql://db")
    with pytest.raises(ConfigurationError, match=r"needs asyncio.*sqlite://"):
        anyio.run(store.get, KEY, backend="trio")
    anyio.run(store.aclose, backend="trio")


def test_without_asyncpg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where asyncpg is missing, the URL says how to install it."""
    for name in ("asgi_jwt.stores.postgres", "asgi_jwt.stores.postgres.store"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigurationError, match="pip install asyncpg"):
        open_store("postgresql://db")


async def test_what_an_operator_should_know(store: PostgresStore) -> None:
    """The store tells of settings that lose writes in a crash, and has the server's clock."""
    assert await store.cautions() == [("runs with fsync=off: a crash may lose its last writes", "set fsync on")]
    assert await store.server_time() > 1_700_000_000


async def test_record_that_others_change_all_the_time(postgres: Postgres) -> None:
    """An update to whose record another process writes again and again is made in the end, on what was written."""
    url = await anyio.to_thread.run_sync(postgres.empty)
    rewrite = f"UPDATE {url.rpartition('=')[2]}.asgi_jwt_sessions SET version = $1, record = $2"
    rounds = 0

    def change(session: Session | None) -> tuple[Session, int]:
        nonlocal rounds
        assert session is not None
        rounds += 1
        if rounds < 8:
            later = replace(session, version=session.version + 1)
            with ThreadPoolExecutor(1) as other:
                other.submit(postgres.ask, rewrite, later.version, pack(later)).result(PATIENCE)
        return advance(session)

    async with using(PostgresStore.from_url(url)) as store:
        await write(store, a_session())
        assert await store.update(KEY, change) == 1
        assert (rounds, (await stored(store)).generation) == (8, 1)


async def test_pooler(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another server process answers than the one that greeted, the operator hears of poolers."""
    monkeypatch.setattr("asgi_jwt.stores.postgres.link.Connection.backend", 0)
    assert ("is reached through a pooler", "if it pools transactions, add ?statement_cache_size=0 to the URL") in (
        await store.cautions()
    )
