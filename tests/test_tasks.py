"""Work that outlives the request which began it."""

import contextvars
import logging
import threading

import anyio
import pytest
from anyio import to_thread, wait_all_tasks_blocked

from asgi_jwt.tasks import SingleFlight, in_slices, in_thread, start

pytestmark = pytest.mark.anyio


class Work:
    """Work that counts its beginnings, and ends when it is let go."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.begun = 0
        self.gate = anyio.Event()
        self._fault = fault

    async def __call__(self) -> None:
        self.begun += 1
        await self.gate.wait()
        if self._fault is not None:
            raise self._fault


async def test_any_number_wait_for_one_piece_of_work() -> None:
    """However many start it and wait, the work is done once, and all go on when it is done."""
    work = Work()
    flight = SingleFlight(work)
    landed = 0

    async def one() -> None:
        nonlocal landed
        flight.start()
        await flight.wait()
        landed += 1

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(one)
        await wait_all_tasks_blocked()
        assert (work.begun, flight.waiting, flight.under_way, landed) == (1, 20, True, 0)
        work.gate.set()
    assert (work.begun, flight.waiting, flight.under_way, landed) == (1, 0, False, 20)


async def test_after_it_is_done_it_can_be_begun_again() -> None:
    """A second start after the end is a second piece of work; waiting for nothing ends at once."""
    work = Work()
    work.gate.set()
    flight = SingleFlight(work)
    await flight.wait()
    assert work.begun == 0
    for times in (1, 2):
        flight.start()
        await flight.wait()
        assert work.begun == times


async def test_a_cancelled_waiter_harms_nobody() -> None:
    """Who began the work and is cancelled leaves it to the others."""
    work = Work()
    flight = SingleFlight(work)
    landed = 0

    async def one() -> None:
        nonlocal landed
        flight.start()
        await flight.wait()
        landed += 1

    async with anyio.create_task_group() as staying:
        async with anyio.create_task_group() as leaving:
            leaving.start_soon(one)
            await wait_all_tasks_blocked()
            staying.start_soon(one)
            await wait_all_tasks_blocked()
            assert flight.waiting == 2
            leaving.cancel_scope.cancel()
        assert (flight.waiting, flight.under_way) == (1, True)
        work.gate.set()
    assert (work.begun, landed) == (1, 1)


async def test_a_failure_is_logged_and_frees_all(caplog: pytest.LogCaptureFixture) -> None:
    """Work that raises ends like any other for those who wait, and its trace is in the log."""
    work = Work(LookupError("no such thing"))
    work.gate.set()
    flight = SingleFlight(work)
    flight.start()
    await flight.wait()
    await wait_all_tasks_blocked()
    assert not flight.under_way
    (record,) = caplog.records
    assert (record.name, record.levelno, record.getMessage()) == ("asgi_jwt", logging.ERROR, "background work failed")
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError


async def test_work_sees_nothing_of_the_request_that_began_it() -> None:
    """Whatever the first request has in its context variables stays there."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
    variable.set("a secret of the first request")
    seen: list[str] = []

    async def look() -> None:
        seen.append(variable.get())

    start(look)
    await wait_all_tasks_blocked()
    assert seen == ["nothing"]


def test_a_flight_of_another_event_loop_is_over(anyio_backend: str) -> None:
    """Work that ended with its event loop is begun anew in the next one, and nobody waits for what is gone."""
    work: list[Work] = []
    flight = SingleFlight(lambda: work[-1]())

    async def leave() -> None:
        work.append(Work())
        flight.start()
        await wait_all_tasks_blocked()
        assert flight.under_way

    async def come() -> None:
        await leave()
        work[-1].gate.set()
        await flight.wait()

    anyio.run(leave, backend=anyio_backend)
    anyio.run(come, backend=anyio_backend)
    assert [each.begun for each in work] == [1, 1]


async def test_two_event_loops_at_once_are_kept_apart() -> None:
    """Another thread's event loop has a flight of its own, and neither its start nor its end touches the first's."""
    work: list[Work] = []
    flight = SingleFlight(lambda: work[-1]())
    landed: list[bool] = []

    async def wait() -> None:
        await flight.wait()
        landed.append(True)

    async def elsewhere() -> bool:
        await flight.wait()
        before = flight.under_way
        work.append(Work())
        flight.start()
        await wait_all_tasks_blocked()
        return before

    async with anyio.create_task_group() as group:
        work.append(Work())
        flight.start()
        group.start_soon(wait)
        await wait_all_tasks_blocked()
        assert await to_thread.run_sync(lambda: anyio.run(elsewhere)) is False
        assert (landed, flight.waiting) == ([], 1)
        work[0].gate.set()
    assert landed == [True]
    assert [each.begun for each in work] == [1, 1]


async def test_a_thread_of_its_own() -> None:
    """However busy the host's worker threads are, `in_thread` has one, and gives back what was returned or raised."""
    busy = threading.Event()
    limiter = to_thread.current_default_thread_limiter()
    async with anyio.create_task_group() as group:
        for _ in range(int(limiter.total_tokens)):
            group.start_soon(to_thread.run_sync, busy.wait, 20)
        await wait_all_tasks_blocked()
        assert limiter.available_tokens == 0
        try:
            assert await in_thread(threading.get_ident) != threading.get_ident()
            with pytest.raises(ZeroDivisionError):
                await in_thread(lambda: 1 / 0)
        finally:
            busy.set()


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (3, [3]), (7, [3, 3, 1])])
async def test_slices_leave_the_loop_to_others(count: int, sizes: list[int]) -> None:
    """Between two slices other tasks have their turn: one for each slice but the last."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(others)
        await anyio.lowlevel.checkpoint()
        before = turns
        assert [len(some) async for some in in_slices(range(count), 3)] == sizes
        assert turns > before or len(sizes) < 2
        group.cancel_scope.cancel()
