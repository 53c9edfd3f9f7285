"""The SQLite store keeps the contract of every store, and what it promises of threads, files and faults."""

import os
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from support.sqlite_files import LIFE, a_session, advance, connect, locked, opened, write
from support.waiting import PATIENCE

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.base import SWEEP_AFTER, SWEEP_LIMIT, RevocationLog, SessionStore
from asgi_jwt.stores.records import Session
from asgi_jwt.stores.sqlite import SQLiteStore
from asgi_jwt.stores.sqlite import connection as sqlite_connection
from asgi_jwt.testing import Clock, StoreConformance

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    async with opened(path, timeout=PATIENCE) as store:
        yield store


class TestSQLiteStore(StoreConformance):
    @pytest.fixture(autouse=True)
    def at(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()

    def open_store(self) -> AbstractAsyncContextManager[SessionStore]:
        return opened(self.path, clock=self.clock)

    async def pass_time(self, store: RevocationLog, ms: int) -> bool:
        self.clock.turn(ms / 1000)
        return True


def threads_of(path: Path) -> list[str]:
    return [thread.name for thread in threading.enumerate() if str(path) in thread.name]


# The writer


async def test_concurrent_updates_share_transactions(store: SQLiteStore) -> None:
    """50 updates at once are synced to disk in at most 10 transactions."""
    await write(store, a_session())
    before = store.commits

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(advance, store, a_session().key)

    session = await store.get(a_session().key)
    assert session is not None
    assert session.generation == 50
    assert store.commits - before <= 10


async def test_reads_wait_for_no_write(path: Path) -> None:
    """While a write waits its turn, get and list answer from what is committed, and the event loop goes on."""
    key = a_session().key
    async with opened(path, timeout=60) as store:
        await write(store, a_session())
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                with locked(path):
                    tasks.start_soon(advance, store, key)
                    for _ in range(20):
                        await anyio.lowlevel.checkpoint()
                        session = await store.get(key)
                        assert session == replace(a_session(), version=1)
                        assert list(await store.list("alice", 0)) == [session]

        assert await store.get(key) == replace(a_session(), generation=1, version=2)


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
            tasks.start_soon(store.update, a_session().key, change)
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


async def test_cancelled_before_its_turn_is_not_run(store: SQLiteStore) -> None:
    """Of changes that wait for the writer, those whose callers went away are skipped; all others are committed."""
    await write(store, a_session())
    ran: list[str] = []

    async def update(name: str) -> None:
        def change(session: Session | None) -> tuple[Session | None, None]:
            ran.append(name)
            return session, None

        await store.update(a_session().key, change)

    async with anyio.create_task_group() as staying, held_up(store), anyio.create_task_group() as leaving:
        for _ in range(5):
            leaving.start_soon(update, "left")
            staying.start_soon(update, "stayed")
        await queued(store)
        leaving.cancel_scope.cancel()

    assert ran == ["stayed"] * 5


async def test_batch_of_nobody(store: SQLiteStore) -> None:
    """A batch whose callers all went away makes no transaction, and the writer serves the next one."""
    await write(store, a_session())
    before = store.commits
    async with held_up(store), anyio.create_task_group() as leaving:
        leaving.start_soon(advance, store, a_session().key)
        await queued(store)
        leaving.cancel_scope.cancel()

    await advance(store, a_session().key)
    assert store.commits == before + 2


async def test_closing_finishes_what_is_queued(path: Path) -> None:
    """Updates that were accepted are committed and answered before the store closes, and no thread is left."""
    store = SQLiteStore(path)
    await write(store, a_session())
    await store.get(a_session().key)
    assert len(threads_of(path)) == 2
    async with anyio.create_task_group() as tasks, held_up(store):
        for _ in range(5):
            tasks.start_soon(advance, store, a_session().key)
        await queued(store)
        tasks.start_soon(store.aclose)
    assert threads_of(path) == []

    async with opened(path) as again:
        session = await again.get(a_session().key)
    assert session is not None
    assert session.generation == 5


async def test_closing_in_a_cancelled_scope_closes(path: Path) -> None:
    """A server that is told to stop cancels its tasks: the store closes all the same."""
    store = SQLiteStore(path)
    await write(store, a_session())
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.aclose()
    assert threads_of(path) == []


# What stands in the file


async def test_sweep_takes_a_bounded_number_a_call(store: SQLiteStore) -> None:
    """A sweep of many dead sessions takes its limit a call, in its time, and says how many went."""
    async with anyio.create_task_group() as tasks:
        for n in range(SWEEP_LIMIT + 1):
            tasks.start_soon(write, store, a_session(f"s{n}"))

    nows = [LIFE + SWEEP_AFTER, *[LIFE + SWEEP_AFTER + 1] * 3]
    assert [await store.sweep(now) for now in nows] == [0, SWEEP_LIMIT, 1, 0]


async def test_sweep_scans_no_living_session(store: SQLiteStore, path: Path) -> None:
    """The sweep finds the dead through an index, however many live."""
    await write(store, a_session())
    with closing(connect(path)) as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT rowid FROM sessions WHERE kept_until < ? LIMIT ?", (0, 1)
        ).fetchall()
    assert "sessions_by_end" in plan[0][3]


