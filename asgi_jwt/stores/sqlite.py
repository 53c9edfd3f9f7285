"""Sessions in one SQLite file, for any number of processes on one machine."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic, sleep
from typing import Any, TypeVar

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.base import LOG_PAGE, SWEEP_AFTER, SWEEP_LIMIT, Change, LogPage, next_version
from asgi_jwt.stores.batches import BatchThread, Call
from asgi_jwt.stores.files import StoreFile
from asgi_jwt.stores.packed import pack, pack_revocation, unpack, unpack_revocations
from asgi_jwt.stores.records import Revocation, Session, SessionKey

T = TypeVar("T")
_Call = Call[sqlite3.Connection, Any]
_Thread = BatchThread[sqlite3.Connection]

APPLICATION_ID = 0x614A5754  # "aJWT": SQLite's way to tell whose file it is

MIGRATIONS = (
    (
        f"PRAGMA application_id = {APPLICATION_ID}",
        # UTF-8 as blobs: a string of JSON may hold what SQLite's text can't.
        """CREATE TABLE sessions (
            subject BLOB NOT NULL,
            sid BLOB NOT NULL,
            kept_until INTEGER NOT NULL,
            ended INTEGER NOT NULL,
            record BLOB NOT NULL,
            PRIMARY KEY (subject, sid)
        )""",
        "CREATE INDEX sessions_by_end ON sessions (kept_until)",
    ),
    (
        "CREATE TABLE revocations (id INTEGER PRIMARY KEY, until INTEGER NOT NULL, record BLOB NOT NULL)",
        "CREATE INDEX revocations_by_end ON revocations (until)",
    ),
)
"""The statements that lead from each version of the schema to the next; `PRAGMA user_version` counts them."""

LAST = 2**63 - 1
"""The largest integer that SQLite holds."""

_FAULTS = {
    sqlite3.SQLITE_BUSY: "is locked by another connection",
    sqlite3.SQLITE_FULL: "can't grow: make room on its disk",
    sqlite3.SQLITE_READONLY: "can't be written: give this process the right to write it and its directory",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup",
    sqlite3.SQLITE_NOTADB: "is no SQLite database: restore it from a backup, or name another file",
    sqlite3.SQLITE_CANTOPEN: "can't be opened: give this process the right to write it and its directory",
    sqlite3.SQLITE_IOERR: "can't be read or written: look at its disk",
    # Pages that its size or its -shm promises are not there: no disk's fault, but another file's -wal and -shm.
    sqlite3.SQLITE_IOERR_SHORT_READ: "is not the file that the -wal and -shm beside it are of, or was cut short: put "
    "the right one back, or stop all processes that use it, remove its -wal and -shm, and restart them",
}


class SQLiteStore:
    """A `SessionStore` in the file at `path`, made with mode 600 at the first use if it isn't there.

    Writes go through one thread, which takes all that has queued up into one transaction, synced to disk before any
    caller is answered; reads go through another, and wait for no write. `timeout`, in seconds, is how long a
    transaction waits for those of other processes before its callers get StoreUnavailable. `path` is absolute.
    `commits` counts the transactions. Raises ConfigurationError when no file can be at `path`.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 5.0) -> None:
        self.commits = 0
        database = _Database(path, timeout)
        self.path = database.path
        self._writer: _Thread = BatchThread(f"the writer of {database.path}", lambda: _Writer(database, self._count))
        self._reader: _Thread = BatchThread(f"the reader of {database.path}", lambda: _Reader(database))

    async def get(self, key: SessionKey) -> Session | None:
        return await self._reader.call(partial(_get, key))

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        return await self._writer.call(partial(_update, key, change))

    async def list(self, subject: str, now: int) -> tuple[Session, ...]:
        sessions = await self._reader.call(partial(_list, subject))
        live = (session for session in sessions if session.is_live(now))
        return tuple(sorted(live, key=lambda session: (session.created_at, session.sid)))

    async def sweep(self, now: int) -> int:
        return await self._writer.call(partial(_sweep, now))

    async def append_revocations(self, revocations: Sequence[Revocation], now: int) -> None:
        await self._writer.call(partial(_append, revocations, now))

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        return await self._reader.call(partial(_page, cursor))

    async def aclose(self) -> None:
        await self._reader.aclose()
        await self._writer.aclose()

    def _count(self) -> None:
        self.commits += 1


