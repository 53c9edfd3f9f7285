"""What the tests of the drill share."""

from collections.abc import Iterator

import pytest
from support.deployments import Site, served_site


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A server for all tests of a module."""
    with served_site() as served:
        yield served
