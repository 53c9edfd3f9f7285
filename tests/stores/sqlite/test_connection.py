"""What the SQLite store does with files it can't use, and once it can use them again."""

import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import pytest
from support.sqlite_files import a_session, advance, connect, locked, opened, write

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.sqlite import SQLiteStore
from asgi_jwt.stores.sqlite import connection as sqlite_connection
from asgi_jwt.stores.sqlite.connection import MIGRATIONS
from asgi_jwt.stores.sqlite.thread import Call

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    async with opened(path) as store:
        yield store


# The schema


async def test_file_says_whose_it_is(store: SQLiteStore, path: Path) -> None:
    """The file bears the application's id and the schema's version."""
    await write(store, a_session())
    with closing(connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (0x614A5754,)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


async def test_older_schema_is_migrated_step_by_step(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of an older version gets each step that it lacks, in order, and keeps its sessions."""
    async with opened(path) as store:
        await write(store, a_session())
    steps = (
        *MIGRATIONS,
        ("CREATE TABLE first (n INTEGER)", "INSERT INTO first VALUES (1)"),
        ("CREATE TABLE second AS SELECT n + 1 AS n FROM first",),
    )
    monkeypatch.setattr(sqlite_connection, "MIGRATIONS", steps)

    for _ in range(2):
        async with opened(path) as store:
            assert await store.get(a_session().key) == replace(a_session(), version=1)

    with closing(connect(path)) as connection:
        assert connection.execute("SELECT n FROM second").fetchall() == [(2,)]
        assert connection.execute("PRAGMA user_version").fetchone() == (len(steps),)


async def test_failing_migration_leaves_the_older_schema(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails in the middle is undone, whole."""
    async with opened(path) as store:
        await write(store, a_session())
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_connection, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE half (n INTEGER)", "nonsense")))
        async with opened(path) as store:
            with pytest.raises(StoreUnavailable, match="nonsense"):
                await store.get(a_session().key)

    with closing(connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    async with opened(path) as store:
        assert await store.get(a_session().key) is not None


async def test_newer_schema_is_not_touched(path: Path) -> None:
    """A file of a newer version says to upgrade, and stays byte for byte as it is."""
    with closing(connect(path)) as connection:
        connection.execute("CREATE TABLE future (n INTEGER)")
        connection.execute("PRAGMA user_version = 99")
    before = await anyio.Path(path).read_bytes()

    async with opened(path) as store:
        for call in (partial(store.get, a_session().key), partial(write, store, a_session())):
            with pytest.raises(StoreUnavailable, match=r"newer asgi_jwt \(schema 99, .*upgrade asgi_jwt"):
                await call()
    assert await anyio.Path(path).read_bytes() == before


async def test_schema_changed_by_a_newer_process(path: Path) -> None:
    """A process that is still running when a newer one has migrated the file writes to it no more."""
    async with opened(path) as store:
        await write(store, a_session())
        with closing(connect(path)) as connection:
            connection.execute("PRAGMA user_version = 99")
        with pytest.raises(StoreUnavailable, match="upgrade asgi_jwt"):
            await advance(store, a_session().key)
        with closing(connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        assert await still_works(store)


async def test_another_programs_database_is_not_touched(path: Path) -> None:
    """A database with tables that aren't ours gets none of ours."""
    with closing(connect(path)) as connection:
        connection.execute("CREATE TABLE users (n INTEGER)")
    before = await anyio.Path(path).read_bytes()

    async with opened(path) as store:
        with pytest.raises(StoreUnavailable, match="another program's database: give the store a file of its own"):
            await write(store, a_session())
    assert await anyio.Path(path).read_bytes() == before


# Faults, and what comes after them


@pytest.fixture
async def faulty(store: SQLiteStore) -> SQLiteStore:
    """A store which has written and read alice's session."""
    await write(store, a_session())
    await store.get(a_session().key)
    return store


async def still_works(store: SQLiteStore) -> bool:
    """Whether nothing was lost, and the next write succeeds."""
    before = await store.get(a_session().key)
    await advance(store, a_session().key)
    after = await store.get(a_session().key)
    return (before, after) == (replace(a_session(), version=1), replace(a_session(), generation=1, version=2))


async def test_locked_file(path: Path) -> None:
    """A file that stays locked is unavailable after the timeout, for everyone waiting, and usable when freed."""
    async with opened(path, timeout=0.05) as store:
        await write(store, a_session())
        details: list[str | None] = []

        async def attempt() -> None:
            with pytest.raises(StoreUnavailable) as raised:
                await advance(store, a_session().key)
            details.append(raised.value.detail)

        with locked(path):
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(attempt)
        assert details == [f"{path} is locked by another connection (database is locked)"] * 5
        assert await still_works(store)


async def test_each_caller_waits_for_a_locked_file_from_when_he_came(path: Path) -> None:
    """Behind a lock every caller waits the timeout from his own call on, however many batches were before his."""
    async with opened(path) as store:
        await write(store, a_session())
    database = sqlite_connection.Database(path, 0.3)
    writer = sqlite_connection.Writer(database, lambda: pytest.fail("committed"))
    waits: list[float] = []

    def call(waited: float) -> Call[sqlite3.Connection, None]:
        return Call(lambda _: pytest.fail("begun"), asked_at=monotonic() - waited)

    original = database.open

    def opening(patience: float) -> sqlite3.Connection:
        waits.append(patience)
        return original(patience)

    with locked(path), closing(writer), pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "open", opening)
        calls = [call(9), call(0.3), call(0.29), call(0.1), call(0)]
        writer.run(calls)
    assert [type(call.future.exception()) for call in calls] == [StoreUnavailable] * 5
    # Callers who had waited are told at once; a wait that took longer than it should leaves no more for the last.
    assert waits[0] == 0 < waits[1] <= 0.2
    assert all(0 < wait <= 0.3 for wait in waits[1:])
    assert len(waits) <= 3


async def test_first_use_of_a_file_that_stays_locked(path: Path) -> None:
    """The wait for a file that is not yet in WAL mode ends as well."""
    with locked(path) as other:
        async with opened(path, timeout=0.05) as store:
            with pytest.raises(StoreUnavailable, match="is locked"):
                await write(store, a_session())
            other.execute("ROLLBACK")
            await write(store, a_session())


async def test_deleted_file(faulty: SQLiteStore, path: Path) -> None:
    """A file that went away is missed, not made anew; put back, it has everything that was committed."""
    aside = path.with_suffix(".aside")
    await anyio.Path(path).rename(aside)
    for call in (partial(faulty.get, a_session().key), partial(advance, faulty, a_session().key)):
        with pytest.raises(StoreUnavailable, match="is gone: put it back, or restart"):
            await call()
    assert not await anyio.Path(path).exists()

    await anyio.Path(aside).rename(path)
    assert await still_works(faulty)


async def test_replaced_file(faulty: SQLiteStore, path: Path, tmp_path: Path) -> None:
    """A file put in place of the old one is what the store goes on with."""
    other = tmp_path / "other.db"
    async with opened(other) as store:
        await write(store, a_session("s2"))
    await anyio.Path(other).replace(path)
    for name in ("sessions.db-wal", "sessions.db-shm"):
        await anyio.Path(tmp_path / name).unlink()

    assert [session.sid for session in await faulty.list("alice", 0)] == ["s2"]
    await write(faulty, a_session("s3"))
    assert [session.sid for session in await faulty.list("alice", 0)] == ["s2", "s3"]


async def test_file_made_anew_beside_anothers_wal(faulty: SQLiteStore, path: Path) -> None:
    """A process that starts when the file is gone, and another has its -wal and -shm open, says what to remove."""
    await anyio.Path(path).unlink()
    script = (
        "import asyncio, sys; from asgi_jwt import SQLiteStore;"
        "asyncio.run(SQLiteStore(sys.argv[1], timeout=0.05).list('alice', 0))"
    )
    told = await anyio.run_process([sys.executable, "-c", script, str(path)], check=False)
    said = told.stderr.decode()
    assert f"{path} is not the file that the -wal and -shm beside it are of" in said
    assert "stop all processes that use it, remove its -wal and -shm, and restart them (disk I/O error)" in said


async def test_file_that_is_no_database(faulty: SQLiteStore, path: Path, tmp_path: Path) -> None:
    """Garbage in place of the file is named; when the file is back nothing was lost."""
    aside = path.with_suffix(".aside")
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else SQLite reads the WAL's pages in its stead
    await anyio.Path(path).rename(aside)
    await anyio.Path(path).write_bytes(b"garbage " * 1000)
    for call in (partial(faulty.get, a_session().key), partial(advance, faulty, a_session().key)):
        with pytest.raises(StoreUnavailable, match="is no SQLite database: restore it from a backup"):
            await call()

    await anyio.Path(aside).replace(path)
    assert await still_works(faulty)


async def test_corrupt_file(path: Path) -> None:
    """Damage inside the file is named; restored from a backup, it is used again without a restart."""
    async with opened(path) as store:
        await write(store, a_session())
    good = await anyio.Path(path).read_bytes()
    await anyio.Path(path).write_bytes(good[:4096] + b"\xff" * (len(good) - 4096))

    async with opened(path) as store:
        with pytest.raises(StoreUnavailable, match="is damaged: restore it from a backup"):
            await advance(store, a_session().key)
        backup = path.with_suffix(".backup")
        await anyio.Path(backup).write_bytes(good)
        await anyio.Path(backup).replace(path)
        assert await still_works(store)


@contextmanager
def every_connection(monkeypatch: pytest.MonkeyPatch, pragma: str) -> Iterator[None]:
    """Within it, whatever connection the store opens is under `pragma` from the beginning."""
    original = sqlite3.connect

    def limited(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = original(*args, **options)
        connection.execute(f"PRAGMA {pragma}")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr("sqlite3.connect", limited)
        yield


@pytest.mark.parametrize(
    ("pragma", "detail"),
    [
        ("max_page_count = 1", "can't grow: make room on its disk"),
        ("query_only = ON", "can't be written: give this process the right"),
    ],
    ids=["full disk", "read-only"],
)
async def test_file_that_can_not_be_written(
    path: Path, monkeypatch: pytest.MonkeyPatch, pragma: str, detail: str
) -> None:
    """On a full disk, or without the right to write, a write says what to do, and reads go on."""
    async with opened(path) as store:
        await write(store, a_session())
    large = replace(a_session("large"), claims={"text": "x" * 100_000})

    async with opened(path) as store:
        with every_connection(monkeypatch, pragma):
            with pytest.raises(StoreUnavailable, match=detail):
                await write(store, large)
            assert await store.get(a_session().key) == replace(a_session(), version=1)
            assert await store.get(large.key) is None
            with pytest.raises(StoreUnavailable, match=detail):
                await write(store, large)
        await write(store, large)
        assert await store.get(large.key) == replace(large, version=1)