# What the threads do with their connections


def _get(key: SessionKey, connection: sqlite3.Connection) -> Session | None:
    row = connection.execute("SELECT record FROM sessions WHERE subject = ? AND sid = ?", _row_key(key)).fetchone()
    return None if row is None else unpack(key, row[0])


def _update(key: SessionKey, change: Change[T], connection: sqlite3.Connection) -> T:
    row_key = _row_key(key)
    row = connection.execute("SELECT record FROM sessions WHERE subject = ? AND sid = ?", row_key).fetchone()
    try:
        stored = None if row is None else unpack(key, row[0])
        changed, result = change(stored)
        if changed is stored:
            return result
        record = None if changed is None else pack(next_version(key, stored, changed))
    except BaseException as error:
        raise _ChangeError from error
    if changed is None:
        connection.execute("DELETE FROM sessions WHERE subject = ? AND sid = ?", row_key)
    else:
        connection.execute(
            """INSERT INTO sessions (subject, sid, kept_until, ended, record) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (subject, sid) DO UPDATE
            SET kept_until = excluded.kept_until, ended = excluded.ended, record = excluded.record""",
            (*row_key, min(changed.kept_until, LAST), changed.ended_at is not None, record),
        )
    return result


def _list(subject: str, connection: sqlite3.Connection) -> list[Session]:
    # Tombstones are many and stay long: they are not even read.
    live = "SELECT sid, record FROM sessions WHERE subject = ? AND NOT ended"
    rows = connection.execute(live, (_blob(subject),)).fetchall()
    return [unpack(SessionKey(subject, sid.decode("utf-8", "surrogatepass")), record) for sid, record in rows]


def _sweep(now: int, connection: sqlite3.Connection) -> int:
    return connection.execute(
        "DELETE FROM sessions WHERE rowid IN (SELECT rowid FROM sessions WHERE kept_until < ? LIMIT ?)",
        (now - SWEEP_AFTER, SWEEP_LIMIT),
    ).rowcount


def _append(revocations: Sequence[Revocation], now: int, connection: sqlite3.Connection) -> None:
    connection.executemany(
        "INSERT INTO revocations (until, record) VALUES (?, ?)",
        [(min(revocation.until, LAST), pack_revocation(revocation)) for revocation in revocations],
    )
    connection.execute(
        "DELETE FROM revocations WHERE id IN (SELECT id FROM revocations WHERE until < ? LIMIT ?)",
        (now - SWEEP_AFTER, SWEEP_LIMIT),
    )


def _page(cursor: tuple[int, bytes] | None, connection: sqlite3.Connection) -> LogPage:
    """A cursor is the last row that was read. With that row still there the log goes on from it, as ids grow."""
    log = "SELECT id, record FROM revocations WHERE id >= ? ORDER BY id LIMIT ?"
    rows = connection.execute(log, (cursor[0], LOG_PAGE + 2)).fetchall() if cursor else []
    continues = rows[:1] == [cursor]
    rows = rows[1:] if continues else connection.execute(log, (0, LOG_PAGE + 1)).fetchall()
    page = rows[:LOG_PAGE]
    last = page[-1] if page else cursor if continues else None
    return LogPage(unpack_revocations([record for _, record in page]), last, continues, len(rows) > LOG_PAGE)


