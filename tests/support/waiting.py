"""Waits with an end: each says what it waited for."""

import time
import traceback
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path

import anyio

PATIENCE = 120.0
"""Seconds that a wait may last: many times as long as any takes, for the machine may be busy."""

TEST_PATIENCE = 240.0
"""Seconds that all awaits of one test may last together: less than pytest's own time-out."""

_TESTS = str(Path(__file__).parents[1])


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Look again and again until `holds`; raises `TimeoutError`."""
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {PATIENCE:g} s for {what}")
        time.sleep(0.01)


async def until(holds: Callable[[], object], what: str = "") -> None:
    """Look again and again until `holds`; raises `TimeoutError`."""
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {PATIENCE:g} s for {what}")
        await anyio.sleep(0.002)


def bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """The test, cancelled when it takes too long; the `TimeoutError` tells the line that waited."""

    @wraps(test)
    async def run(**fixtures: object) -> None:
        waited = ""
        with anyio.move_on_after(TEST_PATIENCE) as scope:
            try:
                await test(**fixtures)
            except anyio.get_cancelled_exc_class() as cancelled:
                waited = _last_line(cancelled)
                raise
        if scope.cancelled_caught:
            raise TimeoutError(f"waited {TEST_PATIENCE:g} s, at last {waited}")

    return run


def _last_line(error: BaseException) -> str:
    """Where in the tests an exception was raised."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(_TESTS)]
    return f"at {frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}"
