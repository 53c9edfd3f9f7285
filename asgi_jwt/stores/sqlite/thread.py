"""BatchThread: one thread runs blocking calls for the tasks of any event loop, in batches."""

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
"""Called from any thread with a function and its arguments: an event loop then calls the function."""

BATCH_LIMIT = 256
"""A batch with this many calls takes no more, so that its first caller does not wait for an endless queue."""


@dataclass(frozen=True, slots=True, eq=False)
class Call(Generic[SubjectT, T]):
    """The work of a caller, the future of its result, and when it was asked for (s of the monotonic clock)."""

    work: Callable[[SubjectT], T]
    future: Future[T] = field(default_factory=Future)
    asked_at: float = field(default_factory=monotonic)


class Batches(Protocol[SubjectT]):
    """Runs the calls of a thread. It is made, used and closed in the thread."""

    def run(self, calls: Sequence[Call[SubjectT, Any]]) -> None:
        """Do the work of each call and settle its future. An exception goes to the futures that are not settled."""
        ...

    def close(self) -> None:
        """Release all resources."""
        ...


class Wakings:
    """Collects the tasks that a batch has settled, and wakes all tasks of an event loop with one call.

    Tasks that wake together make their next calls together, and those share a batch.
    """

    def __init__(self) -> None:
        self._due: deque[tuple[Wake, anyio.Event]] = deque()

    def add(self, wake: Wake, settled: anyio.Event) -> None:
        """Set `settled` at the next `flush`, in the event loop of `wake`."""
        self._due.append((wake, settled))

    def flush(self) -> None:
        """Wake all collected tasks."""
        loops: defaultdict[Wake, list[anyio.Event]] = defaultdict(list)
        while self._due:
            wake, settled = self._due.popleft()
            loops[wake].append(settled)
        for wake, events in loops.items():
            with suppress(RuntimeError):  # the event loop has ended, and its tasks with it
                wake(_set_all, events)


def _set_all(events: Sequence[anyio.Event]) -> None:
    for event in events:
        event.set()


class BatchThread(Generic[SubjectT]):
    """Takes calls from any task, and runs them in their order, in batches, in a thread of its own.

    The first call starts the thread, which then makes its `Batches`. The thread is a daemon, so a process can exit
    without `aclose`. A process that was forked before the first call starts a thread of its own. In a process that was
    forked later every call raises StoreUnavailable: there SQLite would believe that it holds the parent's locks.
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
        """Run `work` in the thread. Returns its result, or raises its exception.

        If the caller is cancelled, the work is done or not. Raises StoreUnavailable after `aclose`, and in a process
        that was forked after the first call.
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
            # All calls of one turn of an event loop share a batch, even if the thread is idle.
            turn = self._turns.setdefault(wake, [])
            turn.append(call)
            if len(turn) == 1:
                wake(self._hand_over, wake)
        return await _outcome(call.future, wake, self._wakings)

    def _hand_over(self, wake: Wake) -> None:
        with self._lock:
            turn = self._turns.pop(wake, [])
            # The calls are put as one list: otherwise the thread might take the first call alone.
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
        """End the thread after it has run the queued calls. A second call does nothing."""
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
    """The function of the thread: run batches until the queue ends."""
    try:
        with closing(make()) as batches:
            while batch := _next_batch(queue):
                calls = [call for call in batch if call.future.set_running_or_notify_cancel()]
                if calls:
                    _run(batches, calls)
                    wakings.flush()
                del batch, calls  # an idle thread must not keep results alive
    finally:
        ended.set_result(None)
        wakings.flush()


def _next_batch(queue: SimpleQueue[Sequence[Call[SubjectT, Any]] | None]) -> list[Call[SubjectT, Any]]:
    """The queued calls, at least one. Empty: the thread has to end."""
    batch: list[Call[SubjectT, Any]] = []
    with suppress(Empty):
        while len(batch) < BATCH_LIMIT:
            calls = queue.get(block=not batch)
            if calls is None:
                queue.put(None)  # the calls before it run first, and the next turn finds it again
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
    """Wait for a future that another thread settles, under asyncio or trio. A cancelled caller cancels the future."""
    settled = anyio.Event()
    future.add_done_callback(lambda _: wakings.add(wake, settled))
    try:
        if not future.done():  # the thread may have settled it, and woken its tasks, before the callback was added
            await settled.wait()
    finally:
        future.cancel()
    return future.result()
