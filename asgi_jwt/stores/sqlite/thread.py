"""A thread that does blocking work for the tasks of any event loop, all that has queued up at a time."""

import os
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

import anyio
from anyio.lowlevel import current_token

from asgi_jwt.errors import StoreUnavailable

T = TypeVar("T")
SubjectT = TypeVar("SubjectT")

Wake = Callable[..., object]
"""Has an event loop call a function with arguments, from any thread."""

BATCH_LIMIT = 256
"""From so many calls on, no more are added to a batch, lest its first caller wait for an endless queue."""


@dataclass(frozen=True, slots=True, eq=False)
class Call(Generic[SubjectT, T]):
    """What a task wants done, the future it waits for, and since when, by the monotonic clock in seconds."""

    work: Callable[[SubjectT], T]
    future: Future[T] = field(default_factory=Future)
    asked_at: float = field(default_factory=monotonic)


class Batches(Protocol[SubjectT]):
    """What a thread does its calls with: made, used and closed in the thread."""

    def run(self, calls: Sequence[Call[SubjectT, Any]]) -> None:
        """Do the work of each call and settle its future; what this raises goes to the callers it left."""
        ...

    def close(self) -> None: ...


class Wakings:
    """Tasks to be woken, one call into each event loop for all that a batch has settled.

    What they ask for next comes together too, and shares a batch: woken one by one they would come one by one.
    """

    def __init__(self) -> None:
        self._due: deque[tuple[Wake, anyio.Event]] = deque()

    def add(self, wake: Wake, settled: anyio.Event) -> None:
        self._due.append((wake, settled))

    def flush(self) -> None:
        loops: defaultdict[Wake, list[anyio.Event]] = defaultdict(list)
        while self._due:
            wake, settled = self._due.popleft()
            loops[wake].append(settled)
        for wake, events in loops.items():
            with suppress(RuntimeError):  # the event loop has ended, and with it whoever waited
                wake(_set_all, events)


def _set_all(events: Sequence[anyio.Event]) -> None:
    for event in events:
        event.set()


class BatchThread(Generic[SubjectT]):
    """Takes calls from any task, in their order, and runs them in batches in one thread of its own.

    The thread begins with the first call, and makes its `Batches` then. It is a daemon: a process that exits without
    `aclose` waits for nobody. A process forked before the first call has a thread of its own; one forked later has
    none, and what its parent had open is not safe to open again there (SQLite believes it holds the parent's locks).
    """

    def __init__(self, name: str, batches: Callable[[], Batches[SubjectT]]) -> None:
        self._name = name
        self._batches = batches
        self._lock = Lock()
        self._queue: SimpleQueue[Sequence[Call[SubjectT, Any]] | None] = SimpleQueue()
        self._ended: Future[None] = Future()
        self._wakings = Wakings()
        self._turns: dict[Wake, list[Call[SubjectT, Any]]] = {}
        self._thread: Thread | None = None
        self._process = 0
        self._closed = False

    async def call(self, work: Callable[[SubjectT], T]) -> T:
        """Have `work` done: its result, or what it raised. If the caller is cancelled first, it may go undone.

        Raises StoreUnavailable after `aclose`, and in a process that was forked after the first call.
        """
        call, wake = Call(work), _wake()
        with self._lock:
            if self._closed:
                raise StoreUnavailable(f"{self._name} is closed")
            if self._thread is None:
                self._begin()
            if self._process != os.getpid():
                raise StoreUnavailable(
                    f"{self._name} was in use before this process was forked: let each process open its own"
                )
            # What the tasks of an event loop ask for at the same turn is one batch, however quick the thread is.
            turn = self._turns.setdefault(wake, [])
            turn.append(call)
            if len(turn) == 1:
                wake(self._hand_over, wake)
        return await _outcome(call.future, wake, self._wakings)

    def _hand_over(self, wake: Wake) -> None:
        with self._lock:
            turn = self._turns.pop(wake, [])
            # In one piece: the thread may take the first call before the next one is put.
            for start in range(0, len(turn), BATCH_LIMIT):
                self._queue.put(turn[start : start + BATCH_LIMIT])

    def _begin(self) -> None:
        self._process = os.getpid()
        self._thread = Thread(
            target=_work,
            args=(self._batches, self._queue, self._wakings, self._ended),
            name=self._name,
            daemon=True,
        )
        self._thread.start()

    async def aclose(self) -> None:
        """Let the thread finish what is queued, and end. A second call does nothing."""
        with self._lock:
            closed, self._closed = self._closed, True
        if closed or self._thread is None or self._process != os.getpid():
            return
        for wake in [*self._turns]:
            self._hand_over(wake)
        self._queue.put(None)
        with anyio.CancelScope(shield=True):
            await _outcome(self._ended, _wake(), self._wakings)
        self._thread.join()


def _work(
    make: Callable[[], Batches[SubjectT]],
    queue: SimpleQueue[Sequence[Call[SubjectT, Any]] | None],
    wakings: Wakings,
    ended: Future[None],
) -> None:
    """What the thread does."""
    try:
        with closing(make()) as batches:
            while batch := _next_batch(queue):
                calls = [call for call in batch if call.future.set_running_or_notify_cancel()]
                if calls:
                    _run(batches, calls)
                    wakings.flush()
                del batch, calls  # a thread at rest keeps nobody's results alive
    finally:
        ended.set_result(None)
        wakings.flush()


def _next_batch(queue: SimpleQueue[Sequence[Call[SubjectT, Any]] | None]) -> list[Call[SubjectT, Any]]:
    """What has queued up, at least one call; nothing when the thread is to end."""
    batch: list[Call[SubjectT, Any]] = []
    with suppress(Empty):
        while len(batch) < BATCH_LIMIT:
            calls = queue.get(block=not batch)
            if calls is None:
                queue.put(None)  # for the next time: first what came before it
                break
            batch += calls
    return batch


def _run(batches: Batches[SubjectT], calls: Sequence[Call[SubjectT, Any]]) -> None:
    try:
        batches.run(calls)
    except BaseException as error:
        for call in calls:
            if not call.future.done():
                call.future.set_exception(error)


def _wake() -> Wake:
    loop: Any = current_token().native_token
    wake: Wake = loop.call_soon_threadsafe if hasattr(loop, "call_soon_threadsafe") else loop.run_sync_soon
    return wake


async def _outcome(future: Future[T], wake: Wake, wakings: Wakings) -> T:
    """Wait, under asyncio or trio, for a future that another thread settles; cancel it if the caller is cancelled."""
    settled = anyio.Event()
    future.add_done_callback(lambda _: wakings.add(wake, settled))
    try:
        if not future.done():  # else the thread may have woken everybody before this one was known to it
            await settled.wait()
    finally:
        future.cancel()
    return future.result()
