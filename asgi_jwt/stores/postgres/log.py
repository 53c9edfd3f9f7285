"""The log of revocations in a PostgreSQL table, read without missing a row that commits late.

Rows become visible when their transactions commit, in another order than that of their ids. So a cursor is a snapshot:
the next reading takes the rows of the transactions that had not ended when the reading before began.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from asgi_jwt.stores.base import LOG_PAGE, SWEEP_LIMIT, LogPage
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.packed import pack_revocation, unpack_revocations
from asgi_jwt.stores.postgres.link import Connection
from asgi_jwt.stores.records import CLOCK_SKEW, Revocation

Position = tuple[int, int]
"""A row's transaction and its id: rows are read in this order."""

_START: Position = (0, 0)
_SKEW = timedelta(milliseconds=CLOCK_SKEW)


class Snapshot(NamedTuple):
    """Which transactions had ended: those below `xmax` that were not `in_progress`."""

    xmax: int
    in_progress: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """The snapshot that PostgreSQL writes as `xmin:xmax:xip,xip`."""
        _, xmax, in_progress = text.split(":")
        return cls(int(xmax), tuple(map(int, filter(None, in_progress.split(",")))))

    def has_ended(self, xid: int) -> bool:
        """Whether the transaction had ended, and is of this server: a dump's may lie at or past `xmax`."""
        return xid < self.xmax and xid not in self.in_progress

    def cut(self, last: int) -> "Snapshot":
        """The snapshot up to the transaction `last`.

        A crash of the server takes back transaction ids that left no trace, and later transactions get them. `last`
        left a row, so no later transaction gets an id up to it.
        """
        return Snapshot(last + 1, tuple(xid for xid in self.in_progress if xid <= last))


class Page(NamedTuple):
    """How far a reading has come that has further pages."""

    upper: Snapshot
    """The snapshot of its first page: later pages may hold rows of later transactions, which are read again."""

    began: datetime
    after: Position
    """The last row of the page before."""

    since: datetime | None
    """A new reading takes the rows appended from then on; None: all."""

    newest: Position | None
    """The newest row so far whose transaction `upper` knows to have ended."""


class Cursor(NamedTuple):
    """Where a process goes on reading: what earlier readings have `read`, their `newest` row, and when they `began`.

    Without `newest` the next reading is a new one. `page` is that of a reading that has further pages.
    """

    began: datetime | None = None
    read: Snapshot | None = None
    newest: Position | None = None
    page: Page | None = None


APPEND_ROWS = """INSERT INTO asgi_jwt_revocations (until, record)
SELECT clock_timestamp() + entry.life * interval '1 millisecond', entry.record
FROM unnest({lives}::bigint[], {records}::bytea[]) AS entry (life, record)"""
"""The server's clock says until when an entry is kept, so the clock of the process that appends does not count."""

TRIMMED = f"""trimmed AS (
    DELETE FROM asgi_jwt_revocations WHERE (xid, id) IN (
        SELECT xid, id FROM asgi_jwt_revocations
        WHERE until < clock_timestamp() - interval '{CLOCK_SKEW} milliseconds'
        AND (xid, id) < (SELECT xid, id FROM asgi_jwt_revocations ORDER BY xid DESC, id DESC LIMIT 1)
        LIMIT {LOG_PAGE + SWEEP_LIMIT} FOR UPDATE SKIP LOCKED
    )
)"""
"""Stands beside each append: forgets more rows that have lapsed than one call appends. The newest row always stays."""

_APPEND = f"WITH {TRIMMED}\n{APPEND_ROWS.format(lives='$1', records='$2')}"

_PAGE = """SELECT pg_current_snapshot()::text AS snapshot, clock_timestamp() AS now, {continues} AS continues,
    array_agg(xid::text ORDER BY xid, id) AS xids, array_agg(id ORDER BY xid, id) AS ids,
    array_agg(record ORDER BY xid, id) AS records
FROM ({rows}) AS page"""
"""The rows of a statement that commits by itself are those that `pg_current_snapshot()` makes visible."""

