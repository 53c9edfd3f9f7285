"""How a store is named by its URL."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from support.tables import tables_of

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.records import SessionKey
from asgi_jwt.stores.sqlite import SQLiteStore
from asgi_jwt.stores.urls import REDIS_SCHEMES, SCHEMES, open_store


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
    assert await store.get(SessionKey("alice", "s1")) is None
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
    tables_of(__file__)["no_such_store"],
)
def test_no_such_store(url: str, fault: str) -> None:
    """A URL that names no store says what would, and shows nothing of what may be a password."""
    with pytest.raises(ConfigurationError, match=fault) as raised:
        open_store(url)
    assert "secret" not in str(raised.value)


def test_scheme_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package adds its own scheme, and its opener is handed the URL as it was given."""
    opened, asked = MemoryStore(), list[str]()

    def open_mine(url: str) -> MemoryStore:
        asked.append(url)
        return opened

    monkeypatch.setitem(SCHEMES, "mine", open_mine)
    assert open_store("MINE://Host/x") is opened
    assert asked == ["MINE://Host/x"]


def test_drivers_are_imported_late() -> None:
    """Neither the registry nor the memory store imports a driver."""
    script = (
        "import sys; from asgi_jwt.stores.urls import open_store; open_store('memory://');"
        "assert not {'redis', 'sqlite3'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
