"""What the SQLite store does with files it can't use, and once it can use them again."""

import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic

import anyio
import pytest
from support.sqlite_files import Fault, ask, every_fault, locked
from support.stores import KEY, NOW, a_session, advance, stored, using, write

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.sqlite import SQLiteStore
from asgi_jwt.stores.sqlite import connection as sqlite_connection
from asgi_jwt.stores.sqlite.connection import MIGRATIONS
from asgi_jwt.stores.sqlite.thread import Call

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
async def written(path: Path) -> None:
    """The file has alice's session."""
    async with using(SQLiteStore(path)) as store:
        await write(store, a_session())


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    """A store that has written and read."""
    async with using(SQLiteStore(path)) as store:
        await write(store, a_session())
        await stored(store)
        yield store


# The schema


async def test_file_says_whose_it_is(written: None, path: Path) -> None:
    """The file bears the application's id and the schema's version."""
    assert ask(path, "PRAGMA application_id") == 0x614A5754
    assert ask(path, "PRAGMA user_version") == len(MIGRATIONS)


async def test_older_schema_is_migrated_step_by_step(
    written: None, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of an older version gets each step that it lacks, in order, and keeps its sessions."""
    steps = (
        *MIGRATIONS,
        ("CREATE TABLE first (n INTEGER)", "INSERT INTO first VALUES (1)"),
        ("CREATE TABLE second AS SELECT n + 1 AS n FROM first",),
    )
    monkeypatch.setattr(sqlite_connection, "MIGRATIONS", steps)
    for _ in range(2):
        async with using(SQLiteStore(path)) as store:
            assert await store.get(KEY) == replace(a_session(), version=1)
    assert (ask(path, "SELECT group_concat(n) FROM second"), ask(path, "PRAGMA user_version")) == ("2", len(steps))


async def test_failing_migration_leaves_the_older_schema(
    written: None, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that fails in the middle is undone, whole."""
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_connection, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE half (n INTEGER)", "nonsense")))
        async with using(SQLiteStore(path)) as store:
            with pytest.raises(StoreUnavailable, match="nonsense"):
                await store.get(KEY)
    assert ask(path, "PRAGMA user_version") == len(MIGRATIONS)
    assert ask(path, "SELECT name FROM sqlite_master WHERE name = 'half'") is None
    async with using(SQLiteStore(path)) as store:
        await stored(store)


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (["CREATE TABLE future (n INTEGER)", "PRAGMA user_version = 99"], r"newer asgi_jwt \(schema 99, .*upgrade"),
        (["CREATE TABLE users (n INTEGER)"], "another program's database: give the store a file of its own"),
    ],
    ids=["a newer schema", "another program's"],
)
async def test_file_of_others_is_not_touched(path: Path, statements: list[str], told: str) -> None:
    """A file of a newer version, or of another program, stays byte for byte as it is."""
    for statement in statements:
        ask(path, statement)
    before = await anyio.Path(path).read_bytes()
    async with using(SQLiteStore(path)) as store:
        for call in (partial(store.get, KEY), partial(write, store, a_session())):
            with pytest.raises(StoreUnavailable, match=told):
                await call()
    assert await anyio.Path(path).read_bytes() == before


# Faults, and what comes after them


@every_fault
async def test_file_out_of_use(written: None, path: Path, fault: Fault) -> None:
    """While a file can't be used the store says why and what to do; then it goes on, without a restart or a loss."""
    large = replace(a_session("large"), claims={"text": "x" * 100_000})
    async with using(SQLiteStore(path, timeout=0.05)) as store:
        if not fault.opening:
            assert await store.update(KEY, lambda stored: (stored, 1)) == 1
            await stored(store)
        before = replace(a_session(), version=1)
        with fault.begins(path):
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match=fault.told) as raised:
                    await write(store, large)
                assert str(path) in (raised.value.detail or "")
                if fault.reads:
                    assert [await store.get(KEY), await store.get(large.key)] == [before, None]
                else:
                    with pytest.raises(StoreUnavailable, match=fault.told):
                        await store.get(KEY)
        assert await store.get(KEY) == before
        assert await store.update(KEY, advance) == 1
        await write(store, large)
        assert await store.get(large.key) == replace(large, version=1)


async def test_each_caller_waits_for_a_locked_file_from_when_he_came(written: None, path: Path) -> None:
    """Behind a lock every caller waits the timeout from his own call on, however many batches were before his."""
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
    """The wait for a file that is not yet in WAL mode ends as well, and the file can be used when it is freed."""
    with locked(path) as other:
        async with using(SQLiteStore(path, timeout=0.05)) as store:
            with pytest.raises(StoreUnavailable, match="is locked"):
                await write(store, a_session())
            other.execute("ROLLBACK")
            await write(store, a_session())


async def test_lost_file_is_not_made_anew(store: SQLiteStore, path: Path) -> None:
    """A file that went is missed, by reads and writes: an empty one in its place would log everybody out."""
    await anyio.Path(path).unlink()
    for call in (partial(store.get, KEY), partial(store.update, KEY, advance)):
        with pytest.raises(StoreUnavailable, match="is gone"):
            await call()
    assert not await anyio.Path(path).exists()


async def test_replaced_file(store: SQLiteStore, path: Path, tmp_path: Path) -> None:
    """A file put in place of the old one is what the store goes on with."""

    async def listed() -> list[str]:
        return [session.sid for session in await store.list("alice", Millis(NOW))]

    other = tmp_path / "other.db"
    async with using(SQLiteStore(other)) as another:
        await write(another, a_session("s8"))
    await anyio.Path(other).replace(path)
    for name in ("sessions.db-wal", "sessions.db-shm"):
        await anyio.Path(tmp_path / name).unlink()
    assert await listed() == ["s8"]
    await write(store, a_session("s9"))
    assert await listed() == ["s8", "s9"]


async def test_file_made_anew_beside_anothers_wal(store: SQLiteStore, path: Path) -> None:
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