async def test_row_does_not_grow(store: SQLiteStore, path: Path) -> None:
    """A session is one row, of the same size after 1000 writes as after 100, but for the digits of its counters."""
    await write(store, a_session())
    sizes = []
    for _ in range(2):
        async with anyio.create_task_group() as tasks:
            for _ in range(500):
                tasks.start_soon(advance, store, a_session().key)
        with closing(connect(path)) as connection:
            sizes.append(connection.execute("SELECT count(*), max(length(record)) FROM sessions").fetchone())
    assert [count for count, _ in sizes] == [1, 1]
    assert sizes[1][1] - sizes[0][1] <= 2
    assert sizes[1][1] < 400


async def test_subject_that_is_no_unicode_text(store: SQLiteStore) -> None:
    """JSON can name a lone surrogate, which SQLite's text can't hold: as a subject it is one like any other."""
    session = a_session("\udfff", "\ud800")
    await write(store, session)
    assert await store.get(session.key) == replace(session, version=1)
    assert [found.sid for found in await store.list("\ud800", 0)] == ["\udfff"]


async def test_session_without_end(store: SQLiteStore) -> None:
    """An end later than SQLite can count is kept, and swept never."""
    session = replace(a_session(), expires_at=2**70, ends_at=2**70)
    await write(store, session)
    assert await store.sweep(2**62) == 0
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
        for n in range(10):
            tasks.start_soon(attempt, n)

    assert faults == ["a claim holds a set, which JSON can't tell"] * 5
    assert [session.sid for session in await store.list("alice", 0)] == ["s0", "s2", "s4", "s6", "s8"]


async def test_damaged_record(store: SQLiteStore, path: Path) -> None:
    """A record that can't be read makes its own session unavailable, and no other."""
    for subject in ("alice", "bob"):
        await write(store, a_session(subject=subject))
    with closing(connect(path)) as connection:
        connection.execute("UPDATE sessions SET record = '{\"secret\": 1}' WHERE subject = ?", (b"alice",))

    key = a_session().key
    calls: list[Callable[[], Any]] = [
        partial(store.get, key),
        partial(store.list, key.subject, 0),
        partial(advance, store, key),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match=r"^a session's record is of another format"):
            await call()
    await advance(store, a_session(subject="bob").key)
    assert await store.get(a_session(subject="bob").key) is not None


# The file


async def test_file_is_its_owners_alone(path: Path) -> None:
    """The file and those SQLite puts next to it can be read by nobody else, whatever the umask."""
    before = os.umask(0)
    try:
        async with opened(path) as store:
            await write(store, a_session())
            files = sorted(path.parent.iterdir())
            modes = [stat.S_IMODE(file.stat().st_mode) for file in files]
    finally:
        os.umask(before)
    assert [file.name for file in files] == ["sessions.db", "sessions.db-shm", "sessions.db-wal"]
    assert modes == [0o600] * 3


async def test_nothing_is_opened_before_the_first_use(path: Path) -> None:
    """Constructing a store, or closing it unused, touches no file and begins no thread."""
    store = SQLiteStore(path)
    assert not await anyio.Path(path).exists()
    assert threads_of(path) == []
    await store.aclose()
    assert not await anyio.Path(path).exists()


async def test_relative_path_is_meant_from_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of directory between construction and first use moves no store."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore("odd name?#%41.db")
    monkeypatch.chdir(tmp_path / "elsewhere")
    await write(store, a_session())
    await store.aclose()
    assert await anyio.Path(tmp_path / "odd name?#%41.db").exists()


async def test_durable_settings(store: SQLiteStore, path: Path) -> None:
    """The writer runs in WAL mode with every commit synced."""
    await write(store, a_session())

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
        async with opened(path) as store:
            await write(store, a_session())
    assert len(pauses) == 1


@pytest.mark.anyio
async def test_log_is_read_past_all_that_waits(path: Path) -> None:
    """A read of the log waits neither for a writer nor for readers of sessions."""
    async with opened(path) as store:
        await store.get(a_session().key)
        begun, freed = threading.Event(), threading.Event()

        def stall(_: object) -> None:
            begun.set()
            assert freed.wait(30)

        async with anyio.create_task_group() as tasks:
            for thread in (store._reader, store._writer):
                tasks.start_soon(thread.call, stall)
            await anyio.to_thread.run_sync(begun.wait, 30)
            with anyio.fail_after(30):
                assert not (await store.read_revocations()).more
            assert not freed.is_set()
            freed.set()
