"""SQLite stores in a test's own file, and what else has its hands on it."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from asgi_jwt.sessions.rotation import open_session
from asgi_jwt.stores.records import Session, SessionKey
from asgi_jwt.stores.sqlite import SQLiteStore

LIFE = 1000


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path, **options)
    try:
        yield store
    finally:
        await store.aclose()


def a_session(sid: str = "s1", subject: str = "alice") -> Session:
    return open_session(subject, sid, now=0, refresh_ttl=LIFE, session_ttl=LIFE)


async def write(store: SQLiteStore, session: Session) -> None:
    await store.update(session.key, lambda _: (session, None))


async def advance(store: SQLiteStore, key: SessionKey) -> None:
    def change(session: Session | None) -> tuple[Session | None, None]:
        assert session is not None
        return replace(session, generation=session.generation + 1), None

    await store.update(key, change)


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another connection in the middle of a write: no other gets its turn until this one rolls back."""
    with closing(connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        if connection.in_transaction:
            connection.execute("ROLLBACK")
