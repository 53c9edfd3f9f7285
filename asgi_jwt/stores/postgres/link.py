"""What the PostgreSQL store keeps for one event loop: a pool of connections, and how each call uses it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from asgi_jwt.stores.loops import Deadline
from asgi_jwt.stores.postgres.faults import FAILURES, explained
from asgi_jwt.stores.postgres.schema import make_tables
from asgi_jwt.stores.postgres.url import PostgresURL

MAX_CONNECTIONS = 25
LIMIT = 9.0
"""Seconds for a call. With the release of its connection it answers within 10 s."""

_RELEASE = 1.0
"""Seconds for the server to acknowledge that a statement was cancelled; then its connection is closed."""


class Link:
    """The pool of one event loop: of the store's own, made when the first call needs it, or the host's.

    All connections but one are for sessions; the log's reads wait for none of them.
    """

    def __init__(self, source: "PostgresURL | asyncpg.Pool") -> None:
        self._own = isinstance(source, PostgresURL)
        self._pool = _make_pool(source) if isinstance(source, PostgresURL) else source
        self._sessions = asyncio.Semaphore(max(1, self._pool.get_max_size() - 1))
        self._made = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection for a call that reads or writes sessions, or appends. Raises StoreUnavailable."""
        async with self._explaining(), Deadline(LIMIT), self._sessions, self._borrowed() as connection:
            yield connection

    @asynccontextmanager
    async def log_connection(self) -> AsyncIterator[Any]:
        """A connection for a read of the log. Raises StoreUnavailable."""
        async with self._explaining(), Deadline(LIMIT), self._borrowed() as connection:
            yield connection

    async def aclose(self) -> None:
        """Close the connections of a pool that the store has made, those in use too."""
        if self._own:
            (await self._pool).terminate()

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Any]:
        pool = await self._pool  # an asyncpg pool is set up where it is first awaited
        connection = await pool.acquire()
        try:
            if not self._made:
                await make_tables(connection)
                self._made = True
            yield connection
        finally:
            # The server is asked to cancel the statement of a call that timed out, so that it waits for no lock.
            with suppress(*FAILURES):
                await pool.release(connection, timeout=_RELEASE)

    @asynccontextmanager
    async def _explaining(self) -> AsyncIterator[None]:
        try:
            yield
        except FAILURES as error:
            if isinstance(error, asyncpg.UndefinedTableError):
                self._made = False
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                # The server has become a standby: the next calls connect anew, and so find the primary.
                await self._pool.expire_connections()
            raise explained(error) from None


def _make_pool(url: PostgresURL) -> Any:
    size = url.statement_cache_size
    options = {} if size is None else {"statement_cache_size": size}
    return asyncpg.create_pool(url.dsn, min_size=0, max_size=MAX_CONNECTIONS, reset=_keep, **options)


async def _keep(connection: Any) -> None:
    """Leave a connection as it is between two calls, for no statement of the store changes its state."""
