"""A batch thread answers every caller, whatever becomes of the work, of the loop and of the process."""

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import anyio
import pytest
import trio
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


@pytest.mark.anyio
async def test_call_gives_back_the_result() -> None:
    """The work is done in the thread, where its batches are made and closed, and its caller has its result."""
    recorder = Recorder()
    thread, subject = await recorder.thread.call(lambda subject: (threading.get_ident(), subject))
    await recorder.thread.aclose()

    assert thread != threading.get_ident()
    assert subject is recorder
    assert recorder.made == recorder.closed == [thread]


@pytest.mark.anyio
async def test_one_turn_is_one_batch() -> None:
    """What the tasks of an event loop ask for at one turn is done together, and so is what they ask for next."""
    recorder = Recorder()

    async def call_twice() -> None:
        await recorder.thread.call(lambda _: None)
        await recorder.thread.call(lambda _: None)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(call_twice)
    await recorder.thread.aclose()
    assert recorder.batches == [50, 50]


def test_closed_at_the_same_turn() -> None:
    """What was asked for before the thread was closed is done, also when that was a moment before."""
    recorder = Recorder()

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
async def test_cancelled_before_its_turn() -> None:
    """What nobody waits for any more, when the thread comes to it, goes undone."""
    recorder = Recorder()
    gate = threading.Event()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recorder.thread.call, lambda _: gate.wait())
            while not recorder.batches:
                await anyio.lowlevel.checkpoint()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await recorder.thread.call(lambda _: pytest.fail("nobody asks for that"))
            while not recorder.thread._queue.qsize():
                await anyio.lowlevel.checkpoint()
            gate.set()
        await recorder.thread.aclose()
    assert recorder.batches == [1]


@pytest.mark.anyio
async def test_batches_are_bounded() -> None:
    """A long queue is taken in batches of a limited size, and closing waits for all of them."""
    recorder = Recorder()
    gate = threading.Event()
    done: list[int] = []

    async def call(work: Callable[[Recorder], Any]) -> None:
        await recorder.thread.call(work)
        done.append(1)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, lambda _: gate.wait())
            while not recorder.batches:
                await anyio.lowlevel.checkpoint()
            for _ in range(BATCH_LIMIT + 1):
                tasks.start_soon(call, lambda _: None)
            while recorder.thread._queue.qsize() < 2:  # the turn is handed over in as many parts
                await anyio.lowlevel.checkpoint()
            tasks.start_soon(recorder.thread.aclose)
            gate.set()

    assert recorder.batches == [1, BATCH_LIMIT, 1]
    assert len(done) == BATCH_LIMIT + 2
    assert len(recorder.closed) == 1


@pytest.mark.anyio
async def test_fault_of_the_batch_reaches_those_left_without_an_answer() -> None:
    """When running a batch fails, each caller it had not answered gets the fault, and the next batch is served."""
    recorder = Recorder()
    gate = threading.Event()
    answers: dict[int, str] = {}

    async def call(n: int) -> None:
        try:
            answers[n] = await recorder.thread.call(lambda _: str(10 // n))
        except ZeroDivisionError as error:
            answers[n] = repr(error)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recorder.thread.call, lambda _: gate.wait())
            while not recorder.batches:
                await anyio.lowlevel.checkpoint()
            for n, waiting in ((1, 1), (0, 2), (2, 3)):
                tasks.start_soon(call, n)
                while recorder.thread._queue.qsize() < waiting:
                    await anyio.lowlevel.checkpoint()
            gate.set()
    await call(5)
    await recorder.thread.aclose()

    fault = "ZeroDivisionError('integer division or modulo by zero')"
    assert answers == {1: "10", 0: fault, 2: fault, 5: "2"}


@pytest.mark.anyio
async def test_closed() -> None:
    """After closing, with or without a call before, calls raise StoreUnavailable and closing does nothing."""
    for calls in (0, 1):
        recorder = Recorder()
        for _ in range(calls):
            await recorder.thread.call(lambda _: None)
        for _ in range(2):
            await recorder.thread.aclose()
        with pytest.raises(StoreUnavailable, match=f"{NAME} is closed"):
            await recorder.thread.call(lambda _: None)
        assert len(recorder.closed) == calls


def test_loops_one_after_another() -> None:
    """One thread serves event loops of either kind, in turn, and is closed from the last."""
    recorder = Recorder()

    async def use() -> str:
        return await recorder.thread.call(lambda _: threading.current_thread().name)

    assert [asyncio.run(use()), trio.run(use), asyncio.run(use())] == [NAME] * 3
    trio.run(recorder.thread.aclose)
    assert len(recorder.closed) == 1


@pytest.mark.parametrize("run", [asyncio.run, lambda main: trio.run(lambda: main)], ids=["asyncio", "trio"])
def test_loop_that_ended_before_the_answer(run: Callable[[Any], object]) -> None:
    """Work whose caller and loop are gone is finished, and the thread lives on for the next loop."""
    recorder = Recorder()
    gate = threading.Event()

    async def leave() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recorder.thread.call, lambda _: gate.wait())
            while not recorder.batches:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

    async def come_back() -> int:
        answer = await recorder.thread.call(lambda subject: len(subject.batches))
        await recorder.thread.aclose()
        return answer

    run(leave())
    gate.set()
    assert asyncio.run(come_back()) == 2


@pytest.mark.anyio
async def test_process_forked_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child, to which its parent's thread did not come along, is told so; it waits for nothing and closes nothing."""
    recorder = Recorder()
    await recorder.thread.call(lambda _: None)
    pid = os.getpid()

    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: pid + 1)
        with pytest.raises(StoreUnavailable, match="in use before this process was forked: let each process open"):
            await recorder.thread.call(lambda _: None)
        await recorder.thread.aclose()

    assert recorder.batches == [1]
    assert recorder.closed == []
