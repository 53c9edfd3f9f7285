"""Agents that run as several processes with private copies of one refresh token, over five simulated days."""

import pytest

from benchmarks.evidence.agents import KINDS, simulate


@pytest.mark.parametrize("kind", KINDS)
def test_agents(kind: str) -> None:
    """Sessions that are shared on purpose, or bound to a key, log no agent out, also with GRACE=0; others all."""
    assert simulate(KINDS[kind], users=4, seed=7) == (100 if kind.startswith("any other") else 0)
