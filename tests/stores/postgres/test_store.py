"""The PostgreSQL store keeps the contract of every store, and what it promises of connections and of its tables."""

from contextlib import AbstractAsyncContextManager

import pytest
from support.postgres import Postgres
from support.stores import using

from asgi_jwt.stores.base import RevocationLog, SessionStore
from asgi_jwt.stores.postgres import PostgresStore
from asgi_jwt.testing import StoreConformance

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """asyncpg runs on asyncio alone."""
    return "asyncio"


class TestPostgresStore(StoreConformance):
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
