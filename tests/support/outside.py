"""What the tests marked `outside` need beyond Python: found, or the test is skipped and says how to install it."""

import json
import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from support.waiting import PATIENCE

NPM = Path(__file__).parents[1] / "npm"

_DEBIAN = {
    "chromium": "chromium",
    "firefox-esr": "firefox-esr",
    "nginx": "nginx",
    "node": "nodejs npm",
    "promtool": "prometheus",
}


def program(name: str) -> str:
    """The path of a program."""
    found = which(name)
    if found is None:
        pytest.skip(f"{name} is missing: apt-get install {_DEBIAN.get(name, name)}")
    return found


def npm_package(name: str) -> Path:
    """The folder of a package from npm."""
    folder = NPM / "node_modules" / name
    if not folder.is_dir():
        pytest.skip(f"the npm package {name} is missing: npm install --prefix tests/npm")
    return folder


def answer_of(script: str, asked: dict[str, str]) -> Any:
    """What a script of `tests/npm` answers."""
    command, given = [program("node"), str(NPM / script)], json.dumps(asked)
    ran = subprocess.run(command, input=given, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True)
    return json.loads(ran.stdout)


def package(name: str) -> Any:
    """A package from PyPI that can't stand in the extra `test`: with FastMCP, Starlette's lowest version can't."""
    if find_spec(name) is None:
        pytest.skip(f"the package {name} is missing: pip install {name}")
    return import_module(name)
