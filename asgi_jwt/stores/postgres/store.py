"""Sessions and revocations in PostgreSQL (14 and later), for any number of processes.

A session is a row of `asgi_jwt_sessions`, an entry of the log one of `asgi_jwt_revocations`. Every call is one or two
statements that each commit by themselves: no transaction is open while a process works.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from operator import attrgetter
from time import time
from typing import Any, TypeVar

try:
    import asyncpg
except ModuleNotFoundError as missing:
    from asgi_jwt.errors import ConfigurationError as _ConfigurationError

    raise _ConfigurationError("the store postgresql:// needs asyncpg: pip install asyncpg") from missing

from asgi_jwt.errors import ConfigurationError, StoreUnavailable
from asgi_jwt.stores.base import SWEEP_AFTER, SWEEP_LIMIT, Change, LogPage, next_version, outcome
from asgi_jwt.stores.loops import Links, running_loop
from asgi_jwt.stores.millis import Millis, millis
from asgi_jwt.stores.packed import pack, unpack
from asgi_jwt.stores.postgres.link import Connection, Link
from asgi_jwt.stores.postgres.log import APPEND_ROWS, TRIMMED, append, entry_arguments, read_page
from asgi_jwt.stores.postgres.url import PostgresURL, parse_postgres_url
from asgi_jwt.stores.records import CLOCK_SKEW, Revocation, Session, SessionKey, log_value

T = TypeVar("T")

_LAST = 2**63 - 1
_LAST_DAY = 2**31 - 1
_DAY = 86_400_000
_LISTED_AT_ONCE = 200
_ROUNDS_AT_ONCE = 5

_GET = "SELECT record FROM asgi_jwt_sessions WHERE subject = $1 AND sid = $2"
_LIST = f"""SELECT sid, record FROM asgi_jwt_sessions WHERE subject = $1 AND sid > $2 AND NOT ended
ORDER BY sid LIMIT {_LISTED_AT_ONCE}"""
_SWEEP = f"""WITH swept AS (
    DELETE FROM asgi_jwt_sessions WHERE (subject, sid) IN (
        SELECT subject, sid FROM asgi_jwt_sessions WHERE kept_day <= $1 AND kept_until < $2
        ORDER BY kept_day LIMIT {SWEEP_LIMIT} FOR UPDATE SKIP LOCKED
    ) RETURNING 1
) SELECT count(*) FROM swept"""
"""In the order of the index: else PostgreSQL may read all sessions to find none."""

_INSERT = """INSERT INTO asgi_jwt_sessions (subject, sid, version, ended, kept_day, kept_until, record)
VALUES ($1, $2, $3::bigint + 1, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING 1 AS done"""
_REPLACE = """UPDATE asgi_jwt_sessions
SET version = $3::bigint + 1, ended = $4, kept_day = $5, kept_until = $6, record = $7
WHERE subject = $1 AND sid = $2 AND version = $3 RETURNING 1 AS done"""
_DELETE = "DELETE FROM asgi_jwt_sessions WHERE subject = $1 AND sid = $2 AND version = $3 RETURNING 1 AS done"

_CLAIM = """WITH lapsed AS (
    DELETE FROM asgi_jwt_proofs WHERE digest IN (
        SELECT digest FROM asgi_jwt_proofs WHERE until < clock_timestamp() AND digest <> $1
        ORDER BY until LIMIT 2 FOR UPDATE SKIP LOCKED
    )
) INSERT INTO asgi_jwt_proofs AS proof (digest, until)
VALUES ($1, clock_timestamp() + $2 * interval '1 second')
ON CONFLICT (digest) DO UPDATE SET until = EXCLUDED.until WHERE proof.until < clock_timestamp() RETURNING 1"""
"""Each claim deletes more rows than it adds, so that the table shrinks again."""

_FACTS = """SELECT pg_backend_pid() AS backend, array(
    SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off'
) AS off"""


def _with_entries(statement: str, parameters: int) -> str:
    """One statement, and so one transaction, for a record and the entries of its end."""
    entries = APPEND_ROWS.format(lives=f"${parameters + 1}", records=f"${parameters + 2}")
    return f"""WITH {TRIMMED}, swapped AS ({statement}), appended AS ({entries} WHERE EXISTS (SELECT 1 FROM swapped))
SELECT done FROM swapped"""


_ENDING = {each: _with_entries(each, parameters) for each, parameters in ((_INSERT, 7), (_REPLACE, 7), (_DELETE, 3))}


class PostgresStore:
    """A `SessionStore` in PostgreSQL, for any number of processes on any number of machines.

    `pool` is an asyncpg pool of the host's, which closes it itself, or a function that returns the pool once the app
    has started. Calls hold one connection each, and together all but one of the pool's at the most. Given a
    PostgresURL, the store makes a pool of 25 connections at the most, for each event loop. Every call answers within
    10 s, or raises StoreUnavailable. The store makes its two tables at the first use; `asgi-jwt check --sql` prints the
    statements for a role that may not. Nothing is opened before the first use. asyncio alone can use it. A database
    whose `synchronous_commit` is off may lose the last writes in a crash.
    """

    def __init__(self, pool: "asyncpg.Pool | Callable[[], asyncpg.Pool] | PostgresURL") -> None:
        self._source = pool
        self._links = Links(lambda: Link(pool() if callable(pool) else pool))
        self._closed = False

    @classmethod
    def from_url(cls, url: str) -> "PostgresStore":
        """A store with a pool of its own. `parse_postgres_url` says what a URL holds; raises ConfigurationError."""
        return cls(parse_postgres_url(url))

    def __repr__(self) -> str:
        source = self._source
        return f"<PostgresStore {source if isinstance(source, PostgresURL) else type(source).__name__}>"

    async def get(self, key: SessionKey) -> Session | None:
        """See SessionStore."""
        link = await self._link()
        async with link.connection() as connection:
            record = await connection.fetch_value(_GET, *_row_key(key))
        return None if record is None else unpack(key, record)

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        """See SessionStore. Raises TypeError or ValueError for claims that are no JSON."""
        link = await self._link()
        async with link.connection_for(key) as connection:
            conflicts = 0
            while True:
                record = await connection.fetch_value(_GET, *_row_key(key))
                stored = None if record is None else unpack(key, record)
                changed, result, entries = outcome(change(stored))
                if changed is stored or await _swap(connection, key, stored, changed, entries):
                    return result
                conflicts += 1
                if conflicts >= _ROUNDS_AT_ONCE:
                    await asyncio.sleep(secrets.randbelow(10) / 1000)

    async def list(self, subject: str, now: Millis) -> Sequence[Session]:
        """See SessionStore."""
        link = await self._link()
        sessions: list[Session] = []
        async with link.connection() as connection:
            last = b""
            # A page at a time: thousands of records would hold up the event loop.
            while rows := await connection.fetch(_LIST, _subject(subject), last):
                last = rows[-1]["sid"]
                found = (unpack(SessionKey(subject, _text(row["sid"])), row["record"]) for row in rows)
                sessions += (session for session in found if session.is_live(now))
        return sorted(sessions, key=attrgetter("created_at"))  # sessions of one time by their sids, as they were read

    async def sweep(self, now: Millis) -> int:
        """See SessionStore."""
        limit = now - SWEEP_AFTER
        link = await self._link()
        async with link.connection() as connection:
            swept: int = await connection.fetch_value(_SWEEP, _day(limit), limit)
        return swept

    async def append_revocations(self, revocations: Sequence[Revocation], now: Millis) -> None:
        """See SessionStore."""
        link = await self._link()
        async with link.connection() as connection:
            await append(connection, revocations, now)

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        """See SessionStore."""
        link = await self._link()
        async with link.log_connection() as connection:
            return await read_page(connection, cursor)

    async def claim(self, digest: bytes, until: int) -> bool:
        """See ProofStore."""
        link = await self._link()
        life = max(0, until - millis(time())) + CLOCK_SKEW
        async with link.connection(proofs=True) as connection:
            return await connection.fetch_value(_CLAIM, digest, life / 1000) is not None

    async def server_time(self) -> float:
        """The server's clock, in seconds since the epoch."""
        link = await self._link()
        async with link.connection() as connection:
            time: float = await connection.fetch_value("SELECT extract(epoch FROM clock_timestamp())::float8")
        return time

    async def cautions(self) -> Sequence[tuple[str, str]]:
        """What an operator should know of the server, and the mend of each."""
        link = await self._link()
        async with link.connection() as connection:
            facts = await connection.fetch_row(_FACTS)
            pooled = facts["backend"] != connection.backend
        found = [(f"runs with {name}=off: a crash may lose its last writes", f"set {name} on") for name in facts["off"]]
        prepares = isinstance(self._source, PostgresURL) and self._source.statement_cache_size != 0
        if pooled and prepares:
            found.append(
                ("is reached through a pooler", "if it pools transactions, add ?statement_cache_size=0 to the URL")
            )
        return found

    async def aclose(self) -> None:
        """See SessionStore."""
        self._closed = True
        await self._links.close(running_loop())

    async def _link(self) -> Link:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        loop = running_loop()
        if loop is None:
            raise ConfigurationError("the PostgreSQL store needs asyncio, as asyncpg does: under trio use sqlite://")
        return await self._links.get(loop)


async def _swap(
    connection: Connection,
    key: SessionKey,
    stored: Session | None,
    changed: Session | None,
    entries: Sequence[Revocation],
) -> bool:
    """Write `changed` in place of `stored`, with the entries. False: another transaction came first."""
    version = 0 if stored is None else stored.version
    arguments: tuple[Any, ...] = (*_row_key(key), version)
    if changed is None:
        statement = _DELETE
    else:
        kept_until = min(changed.kept_until, _LAST)
        record = pack(next_version(key, stored, changed))
        arguments += (changed.ended_at is not None, _day(kept_until), kept_until, record)
        statement = _INSERT if stored is None else _REPLACE
    if entries:
        statement = _ENDING[statement]
        arguments += entry_arguments(entries, entries[0].time)
    return await connection.fetch_value(statement, *arguments) is not None


def _day(time: int) -> int:
    return min(time // _DAY, _LAST_DAY)


def _subject(subject: str) -> bytes:
    # An index holds no long keys, so a long subject stands as its digest.
    return _blob(log_value(subject))


def _row_key(key: SessionKey) -> tuple[bytes, bytes]:
    return _subject(key.subject), _blob(key.sid)


def _blob(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogatepass")
