"""The SQLite store keeps the contract of every store, and what it promises of threads and of what is in its file."""

import os
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from support.sqlite_files import ask, locked
from support.stores import KEY, NOW, a_session, advance, stored, using, write
from support.waiting import PATIENCE

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.base import RevocationLog, SessionStore
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Session, SessionKey
from asgi_jwt.stores.sqlite import SQLiteStore
from asgi_jwt.stores.sqlite import connection as sqlite_connection
from asgi_jwt.testing import Clock, StoreConformance

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    """A store with alice's session."""
    async with using(SQLiteStore(path, timeout=PATIENCE)) as store:
        await write(store, a_session())
        yield store


class TestSQLiteStore(StoreConformance):
    @pytest.fixture(autouse=True)
    def at(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()

    def open_store(self) -> AbstractAsyncContextManager[SessionStore]:
        return using(SQLiteStore(self.path, clock=self.clock))

    async def pass_time(self, store: RevocationLog, ms: int) -> bool:
        self.clock.turn(ms / 1000)
        return True


def threads_of(path: Path) -> list[str]:
    return [thread.name for thread in threading.enumerate() if str(path) in thread.name]


# The writer


async def test_reads_wait_for_no_write(store: SQLiteStore, path: Path) -> None:
    """While a write waits its turn, get and list answer from what is committed, and the event loop goes on."""
    before = await stored(store)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            with locked(path):
                tasks.start_soon(store.update, KEY, advance)
                for _ in range(20):
                    await anyio.lowlevel.checkpoint()
                    assert await store.get(KEY) == before
                    assert list(await store.list("alice", Millis(NOW))) == [before]
    assert await store.get(KEY) == replace(before, generation=1, version=2)


@asynccontextmanager
async def held_up(store: SQLiteStore) -> AsyncIterator[None]:
    """Within it the writer is in the middle of a change, so that whatever comes has to queue up."""
    entered, gate = threading.Event(), threading.Event()

    def change(session: Session | None) -> tuple[Session | None, None]:
        entered.set()
        gate.wait()
        return session, None

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.update, KEY, change)
            try:
                while not entered.is_set():
                    await anyio.lowlevel.checkpoint()
                yield
            finally:
                gate.set()


async def queued(store: SQLiteStore) -> None:
    """Until the writer has what tasks asked for at one turn of the event loop."""
    while store._writer._queue.empty():
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("others", [0, 5])
async def test_cancelled_before_its_turn_is_not_run(store: SQLiteStore, others: int) -> None:
    """Changes whose callers went away while they waited are skipped, all others are committed; a batch of skipped
    changes makes no transaction."""
    ran, before = [], store.commits

    async def update(name: str) -> None:
        def change(session: Session | None) -> tuple[Session | None, None]:
            ran.append(name)
            return session, None

        await store.update(KEY, change)

    async with anyio.create_task_group() as staying, held_up(store), anyio.create_task_group() as leaving:
        for n in range(5):
            leaving.start_soon(update, "left")
            if n < others:
                staying.start_soon(update, "stayed")
        await queued(store)
        leaving.cancel_scope.cancel()
    assert ran == ["stayed"] * others
    assert store.commits - before == 1 + (others > 0)
    assert await store.update(KEY, advance) == 1


async def test_closing_finishes_what_is_queued(store: SQLiteStore, path: Path) -> None:
    """Updates that were accepted are committed and answered before the store closes, and no thread is left."""
    await store.get(KEY)
    assert len(threads_of(path)) == 2
    async with anyio.create_task_group() as tasks, held_up(store):
        for _ in range(5):
            tasks.start_soon(store.update, KEY, advance)
        await queued(store)
        tasks.start_soon(store.aclose)
    assert threads_of(path) == []
    async with using(SQLiteStore(path)) as again:
        assert (await stored(again)).generation == 5


