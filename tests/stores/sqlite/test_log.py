"""The log of revocations in SQLite: small, bounded, and read from its beginning when the file went back."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.sqlite_files import ask
from support.stores import HOUR, NOW, a_session, stored, using, write

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.base import LOG_PAGE, SWEEP_LIMIT
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import CLOCK_SKEW, Revocation
from asgi_jwt.stores.sqlite import connection as sqlite_connection
from asgi_jwt.stores.sqlite.connection import MIGRATIONS
from asgi_jwt.stores.sqlite.store import LAST, SQLiteStore
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    async with using(SQLiteStore(path)) as store:
        yield store


def revocations(count: int, *, until: int = NOW + HOUR, first: int = 0) -> list[Revocation]:
    return [Revocation("sid", "https://issuer.example", f"{n}", Millis(until)) for n in range(first, first + count)]


async def values(store: SQLiteStore, cursor: object = None) -> tuple[list[int], bool, object]:
    """The entries of the next page by their numbers, whether it goes on from the cursor, and the next one."""
    page = await store.read_revocations(cursor)
    return [int(entry.value) for entry in page.revocations], page.continues, page.cursor


async def test_file_of_before_the_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a release without a log gets one, and keeps its sessions."""
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_connection, "MIGRATIONS", MIGRATIONS[:1])
        async with using(SQLiteStore(path)) as store:
            await write(store, a_session())
    async with using(SQLiteStore(path)) as store:
        assert (await values(store))[0] == []
        await store.append_revocations(revocations(1), Millis(NOW))
        assert (await values(store))[0] == [0]
        await stored(store)


async def test_file_that_was_put_back(path: Path, tmp_path: Path) -> None:
    """After an older copy of the file was put back its ids are given anew: nothing that is told then is passed over."""
    async with using(SQLiteStore(path)) as store:
        await store.append_revocations(revocations(2), Millis(NOW))
    shutil.copy(path, tmp_path / "copy")
    async with using(SQLiteStore(path)) as store:
        await store.append_revocations(revocations(2, first=2), Millis(NOW))
        found, _, cursor = await values(store)
    shutil.move(tmp_path / "copy", path)
    async with using(SQLiteStore(path)) as store:
        await store.append_revocations(revocations(2, first=8), Millis(NOW))
        assert (found, (await values(store, cursor))[:2]) == ([0, 1, 2, 3], ([0, 1, 8, 9], False))


async def test_forgets_a_bounded_number_a_call(path: Path) -> None:
    """A log of which much has lapsed shrinks by the sweep's limit with each call, through an index, to one entry."""
    clock, lengths = Clock(), []
    async with using(SQLiteStore(path, clock=clock)) as store:
        for first in range(0, SWEEP_LIMIT + LOG_PAGE, LOG_PAGE):
            await store.append_revocations(revocations(LOG_PAGE, first=first), Millis(NOW))
        clock.turn((HOUR + CLOCK_SKEW) / 1000)
        for seconds in (0, 1, 0, 0):
            clock.turn(seconds)
            await store.append_revocations([], Millis(NOW))
            lengths.append(ask(path, "SELECT count(*) FROM revocations"))
    assert lengths == [SWEEP_LIMIT + LOG_PAGE, LOG_PAGE, 1, 1]
    query = "SELECT id FROM revocations WHERE until < 0 LIMIT 1"
    assert "revocations_by_end" in ask(path, f"EXPLAIN QUERY PLAN {query}", column=3)


async def test_revocation_without_end(store: SQLiteStore) -> None:
    """An end later than SQLite can count is kept as it is."""
    (entry,) = revocations(1, until=LAST + 1)
    await store.append_revocations([entry], Millis(NOW))
    assert list((await store.read_revocations()).revocations) == [entry]


async def test_damaged_record(store: SQLiteStore, path: Path) -> None:
    """What can't be read is StoreUnavailable, which refuses tokens: nobody knows whose were revoked."""
    await store.append_revocations(revocations(1), Millis(NOW))
    ask(path, "INSERT INTO revocations (until, record) VALUES (0, 'nonsense')")
    with pytest.raises(StoreUnavailable, match="can't be read"):
        await store.read_revocations()
