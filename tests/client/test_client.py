"""The logic of the browser client, by Node's test runner: the promises are the names in `*.test.mjs`."""

import subprocess
from pathlib import Path

import pytest
from support.outside import program
from support.waiting import PATIENCE

pytestmark = pytest.mark.outside


@pytest.mark.parametrize("name", ["client", "dpop"])
def test_logic(name: str) -> None:
    """Every test of the suite passes."""
    suite = Path(__file__).with_name(f"{name}.test.mjs")
    ran = subprocess.run(
        [program("node"), "--test", suite], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert ran.returncode == 0, ran.stdout
    assert "\n# fail 0\n" in ran.stdout
