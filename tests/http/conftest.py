"""The stores that AuthApp is tested on."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.app import Service, WatchedStore
from support.valkey import Valkey
from support.waiting import PATIENCE

from asgi_jwt import open_store


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that all tests share, each under a prefix of its own."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server.url
    server.stop()


@pytest.fixture
def store_kind() -> str:
    return "memory"


@pytest.fixture
async def store(
    store_kind: str, tmp_path: Path, request: pytest.FixtureRequest, anyio_backend: str
) -> AsyncIterator[WatchedStore]:
    """An empty store of the kind that the test is parametrised with; memory, else."""
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/sessions.db"}.get(store_kind)
    if url is None:
        url = f"{request.getfixturevalue('valkey_url')}?prefix={secrets.token_hex(4)}&timeout={PATIENCE:g}"
    opened = WatchedStore(open_store(url))
    yield opened
    await opened.aclose()


@pytest.fixture
def service(store: WatchedStore) -> Service:
    return Service(store)
