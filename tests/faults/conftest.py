"""Servers of a test's own, to stop, stall or break."""

import pytest
from support.valkey import Cluster, Valkey


@pytest.fixture
def valkey(own_valkey: Valkey) -> Valkey:
    return own_valkey


@pytest.fixture
def cluster(own_cluster: Cluster) -> Cluster:
    return own_cluster
