"""Work that goes on after the request that started it: a fetch of keys, a read of the revocation log."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import EventLoopToken, RunVar, checkpoint, current_token

from asgi_jwt.events import logger

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, None]]

# An event loop has only weak references to its tasks: without these, a running task could be collected.
_running: set[asyncio.Task[None]] = set()
_FEW_THREADS: RunVar[CapacityLimiter] = RunVar("asgi_jwt.few_threads")


def start(work: Work) -> None:
    """Start `work` in a task of its own and return at once. An exception of `work` is logged.

    It needs a running event loop. When the loop ends, the work ends.
    """
    loop = current_token().native_token
    if isinstance(loop, asyncio.AbstractEventLoop):
        # The context is empty: the work serves all requests, and has no part in the context of this one.
        task = loop.create_task(_logged(work), context=contextvars.Context())
        _running.add(task)
        task.add_done_callback(_running.discard)
    else:
        import trio

        trio.lowlevel.spawn_system_task(_logged, work)


async def _logged(work: Work) -> None:
    try:
        await work()
    except Exception:
        logger.exception("background work failed")


async def in_slices(items: Sequence[T], size: int) -> AsyncIterator[Sequence[T]]:
    """The items, `size` at a time. Between two slices the event loop runs its other tasks."""
    for first in range(0, len(items), size):
        if first:
            await checkpoint()
        yield items[first : first + size]


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own and return its result. It never waits for the host's worker threads."""
    return await to_thread.run_sync(work, limiter=CapacityLimiter(1))


async def in_few_threads(work: Callable[[], T]) -> T:
    """Run `work` in one of 4 threads of this package and return its result. It takes none of the host's threads."""
    try:
        limiter = _FEW_THREADS.get()
    except LookupError:
        limiter = CapacityLimiter(4)
        _FEW_THREADS.set(limiter)
    return await to_thread.run_sync(work, limiter=limiter)


class SingleFlight:
    """Runs one piece of work at a time, in a task of its own, for any number of waiting callers.

    A caller that is cancelled stops waiting, and the work goes on for the others. Work whose event loop has ended, as
    between two tests, counts as done. `waiting` is the number of waiting callers.
    """

    def __init__(self, work: Work) -> None:
        self.waiting = 0
        self._work = work
        self._done: anyio.Event | None = None
        self._loop: EventLoopToken | None = None

    @property
    def under_way(self) -> bool:
        """Whether the work is running in this event loop."""
        return self._done is not None and self._loop == current_token()

    def start(self) -> None:
        """Start the work unless it is running, and return at once. It needs a running event loop."""
        if not self.under_way:
            self._loop = current_token()
            self._done = done = anyio.Event()
            start(lambda: self._run(done))

    async def wait(self) -> None:
        """Wait until the running work has succeeded or failed. Return at once if none is running."""
        done = self._done
        if done is not None and self.under_way:
            self.waiting += 1
            try:
                await done.wait()
            finally:
                self.waiting -= 1

    async def _run(self, done: anyio.Event) -> None:
        try:
            await self._work()
        finally:
            if done is self._done:
                self._done = None
            done.set()
