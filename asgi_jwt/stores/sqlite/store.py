"""Sessions in one SQLite file, for any number of processes on one machine."""

import os
import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

from asgi_jwt.stores.base import LOG_PAGE, SWEEP_AFTER, SWEEP_LIMIT, Change, LogPage, next_version, outcome
from asgi_jwt.stores.packed import pack, pack_revocation, unpack, unpack_revocations
from asgi_jwt.stores.records import Revocation, Session, SessionKey
from asgi_jwt.stores.sqlite.connection import ChangeError, Database, Reader, Writer
from asgi_jwt.stores.sqlite.thread import BatchThread

T = TypeVar("T")
_Thread = BatchThread[sqlite3.Connection]

LAST = 2**63 - 1
"""The largest integer that SQLite holds."""


class SQLiteStore:
    """A `SessionStore` in the file at `path`, made with mode 600 at the first use if it isn't there.

    Writes go through one thread, which takes all that has queued up into one transaction, synced to disk before any
    caller is answered; reads go through another, and wait for no write. `timeout`, in seconds, is how long a
    transaction waits for those of other processes before its callers get StoreUnavailable. `path` is absolute.
    `commits` counts the transactions. Raises ConfigurationError when no file can be at `path`.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 5.0) -> None:
        self.commits = 0
        database = Database(path, timeout)
        self.path = database.path
        self._writer: _Thread = BatchThread(f"the writer of {database.path}", lambda: Writer(database, self._count))
        self._reader: _Thread = BatchThread(f"the reader of {database.path}", lambda: Reader(database))

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
        changed, result, entries = outcome(change(stored))
        if changed is stored:
            return result
        record = None if changed is None else pack(next_version(key, stored, changed))
        rows = _log_rows(entries)
    except BaseException as error:
        raise ChangeError from error
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
        connection.executemany(_APPEND, rows)
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


_APPEND = "INSERT INTO revocations (until, record) VALUES (?, ?)"


def _log_rows(revocations: Sequence[Revocation]) -> list[tuple[int, bytes]]:
    return [(min(revocation.until, LAST), pack_revocation(revocation)) for revocation in revocations]


def _append(revocations: Sequence[Revocation], now: int, connection: sqlite3.Connection) -> None:
    connection.executemany(_APPEND, _log_rows(revocations))
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
