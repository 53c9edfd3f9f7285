"""Connections of SQLite to the store's file: opened when needed, mended after a fault, and used a batch at a time."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic, sleep
from typing import Any, TypeVar

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.sqlite.file import StoreFile
from asgi_jwt.stores.sqlite.thread import Call

T = TypeVar("T")
_Call = Call[sqlite3.Connection, Any]

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


_MOMENT = 0.02
"""Seconds for which no caller is let wait on alone: those who came together are told together."""


class ChangeError(Exception):
    """A change failed by itself, before anything of it was written: its cause is its caller's alone."""


class Database(StoreFile):
    """The file as SQLite sees it: whose it is, of which version, and connections to it."""

    def __init__(self, path: str | os.PathLike[str], timeout: float) -> None:
        super().__init__(path)
        self.timeout = timeout
        self._checked: tuple[int, int] | None = None

    def open(self, patience: float) -> sqlite3.Connection:
        """A connection that waits `patience` seconds for locks of others."""
        connection = sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True, timeout=patience, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")  # NORMAL can lose the last rotations with the power
            self._check(connection, patience)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection, patience: float) -> None:
        """Once for each file: a connection that is open goes on reading when the schema changes, and so does another
        of this process. Transactions that write look at its version each.
        """
        identity = self.identity()
        if identity != self._checked:
            self._require_ours(connection)
            self._enter_wal(connection, patience)
            self._migrate(connection)
            self._checked = identity

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

    def _enter_wal(self, connection: sqlite3.Connection, patience: float) -> None:
        """The first of all processes changes the mode. SQLite doesn't wait for a writer then, so this does."""
        deadline = monotonic() + patience
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


class Connection:
    """A connection of one thread: opened when needed, and anew after a fault or when the file was replaced."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def perform(self, work: Callable[[sqlite3.Connection], T], patience: float | None = None) -> T:
        """Do the work, and wait `patience` seconds for locks of others; None: the store's `timeout`."""
        try:
            return work(self._open(self._database.timeout if patience is None else patience))
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

    def _open(self, patience: float) -> sqlite3.Connection:
        if self._connection is not None and self._identity != self._database.identity():
            self.close()
        if self._connection is None:
            self._database.make()
            self._identity = self._database.identity()
            self._connection = self._database.open(patience)
        self._connection.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
        return self._connection

    def _explain(self, error: sqlite3.Error | OSError) -> str:
        if isinstance(error, FileNotFoundError):
            return f"{self._database.path} is gone: put it back, or restart to begin with an empty one"
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CANTOPEN)
        fault = _FAULTS.get(code) or _FAULTS.get(code & 0xFF, "failed")  # the primary one
        return f"{self._database.path} {fault} ({error})"


class Reader(Connection):
    """Answers each call by itself, and all of them together, so that what they write next shares a transaction."""

    def run(self, calls: Sequence[_Call]) -> None:
        for answer in [self._answer(call) for call in calls]:
            answer()

    def _answer(self, call: _Call) -> Callable[[], None]:
        try:
            return partial(call.future.set_result, self.perform(call.work))
        except StoreUnavailable as fault:
            return partial(call.future.set_exception, fault)


class Writer(Connection):
    """Makes its calls one transaction, and tells their callers once it is on disk."""

    def __init__(self, database: Database, committed: Callable[[], None]) -> None:
        super().__init__(database)
        self._committed = committed

    def run(self, calls: Sequence[_Call]) -> None:
        while calls:
            try:
                answers = self.perform(partial(self._transact, calls), max(0.0, self._patience(calls[0])))
            except StoreUnavailable as fault:
                calls = self._tell(calls, fault)
            else:
                self._committed()
                for answer in answers:
                    answer()
                return

    def _patience(self, call: _Call) -> float:
        """For how many seconds more its caller waits for locks of others."""
        return call.asked_at + self._database.timeout - monotonic()

    def _tell(self, calls: Sequence[_Call], fault: StoreUnavailable) -> Sequence[_Call]:
        """Tell the callers of the fault. Those who came later wait on where the file is locked."""
        locked = getattr(fault.__cause__, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
        waiting = [call for call in calls if locked and self._patience(call) > _MOMENT]
        for call in calls[: len(calls) - len(waiting)]:
            call.future.set_exception(_again(fault))
        return waiting

    def _transact(self, calls: Sequence[_Call], connection: sqlite3.Connection) -> list[Callable[[], None]]:
        self._database.begin(connection)
        answers = [_attempt(call, connection) for call in calls]
        connection.execute("COMMIT")
        return answers


def _attempt(call: _Call, connection: sqlite3.Connection) -> Callable[[], None]:
    try:
        return partial(call.future.set_result, call.work(connection))
    except ChangeError as error:
        return partial(call.future.set_exception, error.__cause__)


def _again(fault: StoreUnavailable) -> StoreUnavailable:
    """An exception of its own for each caller: they raise it in tasks of their own."""
    copy = StoreUnavailable(fault.detail)
    copy.__cause__ = fault.__cause__
    return copy
