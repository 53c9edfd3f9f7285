"""SQLite connections to the store's file. They open when needed, open again after a fault, and run calls in batches."""

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

APPLICATION_ID = 0x614A5754  # "aJWT": SQLite stores this number in a file to show which program the file belongs to

MIGRATIONS = (
    (
        f"PRAGMA application_id = {APPLICATION_ID}",
        # Subjects and `sid`s are UTF-8 blobs, because a JSON string may contain characters that SQLite's text can't.
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
"""The statements from each version of the schema to the next. `PRAGMA user_version` is the version of a file."""

_FAULTS = {
    sqlite3.SQLITE_BUSY: "is locked by another connection",
    sqlite3.SQLITE_FULL: "can't grow: make room on its disk",
    sqlite3.SQLITE_READONLY: "can't be written: give this process the right to write it and its directory",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup",
    sqlite3.SQLITE_NOTADB: "is no SQLite database: restore it from a backup, or name another file",
    sqlite3.SQLITE_CANTOPEN: "can't be opened: give this process the right to write it and its directory",
    sqlite3.SQLITE_IOERR: "can't be read or written: look at its disk",
    # The file has fewer pages than its header or its -shm says. The disk is fine: the -wal and -shm are another file's.
    sqlite3.SQLITE_IOERR_SHORT_READ: "is not the file that the -wal and -shm beside it are of, or was cut short: put "
    "the right one back, or stop all processes that use it, remove its -wal and -shm, and restart them",
}


_SHORTEST_WAIT = 0.02
"""A caller whose lock timeout ends within this time (s) fails now, together with the callers that came before it."""


class FailedChange(Exception):
    """A change raised before anything of it was written. The cause of this exception is for its caller alone."""


class Database(StoreFile):
    """The store's file as a SQLite database. It opens connections, checks the file's owner and migrates the schema.

    `timeout` is how long (s) a caller waits for the locks of other processes.
    """

    def __init__(self, path: str | os.PathLike[str], timeout: float) -> None:
        super().__init__(path)
        self.timeout = timeout
        self._checked: tuple[int, int] | None = None

    def open(self, lock_timeout: float) -> sqlite3.Connection:
        """A connection that waits `lock_timeout` seconds for the locks of other processes."""
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw", uri=True, timeout=lock_timeout, isolation_level=None
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")  # NORMAL may lose the last rotations in a power failure
            self._check(connection, lock_timeout)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection, lock_timeout: float) -> None:
        """Check and migrate the file, once for each file: an old connection can read a newer schema.

        Each transaction that writes checks the version again.
        """
        identity = self.identity()
        if identity != self._checked:
            self._require_ours(connection)
            self._enter_wal(connection, lock_timeout)
            self._migrate(connection)
            self._checked = identity

    def begin(self, connection: sqlite3.Connection) -> int:
        """Begin a transaction that writes. Returns the schema's version; raises StoreUnavailable if it is too new."""
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

    def _enter_wal(self, connection: sqlite3.Connection, lock_timeout: float) -> None:
        """Switch the file to WAL. SQLite itself does not wait for a writer here, so this function does."""
        deadline = monotonic() + lock_timeout
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
            for step in MIGRATIONS[self.begin(connection) :]:  # another process may have migrated the file meanwhile
                for statement in step:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


class Connection:
    """The connection of one thread. It opens when needed, and again after a fault or when the file was replaced."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def perform(self, work: Callable[[sqlite3.Connection], T], lock_timeout: float | None = None) -> T:
        """Call `work` with the connection, which waits `lock_timeout` seconds for the locks of other processes.

        None is the store's `timeout`. Raises StoreUnavailable for an error of SQLite or of the file.
        """
        try:
            return work(self._open(self._database.timeout if lock_timeout is None else lock_timeout))
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreUnavailable(self._explain(error)) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection. An open transaction is rolled back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self, lock_timeout: float) -> sqlite3.Connection:
        if self._connection is not None and self._identity != self._database.identity():
            self.close()
        if self._connection is None:
            self._database.make()
            self._identity = self._database.identity()
            self._connection = self._database.open(lock_timeout)
        self._connection.execute(f"PRAGMA busy_timeout = {int(lock_timeout * 1000)}")
        return self._connection

    def _explain(self, error: sqlite3.Error | OSError) -> str:
        if isinstance(error, FileNotFoundError):
            return f"{self._database.path} is gone: put it back, or restart to begin with an empty one"
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CANTOPEN)
        fault = _FAULTS.get(code) or _FAULTS.get(code & 0xFF, "failed")  # the last byte is the primary code
        return f"{self._database.path} {fault} ({error})"


class Reader(Connection):
    """Runs each call of a batch by itself, and then answers all callers: their next writes share a transaction."""

    def run(self, calls: Sequence[_Call]) -> None:
        """Run the calls, and settle their futures."""
        for answer in [self._answer(call) for call in calls]:
            answer()

    def _answer(self, call: _Call) -> Callable[[], None]:
        try:
            return partial(call.future.set_result, self.perform(call.work))
        except StoreUnavailable as fault:
            return partial(call.future.set_exception, fault)


class Writer(Connection):
    """Runs the calls of a batch in one transaction, and answers their callers when it is on disk."""

    def __init__(self, database: Database, committed: Callable[[], None]) -> None:
        super().__init__(database)
        self._committed = committed

    def run(self, calls: Sequence[_Call]) -> None:
        """Run the calls in one transaction, and settle their futures."""
        while calls:
            try:
                answers = self.perform(partial(self._transact, calls), max(0.0, self._time_left(calls[0])))
            except StoreUnavailable as fault:
                calls = self._fail(calls, fault)
            else:
                self._committed()
                for answer in answers:
                    answer()
                return

    def _time_left(self, call: _Call) -> float:
        """How long (s) the caller still waits for the locks of other processes."""
        return call.asked_at + self._database.timeout - monotonic()

    def _fail(self, calls: Sequence[_Call], fault: StoreUnavailable) -> Sequence[_Call]:
        """Raise the fault in the callers. If the file is locked, callers with time left wait on, and are returned."""
        locked = getattr(fault.__cause__, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
        waiting = [call for call in calls if locked and self._time_left(call) > _SHORTEST_WAIT]
        for call in calls[: len(calls) - len(waiting)]:
            call.future.set_exception(_copy(fault))
        return waiting

    def _transact(self, calls: Sequence[_Call], connection: sqlite3.Connection) -> list[Callable[[], None]]:
        self._database.begin(connection)
        answers = [_attempt(call, connection) for call in calls]
        connection.execute("COMMIT")
        return answers


def _attempt(call: _Call, connection: sqlite3.Connection) -> Callable[[], None]:
    try:
        return partial(call.future.set_result, call.work(connection))
    except FailedChange as error:
        return partial(call.future.set_exception, error.__cause__)


def _copy(fault: StoreUnavailable) -> StoreUnavailable:
    """A copy of the exception. Each caller raises one of its own, because raising adds a traceback to it."""
    copy = StoreUnavailable(fault.detail)
    copy.__cause__ = fault.__cause__
    return copy
