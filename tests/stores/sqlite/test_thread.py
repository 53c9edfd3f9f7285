"""A batch thread answers every caller, whatever becomes of the work, of the loop and of the process."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trio
from anyio.abc import TaskGroup
from support.waiting import PATIENCE

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.sqlite.thread import BATCH_LIMIT, BatchThread, Call, Wakings, _outcome, _wake

NAME = "the batch thread under test"


class Recorder:
    """The batches of these tests: they note the thread that made them, each batch's size, and that they were closed."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.batches: list[int] = []
        self.closed: list[int] = []
        self.thread: BatchThread[Recorder] = BatchThread(NAME, self.make)

    def make(self) -> "Recorder":
        self.made.append(threading.get_ident())
        return self

    def run(self, calls: Sequence[Call["Recorder", Any]]) -> None:
        self.batches.append(len(calls))
        for call in calls:
            call.future.set_result(call.work(self))

    def close(self) -> None:
        self.closed.append(threading.get_ident())

    @asynccontextmanager
    async def held_up(self, gate: threading.Event) -> AsyncIterator[TaskGroup]:
        """Within it the thread is at work until `gate` is set, and others may call."""
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.thread.call, lambda _: gate.wait())
                while not self.batches:
                    await anyio.lowlevel.checkpoint()
                yield tasks

    async def queued(self, parts: int) -> None:
        while self.thread._queue.qsize() < parts:
            await anyio.lowlevel.checkpoint()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


def test_loops_one_after_another(recorder: Recorder) -> None:
    """One thread does the work for event loops of either kind, in turn, and is closed from the last: its batches are
    made, used and closed in the thread."""

    async def use() -> tuple[str, int, object]:
        return await recorder.thread.call(lambda it: (threading.current_thread().name, threading.get_ident(), it))

    used = [asyncio.run(use()), trio.run(use), asyncio.run(use())]
    assert [(name, it) for name, _, it in used] == [(NAME, recorder)] * 3
    trio.run(recorder.thread.aclose)
    (thread,) = {thread for _, thread, _ in used}
    assert thread != threading.get_ident()
    assert recorder.made == recorder.closed == [thread]


@pytest.mark.anyio
async def test_one_turn_is_one_batch(recorder: Recorder) -> None:
    """What the tasks of an event loop ask for at one turn is done together, and so is what they ask for next."""

    async def call_twice() -> None:
        for _ in range(2):
            await recorder.thread.call(lambda _: None)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(call_twice)
    await recorder.thread.aclose()
    assert recorder.batches == [50, 50]


def test_closed_at_the_same_turn(recorder: Recorder) -> None:
    """What was asked for before the thread was closed is done, also when that was a moment before."""

    async def ask_and_close() -> int:
        asked = asyncio.create_task(recorder.thread.call(lambda _: 1))
        closing = asyncio.create_task(recorder.thread.aclose())  # asyncio's tasks begin in their order
        await closing
        return await asked

    assert asyncio.run(ask_and_close()) == 1


@pytest.mark.anyio
async def test_settled_at_once() -> None:
    """A future that was settled before anybody waited for it is not waited for."""
    future: Future[int] = Future()
    future.set_result(1)
    with anyio.fail_after(PATIENCE):
        assert await _outcome(future, _wake(), Wakings()) == 1


@pytest.mark.anyio
async def test_batches_are_bounded(recorder: Recorder, gate: threading.Event) -> None:
    """A long queue is taken in batches of a limited size, and closing waits for all of them."""
    done: list[str] = []

    async def call() -> None:
        done.append(await recorder.thread.call(lambda _: "done"))

    async with recorder.held_up(gate) as tasks:
        for _ in range(BATCH_LIMIT + 1):
            tasks.start_soon(call)
        await recorder.queued(2)  # the turn is handed over in as many parts
        tasks.start_soon(recorder.thread.aclose)
        gate.set()
    assert (recorder.batches, len(done), len(recorder.closed)) == ([1, BATCH_LIMIT, 1], BATCH_LIMIT + 1, 1)


@pytest.mark.anyio
async def test_fault_of_the_batch_reaches_those_left_without_an_answer(
    recorder: Recorder, gate: threading.Event
) -> None:
    """When running a batch fails, each caller it had not answered gets the fault, and the next batch is served."""
    answers: dict[int, str] = {}

    async def call(n: int) -> None:
        try:
            answers[n] = await recorder.thread.call(lambda _: str(10 // n))
        except ZeroDivisionError as error:
            answers[n] = repr(error)

    async with recorder.held_up(gate) as tasks:
        for parts, n in enumerate((1, 0, 2), start=1):
            tasks.start_soon(call, n)
            await recorder.queued(parts)
        gate.set()
    await call(5)
    await recorder.thread.aclose()
    fault = "ZeroDivisionError('integer division or modulo by zero')"
    assert answers == {1: "10", 0: fault, 2: fault, 5: "2"}


@pytest.mark.anyio
@pytest.mark.parametrize("calls", [0, 1])
async def test_closed(recorder: Recorder, calls: int) -> None:
    """After closing, with or without a call before, calls raise StoreUnavailable and closing does nothing."""
    for _ in range(calls):
        await recorder.thread.call(lambda _: None)
    for _ in range(2):
        await recorder.thread.aclose()
    with pytest.raises(StoreUnavailable, match=f"{NAME} is closed"):
        await recorder.thread.call(lambda _: None)
    assert len(recorder.closed) == calls


@pytest.mark.parametrize("run", [asyncio.run, lambda main: trio.run(lambda: main)], ids=["asyncio", "trio"])
def test_loop_that_ended_before_the_answer(
    recorder: Recorder, gate: threading.Event, run: Callable[[Any], object]
) -> None:
    """Work whose caller and loop are gone is finished, and the thread lives on for the next loop."""

    async def leave() -> None:
        async with recorder.held_up(gate) as tasks:
            tasks.cancel_scope.cancel()

    async def come_back() -> int:
        answer = await recorder.thread.call(lambda subject: len(subject.batches))
        await recorder.thread.aclose()
        return answer

    run(leave())
    gate.set()
    assert asyncio.run(come_back()) == 2


@pytest.mark.anyio
async def test_process_forked_in_use(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child, to which its parent's thread did not come along, is told so; it waits for nothing and closes nothing."""
    await recorder.thread.call(lambda _: None)
    pid = os.getpid()
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: pid + 1)
        with pytest.raises(StoreUnavailable, match="in use before this process was forked"):
            await recorder.thread.call(lambda _: None)
        await recorder.thread.aclose()
    assert (recorder.batches, recorder.closed) == ([1], [])