async def test_closing_in_a_cancelled_scope_closes(store: SQLiteStore, path: Path) -> None:
    """A server that is told to stop cancels its tasks: the store closes all the same."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.aclose()
    assert threads_of(path) == []


# What stands in the file


async def test_sweep_scans_no_living_session(store: SQLiteStore, path: Path) -> None:
    """The sweep finds the dead through an index, however many live."""
    query = "EXPLAIN QUERY PLAN SELECT rowid FROM sessions WHERE kept_until < ? LIMIT ?"
    assert "sessions_by_end" in ask(path, query, 0, 1, column=3)


async def test_row_does_not_grow(store: SQLiteStore, path: Path) -> None:
    """A session is one row, of the same size after 1000 writes as after 500, but for the digits of its counters."""
    sizes = []
    for _ in range(2):
        async with anyio.create_task_group() as tasks:
            for _ in range(500):
                tasks.start_soon(store.update, KEY, advance)
        sizes.append([ask(path, "SELECT count(*), max(length(record)) FROM sessions", column=n) for n in (0, 1)])
    (rows, first), (rows_later, last) = sizes
    assert (rows, rows_later) == (1, 1)
    assert last - first <= 2
    assert last < 400


async def test_session_without_end(store: SQLiteStore) -> None:
    """An end later than SQLite can count is kept, and swept never."""
    session = replace(a_session("s2"), expires_at=Millis(2**70), ends_at=Millis(2**70))
    await write(store, session)
    await store.sweep(Millis(2**62))
    assert await store.get(session.key) == replace(session, version=1)


async def test_claims_that_are_no_json(store: SQLiteStore) -> None:
    """A record that can't be kept is its caller's fault, TypeError, and no other's in the same transaction."""
    faults: list[str] = []

    async def attempt(n: int) -> None:
        try:
            await write(store, replace(a_session(f"s{n}"), claims={"set": {1, 2}} if n % 2 else {}))
        except TypeError as error:
            faults.append(str(error))

    async with anyio.create_task_group() as tasks:
        for n in range(2, 12):
            tasks.start_soon(attempt, n)
    assert faults == ["a claim holds a set, which JSON can't express"] * 5
    assert {session.sid for session in await store.list("alice", Millis(NOW))} == {
        "s1",
        *(f"s{n}" for n in range(2, 12, 2)),
    }


async def test_damaged_record(store: SQLiteStore, path: Path) -> None:
    """A record that can't be read makes its own session unavailable, and no other."""
    await write(store, a_session(subject="bob"))
    ask(path, "UPDATE sessions SET record = '{\"secret\": 1}' WHERE subject = ?", b"alice")
    calls: list[Callable[[], Any]] = [
        partial(store.get, KEY),
        partial(store.list, "alice", Millis(NOW)),
        partial(store.update, KEY, advance),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match=r"^a session's record is of another format"):
            await call()
    assert await store.update(SessionKey("bob", "s1"), advance) == 1


# The file


async def test_file_is_its_owners_alone(path: Path) -> None:
    """The file and those SQLite puts next to it can be read by nobody else, whatever the umask."""
    before = os.umask(0)
    try:
        async with using(SQLiteStore(path)) as store:
            await write(store, a_session())
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("sessions.db", "sessions.db-shm", "sessions.db-wal"), 0o600)


async def test_nothing_is_opened_before_the_first_use(path: Path) -> None:
    """Constructing a store, or closing it unused, touches no file and begins no thread."""
    async with using(SQLiteStore(path)):
        assert threads_of(path) == []
    assert not await anyio.Path(path).exists()


async def test_relative_path_is_meant_from_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of directory between construction and first use moves no store."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    async with using(SQLiteStore("odd name?#%41.db")) as store:
        monkeypatch.chdir(tmp_path / "elsewhere")
        await write(store, a_session())
    assert await anyio.Path(tmp_path / "odd name?#%41.db").exists()


async def test_durable_settings(store: SQLiteStore) -> None:
    """The writer runs in WAL mode with every commit synced."""

    def settings(connection: sqlite3.Connection) -> list[Any]:
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]

    assert await store._writer.call(settings) == ["wal", 2]


async def test_first_writer_of_all_waits_for_another(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not yet in WAL mode while another connection writes to it is waited for."""
    pauses: list[float] = []
    with locked(path) as other:

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            other.execute("ROLLBACK")

        monkeypatch.setattr(sqlite_connection, "sleep", pause)
        async with using(SQLiteStore(path)) as store:
            await write(store, a_session())
    assert len(pauses) == 1


async def test_log_is_read_past_all_that_waits(store: SQLiteStore) -> None:
    """A read of the log waits neither for a writer nor for readers of sessions."""
    await store.get(KEY)
    begun, freed = threading.Event(), threading.Event()

    def stall(_: object) -> None:
        begun.set()
        assert freed.wait(PATIENCE)

    async with anyio.create_task_group() as tasks:
        for thread in (store._reader, store._writer):
            tasks.start_soon(thread.call, stall)
        await anyio.to_thread.run_sync(begun.wait, PATIENCE)
        with anyio.fail_after(30):
            assert not (await store.read_revocations()).more
        assert not freed.is_set()
        freed.set()
