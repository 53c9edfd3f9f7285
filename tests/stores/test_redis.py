"""The Redis store keeps the contract of every store, on one server and on a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from asgi_jwt.stores.redis import RedisStore
from asgi_jwt.testing import StoreConformance

if TYPE_CHECKING:
    from tests.stores.conftest import Cluster, Valkey


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class TestOneServer(StoreConformance):
    @pytest.fixture(autouse=True)
    def _server(self, valkey: Valkey) -> None:
        self.url = f"{valkey.url}?prefix={uuid4().hex}:"

    @asynccontextmanager
    async def open_store(self) -> AsyncIterator[RedisStore]:
        store = RedisStore.from_url(self.url)
        try:
            yield store
        finally:
            await store.aclose()


class TestCluster(TestOneServer):
    @pytest.fixture(autouse=True)
    def _server(self, cluster: Cluster) -> None:
        self.url = f"{cluster.url}?prefix={uuid4().hex}:"
