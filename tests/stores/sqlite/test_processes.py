"""What the SQLite store promises of processes: several on one file, killed ones, forked ones, and those that exit."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support.waiting import PATIENCE

import asgi_jwt
from asgi_jwt.sessions.rotation import open_session
from asgi_jwt.stores.records import Session
from asgi_jwt.stores.sqlite import SQLiteStore

SESSION = open_session("alice", "s1", now=0, refresh_ttl=1000, session_ttl=1000)

PRELUDE = """
import asyncio, os, sqlite3, sys
from dataclasses import replace

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.sessions.rotation import open_session
from asgi_jwt.stores.sqlite import SQLiteStore

path = sys.argv[1]
session = open_session("alice", "s1", now=0, refresh_ttl=1000, session_ttl=1000)

def advance(stored):
    stored = stored or session
    return replace(stored, generation=stored.generation + 1), stored.generation + 1
"""


def command(script: str, path: Path) -> list[str]:
    return [sys.executable, "-W", "error", "-c", PRELUDE + script, str(path)]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(asgi_jwt.__file__).parents[1])}


@contextmanager
def process(script: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process running `script`, and no longer than the block."""
    with subprocess.Popen(
        command(script, path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def output_of(script: str, path: Path) -> list[str]:
    """What a process running `script` prints; it ends by itself, and well."""
    done = subprocess.run(
        command(script, path), capture_output=True, text=True, timeout=PATIENCE, env=ENVIRONMENT, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def read_back(path: Path) -> Session:
    async def read() -> Session | None:
        store = SQLiteStore(path)
        try:
            return await store.get(SESSION.key)
        finally:
            await store.aclose()

    session = asyncio.run(read())
    assert session is not None
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return session


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


def test_four_processes_race(path: Path) -> None:
    """Four processes that make the file together and write one record lose none of each other's changes."""
    script = """
async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    store = SQLiteStore(path, timeout=60)
    results = await asyncio.gather(*[store.update(session.key, advance) for _ in range(50)])
    await store.aclose()
    print(*results)

asyncio.run(main())
"""
    with process(script, path) as a, process(script, path) as b, process(script, path) as c, process(script, path) as d:
        racers = [a, b, c, d]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        answers = []
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        for racer in racers:
            answers += racer.communicate(timeout=PATIENCE)[0].split()

    assert sorted(map(int, answers)) == list(range(1, 201))
    last = read_back(path)
    assert (last.generation, last.version) == (200, 200)


def test_killed_in_the_middle_of_updates(path: Path) -> None:
    """What a caller was told of is in the file, whenever the process dies."""
    script = """
async def main():
    store = SQLiteStore(path)
    async def forever():
        while True:
            print(await store.update(session.key, advance), flush=True)
    await asyncio.gather(*[forever() for _ in range(5)])

asyncio.run(main())
"""
    with process(script, path) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(100)]
        writer.send_signal(signal.SIGKILL)
        told += [int(line) for line in writer.stdout if line.endswith("\n")]

    assert sorted(told) == list(range(1, max(told) + 1))
    last = read_back(path)
    assert last.generation == last.version >= max(told)


def test_exit_without_closing(path: Path) -> None:
    """A process that exits waits neither for its store nor for a lock that another holds."""
    script = """
async def main():
    store = SQLiteStore(path, timeout=3600)
    await store.update(session.key, advance)
    await store.get(session.key)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    update = asyncio.ensure_future(store.update(session.key, advance))
    await asyncio.wait([update], timeout=0.1)
    print(update.done())
    return blocker

blocker = asyncio.run(main())
print("exits")
"""
    assert output_of(script, path) == ["False", "exits"]
    assert read_back(path).generation == 1


FORKED = """
async def write():
    for _ in range(20):
        await store.update(session.key, advance)

async def read():
    await store.get(session.key)

def outcome(use):
    try:
        asyncio.run(use())
    except StoreUnavailable as fault:
        return fault.detail.partition("was ")[2]
    return "done"

child = os.fork()
print(outcome(write), outcome(read), sep=", ", flush=True)
asyncio.run(store.aclose())
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
"""


def test_forked_before_the_first_use(path: Path) -> None:
    """A store that was constructed before a fork, as servers that load the app first do, serves parent and child."""
    assert output_of("store = SQLiteStore(path, timeout=60)" + FORKED, path) == ["done, done"] * 2
    assert read_back(path).generation == 40


def test_forked_in_use(path: Path) -> None:
    """SQLite's locks don't survive a fork: the child of a process that uses the file is refused, its parent is not."""
    script = "store = SQLiteStore(path)\nprint(asyncio.run(store.update(session.key, advance)), flush=True)" + FORKED
    refused = "in use before this process was forked: let each process open its own"
    assert sorted(output_of(script, path)) == ["1", "done, done", f"{refused}, {refused}"]
    assert read_back(path).generation == 21


def test_disk_quota(path: Path) -> None:
    """At the limit of a disk's room writes are unavailable, reads go on, and with room again nothing was lost."""
    script = """
import resource, signal

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write past the limit fails, as on a full disk
large = replace(session, sid="large", claims={"text": "x" * 1_000_000})

async def main():
    store = SQLiteStore(path)
    await store.update(session.key, advance)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    try:
        await store.update(large.key, lambda _: (large, None))
    except StoreUnavailable as fault:
        print(fault.detail.removeprefix(path))
    print((await store.get(session.key)).generation, await store.get(large.key))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(await store.update(session.key, advance))
    await store.update(large.key, lambda _: (large, None))
    print((await store.get(large.key)).version)
    await store.aclose()

asyncio.run(main())
"""
    fault = " can't be read or written: look at its disk (disk I/O error)"
    assert output_of(script, path) == [fault, "1 None", "2", "1"]
    assert read_back(path).generation == 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
def test_file_without_the_right_to_write() -> None:
    """A process that may not write the file says so, and is right again once it may."""
    script = """
async def main():
    warm = SQLiteStore(path)  # what is imported at the first use may lie where nobody else may read
    await warm.get(session.key)
    await warm.aclose()
    os.chmod(path, 0o444)
    os.seteuid(os.getuid() or 65534)  # nothing is forbidden to root
    store = SQLiteStore(path)
    try:
        await store.update(session.key, advance)
    except StoreUnavailable as fault:
        print(fault.detail.removeprefix(path))
    os.seteuid(os.getuid())
    os.chmod(path, 0o666)
    print(await store.update(session.key, advance))
    await store.aclose()

os.umask(0)
asyncio.run(main())
"""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o701)
        path = Path(directory) / "sessions.db"
        assert output_of("print(asyncio.run(SQLiteStore(path).update(session.key, advance)))", path) == ["1"]
        refused, written = output_of(script, path)
        assert "give this process the right to write it and its directory" in refused
        assert written == "2"
        assert read_back(path).generation == 2
