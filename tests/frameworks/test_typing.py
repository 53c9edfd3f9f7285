"""Users' apps pass the strict modes of the type checkers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.outside import npm_package, program
from support.waiting import PATIENCE

pytestmark = pytest.mark.outside

HERE = Path(__file__).parent


@pytest.fixture
def apps(tmp_path: Path) -> Path:
    """The apps in a project of their own, which has no settings of this repository's."""
    copies = tmp_path / "frameworks"
    copies.mkdir()
    (copies / "__init__.py").touch()
    for path in [HERE / "accounts.py", *HERE.glob("*_app.py"), HERE / "typed_apps.py"]:
        shutil.copy(path, copies)
    return tmp_path


def check(folder: Path, *command: str | Path) -> str:
    """What the checker says; the end of that where it is satisfied."""
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    return ran.stdout.strip() if ran.returncode else ran.stdout.strip().splitlines()[-1]


def test_mypy(apps: Path) -> None:
    """An app of each framework, and the line that wraps it, pass `mypy --strict`."""
    told = check(apps, sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=mypy", "frameworks")
    assert told.startswith("Success: no issues found")


def test_pyright(apps: Path) -> None:
    """The same pass pyright's strict mode."""
    settings = {"include": ["frameworks"], "typeCheckingMode": "strict"}
    (apps / "pyrightconfig.json").write_text(json.dumps(settings))
    pyright = npm_package("pyright") / "index.js"
    told = check(apps, program("node"), pyright, "--pythonpath", sys.executable)
    assert told == "0 errors, 0 warnings, 0 informations"
