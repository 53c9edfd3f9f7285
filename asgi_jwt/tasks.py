"""Work that outlives the request which began it: a fetch of keys, a read of the revocation log."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from anyio.lowlevel import EventLoopToken, current_token

from asgi_jwt.events import logger

_held: set[asyncio.Task[None]] = set()


class SingleFlight:
    """One piece of work at a time, in a task of its own: any number wait for it, and none takes it from the others.

    `work` deals with its own errors; what it raises all the same is logged. A flight whose event loop is gone, as
    between two tests, is over.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._landed: anyio.Event | None = None
        self._loop: EventLoopToken | None = None
        self.waiting = 0

    @property
    def under_way(self) -> bool:
        """Whether the work is being done, in this event loop."""
        return self._landed is not None and self._loop == current_token()

    def start(self) -> None:
        """Begin the work, unless it is under way. Needs a running event loop, and never waits."""
        if not self.under_way:
            self._loop = current_token()
            self._landed = landed = anyio.Event()
            _spawn(lambda: self._fly(landed), self._loop)

    async def wait(self) -> None:
        """Until the work that is under way is done."""
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
        except Exception:
            logger.exception("background work failed")
        finally:
            if landed is self._landed:
                self._landed = None
            landed.set()


def _spawn(work: Callable[[], Coroutine[Any, Any, None]], loop: EventLoopToken) -> None:
    if isinstance(loop.native_token, asyncio.AbstractEventLoop):
        # In an empty context: nothing of the request that happened to come first belongs into it.
        task = asyncio.create_task(work(), context=contextvars.Context())
        _held.add(task)
        task.add_done_callback(_held.discard)
    else:
        import trio

        trio.lowlevel.spawn_system_task(work)
