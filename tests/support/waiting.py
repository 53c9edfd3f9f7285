"""Waits with an end: each tells in its `TimeoutError` what it waited for."""

import time
import traceback
from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import getsource
from pathlib import Path

import anyio

PATIENCE = 120.0
"""Seconds that one wait may last: many times as long as any takes, for the machine may be busy."""

_TEST_PATIENCE = 2 * PATIENCE  # less than `timeout` in pyproject.toml, which tells less
_TESTS = str(Path(__file__).parents[1])


def wait_until(holds: Callable[[], object]) -> None:
    """Look again and again until `holds`."""
    end = time.monotonic() + PATIENCE
    while not holds():
        _check(end, holds)
        time.sleep(0.01)


async def until(holds: Callable[[], object]) -> None:
    """Look again and again until `holds`."""
    end = time.monotonic() + PATIENCE
    while not holds():
        _check(end, holds)
        await anyio.sleep(0.002)


def _check(end: float, holds: Callable[[], object]) -> None:
    if time.monotonic() > end:
        raise TimeoutError(f"waited {PATIENCE:g} s for {getsource(holds).strip()}")


def bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """The test, cancelled when it takes too long."""

    @wraps(test)
    async def run(**fixtures: object) -> None:
        waited = ""
        with anyio.move_on_after(_TEST_PATIENCE) as scope:
            try:
                await test(**fixtures)
            except anyio.get_cancelled_exc_class() as cancelled:
                waited = _last_line(cancelled)
                raise
        if scope.cancelled_caught:
            raise TimeoutError(f"waited {_TEST_PATIENCE:g} s, at last {waited}")

    return run


def _last_line(error: BaseException) -> str:
    """The line of the tests that an exception was raised from."""
    *_, frame = (each for each in traceback.extract_tb(error.__traceback__) if each.filename.startswith(_TESTS))
    return f"at {frame.filename}:{frame.lineno}: {frame.line}"
