"""Work that outlives the request which began it: a fetch of keys, a read of the revocation log."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import EventLoopToken, RunVar, current_token

from asgi_jwt.events import logger

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, None]]

# An event loop holds its tasks by weak references alone.
_held: set[asyncio.Task[None]] = set()
_FEW: RunVar[CapacityLimiter] = RunVar("asgi_jwt.few_threads")


def start(work: Work) -> None:
    """Begin `work` in a task of its own, and don't wait for it. What it raises is logged.

    Needs a running event loop, whose end ends the work.
    """
    loop = current_token().native_token
    if isinstance(loop, asyncio.AbstractEventLoop):
        # In an empty context: nothing of the request that happened to come first belongs into it.
        task = loop.create_task(_logged(work), context=contextvars.Context())
        _held.add(task)
        task.add_done_callback(_held.discard)
    else:
        import trio

        trio.lowlevel.spawn_system_task(_logged, work)


async def _logged(work: Work) -> None:
    try:
        await work()
    except Exception:
        logger.exception("background work failed")


async def in_thread(work: Callable[[], T]) -> T:
    """What `work` returns, done in a worker thread of its own, however busy those of the host are."""
    return await to_thread.run_sync(work, limiter=CapacityLimiter(1))


async def in_few_threads(work: Callable[[], T]) -> T:
    """What `work` returns, done in one of 4 threads of this package's own: those of the host are never kept busy."""
    try:
        limiter = _FEW.get()
    except LookupError:
        limiter = CapacityLimiter(4)
        _FEW.set(limiter)
    return await to_thread.run_sync(work, limiter=limiter)


class SingleFlight:
    """One piece of work at a time, in a task of its own: any number wait for it, and none takes it from the others.

    A flight whose event loop is gone, as between two tests, is over. `waiting` counts those who wait.
    """

    def __init__(self, work: Work) -> None:
        self.waiting = 0
        self._work = work
        self._landed: anyio.Event | None = None
        self._loop: EventLoopToken | None = None

    @property
    def under_way(self) -> bool:
        """Whether the work is being done, in this event loop."""
        return self._landed is not None and self._loop == current_token()

    def start(self) -> None:
        """Begin the work, unless it is under way. Needs a running event loop, and never waits."""
        if not self.under_way:
            self._loop = current_token()
            self._landed = landed = anyio.Event()
            start(lambda: self._fly(landed))

    async def wait(self) -> None:
        """Until the work that is under way is done, whether it failed or not."""
        landed = self._landed
        if landed is not None and self.under_way:
            self.waiting += 1
            try:
                await landed.wait()
            finally:
                self.waiting -= 1

    async def _fly(self, landed: anyio.Event) -> None:
        try:
            await self._work()
        finally:
            if landed is self._landed:
                self._landed = None
            landed.set()
