"""Limits how many callers use the store at once, and how long other callers wait."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from math import inf
from time import monotonic

import anyio

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.events import EventSink, StoreFailed

PLACES = 256
"""How many callers use the store at once: as many as an SQLite store commits together."""

MAX_WAIT = 1.0
"""The longest wait (s) of a caller."""

_WEIGHT = 1 / 16
"""The weight of the newest measurement in the average."""


class AdmissionGate:
    """Lets `places` callers in at once. The others wait, or get a `StoreUnavailable` at once if the wait is too long.

    `max_wait` is the longest wait in seconds. The wait of a caller is estimated from the number of waiting callers and
    the average time of the latest work, by `clock` in seconds. A wait that becomes longer than `max_wait` ends in
    `StoreUnavailable`, too.
    """

    def __init__(
        self, places: int = PLACES, max_wait: float = MAX_WAIT, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._places = places
        self._max_wait = max_wait
        self._clock = clock
        self._free = anyio.Semaphore(places, fast_acquire=True)
        self._average_work = 0.0

    @property
    def estimated_wait(self) -> float:
        """How long (s) the next caller would wait if no place is free."""
        return (self._free.statistics().tasks_waiting + 1) * self._average_work / self._places

    async def enter(self) -> float:
        """Take a place. Returns the time of entry, which `leave` needs. Raises `StoreUnavailable`."""
        try:
            self._free.acquire_nowait()
        except anyio.WouldBlock:
            await self._wait()
        return self._clock()

    def leave(self, entered: float) -> None:
        """Give the place back. `entered` is the result of `enter`."""
        self._free.release()
        self._average_work += (self._clock() - entered - self._average_work) * _WEIGHT

    async def _wait(self) -> None:
        if self.estimated_wait <= self._max_wait:
            with anyio.move_on_after(self._max_wait):
                await self._free.acquire()
                return
        raise StoreUnavailable(f"overloaded: {self._places} callers are at work, and more wait")


class Overload:
    """Emits an overload, once a second by `clock`: thousands of events would slow down the callers at work."""

    def __init__(self, events: EventSink, clock: Callable[[], float]) -> None:
        self._events = events
        self._clock = clock
        self._emitted_at = -inf

    async def emit(self, operation: str, overload: StoreUnavailable) -> None:
        """Emit that `operation` was refused with `overload`."""
        if abs(self._clock() - self._emitted_at) >= 1:
            self._emitted_at = self._clock()
            await self._events.emit(StoreFailed(operation, overload.detail or ""))


_entered: ContextVar[AdmissionGate | None] = ContextVar("asgi_jwt.entered", default=None)
"""The gate at which the task holds a place by `place_at`."""


@asynccontextmanager
async def place_at(gate: AdmissionGate, overload: Overload, operation: str) -> AsyncIterator[None]:
    """Hold a place at the gate. A task that holds one at this gate already takes no second one.

    Raises `StoreUnavailable`, which is emitted as an overload of `operation`.
    """
    if _entered.get() is gate:
        yield
        return
    try:
        entered = await gate.enter()
    except StoreUnavailable as refused:
        await overload.emit(operation, refused)
        raise
    token = _entered.set(gate)
    try:
        yield
    finally:
        _entered.reset(token)
        gate.leave(entered)
