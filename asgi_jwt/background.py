"""One event loop of the process in a thread of its own, for callers that run in none."""

import atexit
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import TypeVar

import anyio
from anyio.from_thread import BlockingPortal

T = TypeVar("T")

_lock = Lock()
_portals: dict[int, BlockingPortal] = {}
"""By the id of the process: a forked process does not have its parent's thread."""


def in_background_loop(work: Callable[[], Awaitable[T]]) -> T:
    """What `work` returns, done in the loop while the calling thread waits. That thread runs no event loop itself.

    The loop begins with the first call in a process, and ends with the process.
    """
    return _portal(os.getpid()).call(work)


def _portal(process: int) -> BlockingPortal:
    with _lock:
        if process not in _portals:
            # Not anyio's `start_blocking_portal`: the end of a forked process would wait there for the parent's thread.
            began: Future[BlockingPortal] = Future()
            thread = Thread(target=anyio.run, args=(_serve, began), name="asgi_jwt", daemon=True)
            thread.start()
            _portals[process] = began.result()
            atexit.register(_end, process, thread)
        return _portals[process]


async def _serve(began: "Future[BlockingPortal]") -> None:
    async with BlockingPortal() as portal:
        began.set_result(portal)
        await portal.sleep_until_stopped()


def _end(process: int, thread: Thread) -> None:
    if process == os.getpid():
        portal = _portals.pop(process)
        portal.call(portal.stop)
        thread.join()
