"""Under more load than a store bears, callers are served in turn or refused at once, before a signature."""

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.sessions.gate import AdmissionGate
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio


async def test_more_than_the_places_wait_their_turn() -> None:
    """No more callers than there are places are at work at once, and all are served."""
    gate, at_work, most, served = AdmissionGate(places=3, max_wait=30), 0, 0, 0

    async def work() -> None:
        nonlocal at_work, most, served
        entered = await gate.enter()
        at_work += 1
        most = max(most, at_work)
        await anyio.lowlevel.checkpoint()
        at_work -= 1
        served += 1
        gate.leave(entered)

    async with anyio.create_task_group() as callers:
        for _ in range(20):
            callers.start_soon(work)
    assert (most, served) == (3, 20)


async def test_caller_whose_wait_would_be_long_is_refused_at_once() -> None:
    """When work takes 1 s, one place serves one more caller within 1 s, and the next is refused without a wait."""
    clock = Clock()
    gate = AdmissionGate(places=1, max_wait=1.0, clock=clock)
    for _ in range(200):
        entered = await gate.enter()
        clock.turn(1)
        gate.leave(entered)
    entered = await gate.enter()
    assert gate.estimated_wait == pytest.approx(1, abs=0.01)
    async with anyio.create_task_group() as callers:
        callers.start_soon(gate.enter)
        await wait_all_tasks_blocked()
        assert gate.estimated_wait == pytest.approx(2, abs=0.01)
        with pytest.raises(StoreUnavailable, match="overloaded: 1 callers are at work"):
            await gate.enter()
        gate.leave(entered)


async def test_caller_who_goes_away_takes_no_place() -> None:
    """Callers who are cancelled while they wait leave all places to others."""
    gate = AdmissionGate(places=1, max_wait=30)
    entered = await gate.enter()
    async with anyio.create_task_group() as callers:
        for _ in range(5):
            callers.start_soon(gate.enter)
        await wait_all_tasks_blocked()
        callers.cancel_scope.cancel()
    gate.leave(entered)
    gate.leave(await gate.enter())
