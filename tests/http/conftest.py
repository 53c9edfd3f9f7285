"""The stores that AuthApp is tested on."""

from collections.abc import AsyncIterator

import pytest
from support.app import Service, WatchedStore
from support.stores import url_of, using

from asgi_jwt import open_store


@pytest.fixture
def store_kind() -> str:
    return "memory"


@pytest.fixture
async def store(store_kind: str, request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[WatchedStore]:
    """An empty store of the kind that the test is parametrised with; memory, else."""
    async with using(open_store(url_of(store_kind, request))) as opened:
        yield WatchedStore(opened)


@pytest.fixture
def service(store: WatchedStore) -> Service:
    return Service(store)