def _blob(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _row_key(key: SessionKey) -> tuple[bytes, bytes]:
    return _blob(key.subject), _blob(key.sid)


# The file and its connections


class _Database(StoreFile):
    """The file as SQLite sees it: whose it is, of which version, and connections to it."""

    def __init__(self, path: str | os.PathLike[str], timeout: float) -> None:
        super().__init__(path)
        self._timeout = timeout

    def open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw", uri=True, timeout=self._timeout, isolation_level=None
        )
        try:
            self._require_ours(connection)
            self._enter_wal(connection)
            connection.execute("PRAGMA synchronous = FULL")  # NORMAL can lose the last rotations with the power
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def begin(self, connection: sqlite3.Connection) -> int:
        """Begin a transaction that writes, unless a newer process has changed the schema; which version it has."""
        connection.execute("BEGIN IMMEDIATE")
        return self._version(connection)

    def _version(self, connection: sqlite3.Connection) -> int:
        version = _pragma(connection, "user_version")
        if version > len(MIGRATIONS):
            raise StoreUnavailable(
                f"{self.path} was written by a newer asgi_jwt (schema {version}, this one knows {len(MIGRATIONS)}): "
                "upgrade asgi_jwt"
            )
        return version

    def _require_ours(self, connection: sqlite3.Connection) -> None:
        used = self._version(connection) or connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        if used and _pragma(connection, "application_id") != APPLICATION_ID:
            raise StoreUnavailable(f"{self.path} is another program's database: give the store a file of its own")

    def _enter_wal(self, connection: sqlite3.Connection) -> None:
        """The first of all processes changes the mode. SQLite doesn't wait for a writer then, so this does."""
        deadline = monotonic() + self._timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() >= deadline:
                    raise
                sleep(0.01)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if self._version(connection) < len(MIGRATIONS):
            for step in MIGRATIONS[self.begin(connection) :]:  # another process may have been quicker
                for statement in step:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


class _Connection:
    """A connection of one thread: opened when needed, and anew after a fault or when the file was replaced."""

    def __init__(self, database: _Database) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def perform(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._open())
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreUnavailable(self._explain(error)) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection; what it had begun is undone."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._identity != self._database.identity():
            self.close()
        if self._connection is None:
            self._database.make()
            self._identity = self._database.identity()
            self._connection = self._database.open()
        return self._connection

    def _explain(self, error: sqlite3.Error | OSError) -> str:
        if isinstance(error, FileNotFoundError):
            return f"{self._database.path} is gone: put it back, or restart to begin with an empty one"
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CANTOPEN)
        fault = _FAULTS.get(code) or _FAULTS.get(code & 0xFF, "failed")  # the primary one
        return f"{self._database.path} {fault} ({error})"


class _Reader(_Connection):
    """Answers each call by itself, and all of them together, so that what they write next shares a transaction."""

    def run(self, calls: Sequence[_Call]) -> None:
        for answer in [self._answer(call) for call in calls]:
            answer()

    def _answer(self, call: _Call) -> Callable[[], None]:
        try:
            return partial(call.future.set_result, self.perform(call.work))
        except StoreUnavailable as fault:
            return partial(call.future.set_exception, fault)


class _Writer(_Connection):
    """Makes its calls one transaction, and tells their callers once it is on disk."""

    def __init__(self, database: _Database, committed: Callable[[], None]) -> None:
        super().__init__(database)
        self._committed = committed

    def run(self, calls: Sequence[_Call]) -> None:
        try:
            answers = self.perform(partial(self._transact, calls))
        except StoreUnavailable as fault:
            for call in calls:
                call.future.set_exception(_again(fault))
        else:
            self._committed()
            for answer in answers:
                answer()

    def _transact(self, calls: Sequence[_Call], connection: sqlite3.Connection) -> list[Callable[[], None]]:
        self._database.begin(connection)
        answers = [_attempt(call, connection) for call in calls]
        connection.execute("COMMIT")
        return answers


class _ChangeError(Exception):
    """A change failed by itself, before anything of it was written: its cause is its caller's alone."""


def _attempt(call: _Call, connection: sqlite3.Connection) -> Callable[[], None]:
    try:
        return partial(call.future.set_result, call.work(connection))
    except _ChangeError as error:
        return partial(call.future.set_exception, error.__cause__)


def _again(fault: StoreUnavailable) -> StoreUnavailable:
    """An exception of its own for each caller: they raise it in tasks of their own."""
    copy = StoreUnavailable(fault.detail)
    copy.__cause__ = fault.__cause__
    return copy
