"""Waits of tests end, and tell what they waited for; signals end the programs that tests start."""

import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from support import waiting
from support.waiting import PATIENCE, bounded, until, wait_until

INTERRUPTED = Path(__file__).with_name("commands") / "test_check.py"


@pytest.mark.anyio
async def test_what_never_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a wait for something that never holds shows the condition."""
    monkeypatch.setattr(waiting, "PATIENCE", 0)
    with pytest.raises(TimeoutError, match=r"waited 0 s for .*lambda: not waiting"):
        await until(lambda: not waiting)
    with pytest.raises(TimeoutError, match=r"waited 0 s for .*lambda: not pytest"):
        wait_until(lambda: not pytest)


@pytest.mark.anyio
async def test_a_test_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a test that hangs shows the line that waited."""
    monkeypatch.setattr(waiting, "_TEST_PATIENCE", 0.01)

    async def hang() -> None:
        await anyio.Event().wait()

    with pytest.raises(TimeoutError, match=r"test_waiting\.py:\d+: await anyio\.Event\(\)\.wait\(\)"):
        await bounded(hang)()


@pytest.mark.outside
def test_where_signals_are_ignored() -> None:
    """A test that ends a program by a signal passes where a script ignores that signal, as in the background."""
    tests = f"{sys.executable} -m pytest -p no:cacheprovider {INTERRUPTED} -k test_interrupted"
    ended = subprocess.run(
        ["/bin/sh", "-c", f"trap '' INT HUP TERM; exec {tests}"],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "1 passed" in ended.stdout, ended.stdout
