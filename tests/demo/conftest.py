"""What the tests of the demo share."""

from collections.abc import Iterator

import pytest
from demo_service import Demo, demo_in_process


@pytest.fixture
def demo() -> Iterator[Demo]:
    with demo_in_process() as demo:
        yield demo
