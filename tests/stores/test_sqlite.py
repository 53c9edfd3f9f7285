"""The SQLite store keeps the contract of every store, and what it promises of files, threads and processes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from asgi_jwt.stores.base import SessionStore
from asgi_jwt.stores.sqlite import SQLiteStore
from asgi_jwt.testing import StoreConformance

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


class TestSQLiteStore(StoreConformance):
    @pytest.fixture(autouse=True)
    def at(self, path: Path) -> None:
        self.path = path

    @asynccontextmanager
    async def open_store(self) -> AsyncIterator[SessionStore]:
        store = SQLiteStore(self.path)
        try:
            yield store
        finally:
            await store.aclose()
