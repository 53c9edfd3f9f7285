"""How a store is named by its URL, and how a change becomes the next version."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.stores.base import REDIS_SCHEMES, next_version, open_store
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.records import Session, SessionKey
from asgi_jwt.stores.sqlite import SQLiteStore

SESSION = Session(sid="s1", subject="alice", created_at=1, used_at=2, expires_at=3, ends_at=4, version=7)


def test_first_version_is_1() -> None:
    """Where nothing is stored, versions begin at 1, whatever the change says."""
    assert next_version(SESSION.key, None, SESSION) == replace(SESSION, version=1)


def test_next_version_is_one_above_the_stored() -> None:
    """The stored version counts, not the changed one's."""
    assert next_version(SESSION.key, replace(SESSION, version=3), SESSION) == replace(SESSION, version=4)


@pytest.mark.parametrize("key", [SessionKey("alice", "s2"), SessionKey("bob", "s1")])
def test_record_under_another_key(key: SessionKey) -> None:
    """A change that would file a record where nothing finds it is refused."""
    with pytest.raises(ValueError, match="must keep the subject and sid"):
        next_version(key, None, SESSION)


@pytest.mark.parametrize("url", ["memory://", "MEMORY://"])
def test_memory(url: str) -> None:
    """`memory://` is a new memory store each time."""
    assert isinstance(open_store(url), MemoryStore)
    assert open_store(url) is not open_store(url)


@pytest.mark.anyio
async def test_sqlite_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes: a path from where the process stands, taken as it is written."""
    (tmp_path / "var").mkdir()
    monkeypatch.chdir(tmp_path)
    await used(open_store("sqlite:///var/my%20store.db"))
    assert os.listdir(tmp_path / "var") == ["my%20store.db"]


@pytest.mark.anyio
async def test_sqlite_absolute(tmp_path: Path) -> None:
    """Four slashes: an absolute path."""
    await used(open_store(f"sqlite:///{tmp_path}/store.db"))
    assert os.listdir(tmp_path) == ["store.db"]


async def used(store: object) -> None:
    assert isinstance(store, SQLiteStore)
    assert await store.get(SESSION.key) is None
    await store.aclose()


@pytest.mark.parametrize("scheme", REDIS_SCHEMES)
def test_redis(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each form of a Redis URL goes to the Redis store, whole; its driver is imported for that alone."""
    asked: list[str] = []
    opened = MemoryStore()

    class RedisStore:
        @classmethod
        def from_url(cls, url: str) -> MemoryStore:
            asked.append(url)
            return opened

    module = ModuleType("asgi_jwt.stores.redis")
    module.__dict__["RedisStore"] = RedisStore
    monkeypatch.setitem(sys.modules, module.__name__, module)
    url = f"{scheme}://user:secret@localhost:6379/0"

    assert open_store(url) is opened
    assert asked == [url]


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("postgres://user:secret@localhost/db", "a store of the scheme 'postgres' does not exist: use one of memory"),
        ("user:secret@localhost", "with its scheme: as sqlite:///asgi-jwt.db or redis://host"),
        ("user:secret.db", "with its scheme: as sqlite"),
        ("secret@x.db", "with its scheme: as sqlite"),
        ("redis:secret@localhost", "with its scheme: as sqlite"),
        ("", "with its scheme: as sqlite"),
        ("x.db", r"with its scheme: did you mean sqlite:///x\.db\?"),
        ("/var/lib/my-app/x.sqlite3", r"did you mean sqlite:////var/lib/my-app/x\.sqlite3\?"),
        ("memory://secret", "takes nothing behind it"),
        ("sqlite://", "needs a file"),
        ("sqlite:///", "needs a file"),
        ("sqlite://secret/path", "needs a file: sqlite:///relative/path or sqlite:////absolute/path"),
        ("sqlite:///:memory:", r"else memory://\)"),
        ("sqlite:///nowhere/store.db", "is not there"),
    ],
)
def test_no_such_store(url: str, fault: str) -> None:
    """A URL that names no store says what would, and shows nothing of what may be a password."""
    with pytest.raises(ConfigurationError, match=fault) as raised:
        open_store(url)
    assert "secret" not in str(raised.value)