_ROWS = f"""(SELECT xid, id, record FROM asgi_jwt_revocations
WHERE {{condition}} ORDER BY xid, id LIMIT {LOG_PAGE + 1})"""

_AFTER = "(xid, id) > ($1::text::xid8, $2::bigint)"

# Two scans of the primary key, each in its order: with OR, PostgreSQL may scan the whole log. The first begins at $3,
# which is at least $1: beside `_AFTER` it might begin at $1.
_FURTHER = "\nUNION ALL\n".join(
    _ROWS.format(condition=condition)
    for condition in (
        """xid >= $3::text::xid8 AND (xid > $1::text::xid8 OR id > $2::bigint)
        AND xid < pg_snapshot_xmax(pg_current_snapshot())""",
        f"xid = ANY($4::text[]::xid8[]) AND {_AFTER}",
    )
)
_GO_ON = _PAGE.format(
    continues="""$5::text::xid8 < pg_snapshot_xmax(pg_current_snapshot()) AND EXISTS (
        SELECT 1 FROM asgi_jwt_revocations AS newest WHERE newest.xid = $5::text::xid8 AND newest.id = $6::bigint
    )""",
    rows=f"SELECT * FROM ({_FURTHER}) AS further ORDER BY xid, id LIMIT {LOG_PAGE + 1}",
)
_BEGIN = _PAGE.format(
    continues="false",
    rows=_ROWS.format(condition=f"({_AFTER}) AND ($3::timestamptz IS NULL OR appended >= $3::timestamptz)"),
)


def entry_arguments(revocations: Sequence[Revocation], now: Millis) -> tuple[list[int], list[bytes]]:
    """The lives (ms) and records for `APPEND_ROWS`."""
    longest = 10**15
    return [min(each.life(now), longest) for each in revocations], [pack_revocation(each) for each in revocations]


async def append(connection: Connection, revocations: Sequence[Revocation], now: Millis) -> None:
    """Append entries, and forget some that have lapsed."""
    await connection.execute(_APPEND, *entry_arguments(revocations, now))


async def read_page(connection: Connection, cursor: Cursor | None) -> LogPage:
    """The next page of the log, from `cursor`."""
    cursor = cursor or Cursor()
    if cursor.read is not None and cursor.newest is not None:
        after = cursor.page.after if cursor.page else _START
        in_progress = list(map(str, cursor.read.in_progress))
        first = max(cursor.read.xmax, after[0])
        row = await connection.fetch_row(_GO_ON, *_sent(after), str(first), in_progress, *_sent(cursor.newest))
        if row["continues"]:
            return _page(row, cursor, since=None, continues=True)
        cursor = Cursor(began=cursor.began)
    page = cursor.page
    since = page.since if page else cursor.began and cursor.began - _SKEW
    row = await connection.fetch_row(_BEGIN, *_sent(page.after if page else _START), since)
    return _page(row, cursor, since, continues=page is not None)


def _sent(position: Position) -> tuple[str, int]:
    return str(position[0]), position[1]


def _page(row: Mapping[str, Any], cursor: Cursor, since: datetime | None, *, continues: bool) -> LogPage:
    rows = list(zip(map(int, row["xids"] or ()), row["ids"] or (), strict=True))
    more = len(rows) > LOG_PAGE
    rows = rows[:LOG_PAGE]
    upper = cursor.page.upper if cursor.page else Snapshot.parse(row["snapshot"])
    began = cursor.page.began if cursor.page else row["now"]
    newest = next((each for each in reversed(rows) if upper.has_ended(each[0])), None)
    newest = newest or (cursor.page.newest if cursor.page else None)
    if more:
        following = cursor._replace(page=Page(upper, began, rows[-1], since, newest))
    else:
        newest = max((each for each in (newest, cursor.newest) if each is not None), default=None)
        following = Cursor(began, upper.cut(newest[0]) if newest else None, newest)
    records = (row["records"] or [])[:LOG_PAGE]
    return LogPage(unpack_revocations(records), following, continues, more)
