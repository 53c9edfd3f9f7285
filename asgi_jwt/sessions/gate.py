"""A bound on how many callers are at work at once, and on how long the others wait."""

from collections.abc import Callable
from time import monotonic

import anyio

from asgi_jwt.errors import StoreUnavailable

PLACES = 256
"""As many as an SQLite store commits together."""

PATIENCE = 1.0
_WEIGHT = 1 / 16


class Gate:
    """Lets `places` callers work at once. Raises StoreUnavailable at once for a caller who would wait for too long.

    `patience` is the longest wait, in seconds. How long a caller would wait is estimated from how many wait already and
    from how long the work took lately, by `clock`, in seconds. A wait that turns out longer ends in StoreUnavailable as
    well.
    """

    def __init__(
        self, places: int = PLACES, patience: float = PATIENCE, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._places = places
        self._patience = patience
        self._clock = clock
        self._free = anyio.Semaphore(places, fast_acquire=True)
        self._work = 0.0

    @property
    def estimated_wait(self) -> float:
        """How long (seconds) a caller who comes now waits, if no place is free."""
        return (self._free.statistics().tasks_waiting + 1) * self._work / self._places

    async def enter(self) -> float:
        """Take a place; what `leave` needs."""
        try:
            self._free.acquire_nowait()
        except anyio.WouldBlock:
            await self._wait()
        return self._clock()

    def leave(self, entered: float) -> None:
        """Give the place back."""
        self._free.release()
        self._work += (self._clock() - entered - self._work) * _WEIGHT

    async def _wait(self) -> None:
        if self.estimated_wait <= self._patience:
            with anyio.move_on_after(self._patience):
                await self._free.acquire()
                return
        raise StoreUnavailable(f"overloaded: {self._places} callers are at work, and more wait")
