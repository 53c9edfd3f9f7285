"""The servers that the Redis store is tested on."""

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkey_servers import Cluster, Front, Valkey, Watched


@pytest.fixture
def front() -> type[Front]:
    return Front


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server that all tests share: each keeps to a prefix of its own, and leaves it running as it was."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own, to stop, stall or fill."""
    server = Valkey(tmp_path / "valkey")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    servers = Cluster(tmp_path_factory.mktemp("cluster"))
    yield servers
    servers.stop()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of the test's own, to break."""
    servers = Cluster(tmp_path)
    yield servers
    servers.stop()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    servers = Watched(tmp_path)
    yield servers
    servers.stop()


@pytest.fixture(autouse=True)
def _connections_of_broken_servers(request: pytest.FixtureRequest) -> Iterator[None]:
    """redis-py leaves connections open whose server has died or whose event loop has ended: they go here, and unheard.

    Else a later test would be blamed for them, whenever they happen to be collected.
    """
    yield
    if not {"cluster", "own_cluster", "watched"}.isdisjoint(request.fixturenames):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
