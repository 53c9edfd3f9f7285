"""SQLiteStore: sessions in one SQLite file, for any number of processes on one machine."""

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

from asgi_jwt.stores.base import LOG_PAGE, SWEEP_AFTER, SWEEP_LIMIT, Change, LogPage, next_version, outcome
from asgi_jwt.stores.millis import Millis, millis
from asgi_jwt.stores.packed import pack, pack_revocation, unpack, unpack_revocations
from asgi_jwt.stores.records import CLOCK_SKEW, Revocation, Session, SessionKey
from asgi_jwt.stores.sqlite.connection import Database, FailedChange, Reader, Writer
from asgi_jwt.stores.sqlite.thread import BatchThread

T = TypeVar("T")
_Thread = BatchThread[sqlite3.Connection]

LAST = 2**63 - 1
"""The largest integer that SQLite holds."""


class SQLiteStore:
    """A `SessionStore` in the file at `path`. A missing file is created at the first use, with mode 600.

    One thread writes. It runs all queued calls in one transaction, which is synced to disk before a caller is answered.
    A second thread reads sessions, and a third reads the log, so that no read waits for writes.

    `timeout` is how long (s) a call waits for the transactions of other processes before it raises StoreUnavailable.
    `clock` returns seconds since the epoch; the log counts the life of its entries by it. The attribute `path` is
    absolute, and `commits` is the number of transactions. Raises ConfigurationError if no file can be at `path`.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, timeout: float = 5.0, clock: Callable[[], float] = time.time
    ) -> None:
        self.commits = 0
        database = Database(path, timeout)
        self.path = database.path
        self._clock = clock
        self._writer: _Thread = BatchThread(f"the writer of {database.path}", lambda: Writer(database, self._count))
        self._reader: _Thread = BatchThread(f"the reader of {database.path}", lambda: Reader(database))
        self._log: _Thread = BatchThread(f"the log's reader of {database.path}", lambda: Reader(database))

    async def get(self, key: SessionKey) -> Session | None:
        return await self._reader.call(partial(_get, key))

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        return await self._writer.call(partial(_update, key, change, self._now()))

    async def list(self, subject: str, now: Millis) -> tuple[Session, ...]:
        return await self._reader.call(partial(_list, subject, now))

    async def sweep(self, now: Millis) -> int:
        return await self._writer.call(partial(_sweep, now))

    async def append_revocations(self, revocations: Sequence[Revocation], now: Millis) -> None:
        await self._writer.call(partial(_append, revocations, now, self._now()))

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        return await self._log.call(partial(_page, cursor))

    async def aclose(self) -> None:
        for thread in (self._log, self._reader, self._writer):
            await thread.aclose()

    def _now(self) -> Millis:
        return millis(self._clock())

    def _count(self) -> None:
        self.commits += 1


# These functions run in the threads.


def _get(key: SessionKey, connection: sqlite3.Connection) -> Session | None:
    row = connection.execute("SELECT record FROM sessions WHERE subject = ? AND sid = ?", _row_key(key)).fetchone()
    return None if row is None else unpack(key, row[0])


def _update(key: SessionKey, change: Change[T], clock: Millis, connection: sqlite3.Connection) -> T:
    row_key = _row_key(key)
    row = connection.execute("SELECT record FROM sessions WHERE subject = ? AND sid = ?", row_key).fetchone()
    try:
        stored = None if row is None else unpack(key, row[0])
        changed, result, entries = outcome(change(stored))
        if changed is stored:
            return result
        record = None if changed is None else pack(next_version(key, stored, changed))
        rows = _log_rows(entries, clock, entries[0].time if entries else clock)
    except BaseException as error:
        raise FailedChange from error
    if changed is None:
        connection.execute("DELETE FROM sessions WHERE subject = ? AND sid = ?", row_key)
    else:
        connection.execute(
            """INSERT INTO sessions (subject, sid, kept_until, ended, record) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (subject, sid) DO UPDATE
            SET kept_until = excluded.kept_until, ended = excluded.ended, record = excluded.record""",
            (*row_key, min(changed.kept_until, LAST), changed.ended_at is not None, record),
        )
    if rows:
        _append_rows(rows, clock, connection)
    return result


def _list(subject: str, now: Millis, connection: sqlite3.Connection) -> tuple[Session, ...]:
    # A subject may have many tombstones, and they are kept for long. So the query leaves them out.
    live = "SELECT sid, record FROM sessions WHERE subject = ? AND NOT ended ORDER BY sid"
    rows = connection.execute(live, (_blob(subject),))
    found = (unpack(SessionKey(subject, sid.decode("utf-8", "surrogatepass")), record) for sid, record in rows)
    return tuple(sorted((session for session in found if session.is_live(now)), key=attrgetter("created_at")))


def _sweep(now: Millis, connection: sqlite3.Connection) -> int:
    return connection.execute(
        "DELETE FROM sessions WHERE rowid IN (SELECT rowid FROM sessions WHERE kept_until < ? LIMIT ?)",
        (now - SWEEP_AFTER, SWEEP_LIMIT),
    ).rowcount


def _log_rows(revocations: Sequence[Revocation], clock: Millis, now: Millis) -> list[tuple[int, bytes]]:
    """For each entry until when it is kept, by the store's `clock` (ms), and its record. `now` is the caller's time."""
    return [(min(clock + revocation.life(now), LAST), pack_revocation(revocation)) for revocation in revocations]


def _append(revocations: Sequence[Revocation], now: Millis, clock: Millis, connection: sqlite3.Connection) -> None:
    _append_rows(_log_rows(revocations, clock, now), clock, connection)


def _append_rows(rows: Sequence[tuple[int, bytes]], clock: Millis, connection: sqlite3.Connection) -> None:
    """Append rows to the log, and remove a bounded number of those that have lapsed by the store's `clock`."""
    connection.executemany("INSERT INTO revocations (until, record) VALUES (?, ?)", rows)
    connection.execute(
        """DELETE FROM revocations WHERE id IN (SELECT id FROM revocations WHERE until < ? LIMIT ?)
        AND id < (SELECT max(id) FROM revocations)""",
        (clock - CLOCK_SKEW, SWEEP_LIMIT),
    )


def _page(cursor: tuple[int, bytes] | None, connection: sqlite3.Connection) -> LogPage:
    """The page after `cursor`, which is the last row that was read. Ids grow, so newer rows follow that row."""
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
