"""Files of SQLite stores, connections of others to them, and what may befall them."""

import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def ask(path: Path, query: str, *parameters: object, column: int = 0) -> Any:
    """A column of the first row that a query gives."""
    with closing(connect(path)) as connection:
        found = connection.execute(query, parameters).fetchone()
        return found and found[column]


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another connection in the middle of a write: no other gets its turn until this one rolls back."""
    with closing(connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def newer(path: Path) -> Iterator[None]:
    """A newer release has changed the schema, and takes the change back."""
    version = ask(path, "PRAGMA user_version")
    ask(path, f"PRAGMA user_version = {version + 1}")
    yield
    ask(path, f"PRAGMA user_version = {version}")


@contextmanager
def put_aside(path: Path) -> Iterator[Path]:
    """The file is on a disk that goes away and comes back: where it is meanwhile."""
    ask(path, "PRAGMA wal_checkpoint(TRUNCATE)")  # else SQLite reads the WAL's pages in its stead
    aside = path.with_suffix(".aside")
    path.rename(aside)
    yield aside
    aside.replace(path)


@contextmanager
def garbage(path: Path) -> Iterator[None]:
    """Something else is written over the file; it comes back from a backup."""
    with put_aside(path):
        path.write_bytes(b"garbage " * 1000)
        yield


@contextmanager
def corrupt(path: Path) -> Iterator[None]:
    """The file's pages, but for the first, are damaged; it comes back from a backup."""
    with put_aside(path) as aside:
        sound = aside.read_bytes()
        path.write_bytes(sound[:4096] + b"\xff" * (len(sound) - 4096))
        yield


@contextmanager
def full(path: Path) -> Iterator[None]:
    """The disk has room for what is in the WAL, and for nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name(f"{path.name}-wal").stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def under(pragma: str, path: Path) -> Iterator[None]:
    """Whatever connection a store opens is under `pragma` from the beginning."""
    original = sqlite3.connect

    def limited(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = original(*arguments, **options)
        connection.execute(f"PRAGMA {pragma}")
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sqlite3.connect", limited)
        yield


class Fault(NamedTuple):
    """What may befall a file, how a store tells of it, and whether its sessions can be read meanwhile.

    `opening`: it befalls stores that open the file while it lasts.
    """

    begins: Callable[[Path], AbstractContextManager[object]]
    told: str
    reads: bool = False
    opening: bool = False


FAULTS = {
    "locked": Fault(locked, r"is locked by another connection \(database is locked\)$", reads=True),
    "newer": Fault(newer, "upgrade asgi_jwt", reads=True),
    "gone": Fault(put_aside, "is gone: put it back, or restart"),
    "garbage": Fault(garbage, "is no SQLite database: restore it from a backup"),
    "corrupt": Fault(corrupt, "is damaged: restore it from a backup"),
    "full disk": Fault(full, r"can't be read or written: look at its disk \(disk I/O error\)$", reads=True),
    "no room": Fault(
        partial(under, "max_page_count = 1"), "can't grow: make room on its disk", reads=True, opening=True
    ),
    "read-only": Fault(
        partial(under, "query_only = ON"), "can't be written: give this process the right", reads=True, opening=True
    ),
}

every_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
