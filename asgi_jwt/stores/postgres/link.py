"""The connections of the PostgreSQL store for one event loop, and the bounds of a call."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import asyncpg
from anyio import CancelScope

from asgi_jwt.stores.loops import Deadline
from asgi_jwt.stores.postgres.faults import CONFLICTS, FAILURES, explained
from asgi_jwt.stores.postgres.schema import make_proofs_table, make_tables
from asgi_jwt.stores.postgres.url import PostgresURL
from asgi_jwt.stores.records import SessionKey

T = TypeVar("T")

MAX_CONNECTIONS = 25
LIMIT = 9.0
"""Seconds for a call. With the release of its connection a call answers within 10 s."""

_RELEASE = 1.0
"""Seconds for the server to confirm that it cancelled a statement. After that the connection is closed."""

_Gate = AbstractAsyncContextManager[None]
_OPEN: _Gate = nullcontext()


class Link:
    """The pool of one event loop: the host's, or one of the store's own.

    Calls for sessions share all connections but one, so a read of the log waits for none of them.
    """

    def __init__(self, source: "PostgresURL | asyncpg.Pool") -> None:
        self._own = isinstance(source, PostgresURL)
        self._pool = _make_pool(source) if isinstance(source, PostgresURL) else source
        self._sessions = asyncio.Semaphore(max(1, self._pool.get_max_size() - 1))
        self._locks: WeakValueDictionary[SessionKey, asyncio.Lock] = WeakValueDictionary()
        self._has_tables = self._has_proofs = False

    def connection_for(self, key: SessionKey) -> AbstractAsyncContextManager["Connection"]:
        """A connection for a call that changes the session `key`. Raises StoreUnavailable.

        One caller at a time in this event loop: callers that race for a record would lose to each other alone.
        """
        return self._borrowed(self._locks.setdefault(key, asyncio.Lock()), self._sessions)

    def connection(self, *, proofs: bool = False) -> AbstractAsyncContextManager["Connection"]:
        """A connection for a call that reads or writes sessions or `proofs`, or appends to the log.

        Raises StoreUnavailable.
        """
        return self._borrowed(_OPEN, self._sessions, proofs=proofs)

    def log_connection(self) -> AbstractAsyncContextManager["Connection"]:
        """A connection for a read of the log. Raises StoreUnavailable."""
        return self._borrowed(_OPEN, _OPEN)

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """The answer. Asks again after a conflict, and raises StoreUnavailable for whatever else the driver raises."""
        while True:
            try:
                return await question()
            except CONFLICTS:
                await asyncio.sleep(secrets.randbelow(10) / 1000)
            except FAILURES as error:
                await self._learn_from(error)
                raise explained(error) from None

    async def _learn_from(self, error: Exception) -> None:
        if isinstance(error, asyncpg.UndefinedTableError):
            self._has_tables = self._has_proofs = False
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            # The server has become a standby. The next calls connect anew, and find the primary.
            await self._pool.expire_connections()

    async def aclose(self) -> None:
        """Close the connections of a pool that the store has made, those in use too."""
        if self._own:
            (await self._pool).terminate()

    @asynccontextmanager
    async def _borrowed(self, first: _Gate, second: _Gate, *, proofs: bool = False) -> AsyncIterator["Connection"]:
        async with Deadline(LIMIT), first, second:
            connection = await self._acquire()
            try:
                if not self._has_tables:
                    await self.ask(lambda: make_tables(connection))
                    self._has_tables = True
                if proofs and not self._has_proofs:
                    await self.ask(lambda: make_proofs_table(connection))
                    self._has_proofs = True
                yield Connection(connection, self)
            finally:
                # If the call timed out, the server is asked to cancel its statement, so that it waits for no lock.
                # A cancelled call waits for that too, because `aclose` must not end a connection on its way back.
                with suppress(*FAILURES), CancelScope(shield=True):
                    await self._pool.release(connection, timeout=_RELEASE)

    async def _acquire(self) -> Any:
        if not self._has_tables:
            await self.ask(lambda: self._pool)  # asyncpg sets up a pool where it is first awaited
        return await self.ask(self._pool.acquire)


class Connection:
    """A connection of asyncpg that raises StoreUnavailable. Each statement commits by itself."""

    def __init__(self, connection: Any, link: Link) -> None:
        self._connection = connection
        self._link = link

    @property
    def backend(self) -> int:
        """The process of the server at the other end, as it named itself. A pooler names another."""
        pid: int = self._connection.get_server_pid()
        return pid

    async def execute(self, statement: str, *arguments: Any) -> None:
        await self._link.ask(lambda: self._connection.execute(statement, *arguments))

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        return await self._link.ask(lambda: self._connection.fetch(statement, *arguments))

    async def fetch_row(self, statement: str, *arguments: Any) -> Any:
        return await self._link.ask(lambda: self._connection.fetchrow(statement, *arguments))

    async def fetch_value(self, statement: str, *arguments: Any) -> Any:
        return await self._link.ask(lambda: self._connection.fetchval(statement, *arguments))


def _make_pool(url: PostgresURL) -> Any:
    size = url.statement_cache_size
    options = {} if size is None else {"statement_cache_size": size}
    return asyncpg.create_pool(url.dsn, min_size=0, max_size=MAX_CONNECTIONS, reset=_keep, **options)


async def _keep(connection: Any) -> None:
    """Leave a connection as it is between two calls, because no statement of the store changes its state."""
