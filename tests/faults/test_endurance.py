"""A short run of what `python -m faults.endurance` does for ten minutes."""

import pytest
from faults.endurance import endure

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("kind", "processes"), [("sqlite", 4), ("valkey", 2), ("valkey", 4), ("sentinel", 4), ("cluster", 2)]
)
async def test_no_kill_no_clock_and_no_outage_breaks_an_invariant(kind: str, processes: int) -> None:
    """One ROTATED a generation, nothing revived, no user logged out, beyond what a failover's replication loses."""
    world = await endure(kind, processes, 20, seed=processes)
    assert world.outcomes["done ROTATED"] > 0
    assert world.broken == []
