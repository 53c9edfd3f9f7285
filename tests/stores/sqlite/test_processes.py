"""What the SQLite store promises of processes that are forked, that exit, and that may not write."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import pytest
from support.processes import running
from support.stores import stored, using

from asgi_jwt.stores.sqlite import SQLiteStore

PRELUDE = """
import asyncio, os, sqlite3, sys
from support.stores import KEY, advance
from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.sqlite import SQLiteStore

path = sys.argv[1]
"""


def output_of(script: str, path: Path) -> list[str]:
    """What a process running `script` prints; it ends by itself, and well."""
    with running(PRELUDE + script, str(path)) as process:
        return process.end()


def generation(path: Path) -> int:
    async def read() -> int:
        async with using(SQLiteStore(path)) as store:
            return (await stored(store)).generation

    return asyncio.run(read())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


def test_exit_without_closing(path: Path) -> None:
    """A process that exits waits neither for its store nor for a lock that another holds."""
    script = """
async def main():
    store = SQLiteStore(path, timeout=3600)
    await store.update(KEY, advance)
    await store.get(KEY)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    update = asyncio.ensure_future(store.update(KEY, advance))
    await asyncio.wait([update], timeout=0.1)
    print(update.done())
    return blocker

blocker = asyncio.run(main())
print("exits")
"""
    assert output_of(script, path) == ["False", "exits"]
    assert generation(path) == 1


FORKED = """
async def write():
    for _ in range(20):
        await store.update(KEY, advance)

async def read():
    await store.get(KEY)

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
REFUSED = "in use before this process was forked: let each process open its own"
USE = "print(asyncio.run(store.update(KEY, advance)), flush=True)"


@pytest.mark.parametrize(
    ("use", "told", "written"),
    [("", ["done, done"] * 2, 40), (USE, ["1", "done, done", f"{REFUSED}, {REFUSED}"], 21)],
    ids=["before the first use", "in use"],
)
def test_forked(path: Path, use: str, told: list[str], written: int) -> None:
    """A store made before a fork serves parent and child; one in use the parent alone, as locks survive no fork."""
    assert sorted(output_of(f"store = SQLiteStore(path, timeout=60)\n{use}\n{FORKED}", path)) == told
    assert generation(path) == written


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
def test_file_without_the_right_to_write() -> None:
    """A process that may not write the file says so, and is right again once it may."""
    script = """
async def main():
    warm = SQLiteStore(path)  # what is imported at the first use may lie where nobody else may read
    print(await warm.update(KEY, advance))
    await warm.aclose()
    os.chmod(path, 0o444)
    os.seteuid(os.getuid() or 65534)  # nothing is forbidden to root
    store = SQLiteStore(path)
    try:
        await store.update(KEY, advance)
    except StoreUnavailable as fault:
        print(fault.detail.removeprefix(path))
    os.seteuid(os.getuid())
    os.chmod(path, 0o666)
    print(await store.update(KEY, advance))
    await store.aclose()

os.umask(0)
asyncio.run(main())
"""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o701)
        first, refused, second = output_of(script, Path(directory) / "sessions.db")
    assert (first, second) == ("1", "2")
    assert "give this process the right to write it and its directory" in refused
