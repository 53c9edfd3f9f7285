"""AuthApp on an SQLite file that can't be used: 503 while it lasts, the cookie kept, nothing lost."""

import resource
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.logins import (
    NOW,
    Browser,
    an_app,
    an_auth,
    assert_logged_in,
    assert_unavailable,
    browsing,
    logged_in,
    session_of,
)

from asgi_jwt import Auth, ConfigurationError, Settings
from asgi_jwt.stores.sqlite import SQLiteStore
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
async def auth(path: Path) -> AsyncIterator[Auth]:
    store = SQLiteStore(path, timeout=0.05)
    yield an_auth(store, Clock(NOW))
    await store.aclose()


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


Fault = Callable[[Path], AbstractContextManager[None]]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process is in the middle of a transaction."""
    with closing(connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def newer(path: Path) -> Iterator[None]:
    """A newer release has changed the schema, and taken the change back."""
    with closing(connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute(f"PRAGMA user_version = {version + 1}")
        yield
        connection.execute(f"PRAGMA user_version = {version}")


@contextmanager
def put_aside(path: Path) -> Iterator[None]:
    """The file is on a disk that went away."""
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else SQLite reads the WAL's pages in its stead
    aside = path.with_suffix(".aside")
    path.rename(aside)
    yield
    aside.replace(path)


@contextmanager
def garbage(path: Path) -> Iterator[None]:
    """Something else was written over the file; it comes back from a backup."""
    with put_aside(path):
        path.write_bytes(b"garbage " * 1000)
        yield


@contextmanager
def corrupt(path: Path) -> Iterator[None]:
    """The file's pages, but for the first, are damaged; it comes back from a backup."""
    with put_aside(path):
        sound = path.with_suffix(".aside").read_bytes()
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


@pytest.mark.parametrize("fault", [locked, newer, put_aside, garbage, corrupt, full])
async def test_file_out_of_use(auth: Auth, path: Path, fault: Fault) -> None:
    """While the file can't be used writes are unavailable; then the app goes on, with every session as it was."""
    async with logged_in(auth, "alice") as alice, logged_in(auth, "bob") as bob:
        before = await session_of(auth, alice.cookie)
        with fault(path):
            for _ in range(2):
                for route in ("/refresh", "/logout", "/logout-all"):
                    assert_unavailable(await alice.post(route))
                assert_unavailable(await bob.login("bob"))
        assert await session_of(auth, alice.cookie) == before
        await assert_logged_in(auth, alice)
        await assert_logged_in(auth, bob)


async def shown(browser: Browser, access_token: str) -> int:
    """How many devices the user sees."""
    answer = await browser.client.get("/sessions", headers={"Authorization": f"Bearer {access_token}"})
    assert answer.status_code == 200
    return len(answer.json()["sessions"])


@pytest.mark.parametrize("fault", [locked, full])
async def test_reads_go_on(auth: Auth, path: Path, fault: Fault) -> None:
    """While nothing can be written, users still see their devices."""
    async with logged_in(auth) as alice:
        access_token = (await alice.refresh()).json()["access_token"]
        assert await shown(alice, access_token) == 1
        with fault(path):
            assert await shown(alice, access_token) == 1
            assert_unavailable(await alice.refresh())


@contextmanager
def read_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within it, connections that the store opens may not write."""
    original = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = original(*arguments, **options)
        connection.execute("PRAGMA query_only = ON")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr("sqlite3.connect", connect)
        yield


async def test_read_only_file(auth: Auth, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right to write nobody is logged in or out, and with it the app goes on."""
    async with logged_in(auth) as alice:
        cookie = alice.cookie
    before = await session_of(auth, cookie)
    store = SQLiteStore(path)
    later = an_auth(store, Clock(NOW + 60))
    async with browsing(an_app(later), cookie) as alice:
        with read_only(monkeypatch):
            for route in ("/refresh", "/logout", "/refresh"):
                assert_unavailable(await alice.post(route))
            assert_unavailable(await alice.login("bob"))
        assert (alice.cookie, await session_of(later, cookie)) == (cookie, before)
        await assert_logged_in(later, alice)
    await store.aclose()


def test_no_place_for_a_file(tmp_path: Path) -> None:
    """A store that can't be is told of when the app is built, not at the first login."""
    settings = Settings(
        issuer="https://issuer.example",
        audience="api",
        secret="a" * 32,
        refresh_secret="r" * 32,
        store=f"sqlite:///{tmp_path / 'missing' / 'sessions.db'}",
    )
    with pytest.raises(ConfigurationError, match="missing is not there, or closed: create it"):
        an_app(Auth(settings))
