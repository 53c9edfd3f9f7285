"""The stores that tests run on, each by its URL, and the sessions that they put there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar
from uuid import uuid4

import pytest
from support.waiting import PATIENCE

from asgi_jwt.sessions.rotation import open_session
from asgi_jwt.stores.base import SessionStore
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Session, SessionKey

StoreT = TypeVar("StoreT", bound=SessionStore)

NOW = Millis(1_700_000_000_000)
HOUR = Millis(3_600_000)
DAY = Millis(24 * HOUR)
KEY = SessionKey("alice", "s1")

SHARED = ("sqlite", "valkey", "postgres")
"""The stores that several processes can share."""

shared_store = pytest.mark.parametrize("kind", SHARED)


def url_of(kind: str, request: pytest.FixtureRequest) -> str:
    """The URL of an empty store of this kind."""
    if kind == "memory":
        return "memory://"
    if kind == "sqlite":
        return f"sqlite:///{request.getfixturevalue('tmp_path')}/sessions.db"
    if kind == "postgres":
        url: str = request.getfixturevalue("postgres").empty()
        return url
    return f"{request.getfixturevalue('valkey').url}?prefix={uuid4().hex}:&timeout={PATIENCE:g}"


@asynccontextmanager
async def using(store: StoreT) -> AsyncIterator[StoreT]:
    """The store, which closes at the end."""
    try:
        yield store
    finally:
        await store.aclose()


def a_session(sid: str = KEY.sid, subject: str = KEY.subject, *, now: int = NOW, life: int = DAY) -> Session:
    """A session opened at `now`, which ends when it was not used for `life`, and after 30 days (ms)."""
    return open_session(subject, sid, now=Millis(now), refresh_ttl=Millis(life), session_ttl=Millis(30 * DAY))


async def write(store: SessionStore, session: Session) -> None:
    await store.update(session.key, lambda _: (session, None))


def advance(stored: Session | None) -> tuple[Session, int]:
    """A change that begins the next generation, of a new session where there is none."""
    session = stored or a_session()
    return replace(session, generation=session.generation + 1), session.generation + 1


async def stored(store: SessionStore, key: SessionKey = KEY) -> Session:
    """The record, which has to be there."""
    session = await store.get(key)
    assert session is not None
    return session
