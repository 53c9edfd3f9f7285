"""Servers of a test's own, to stop, stall or break."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from valkey_servers import Cluster, Valkey, Watched


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "valkey")
    yield server
    server.stop()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    servers = Cluster(tmp_path)
    yield servers
    servers.stop()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    servers = Watched(tmp_path)
    yield servers
    servers.stop()
