"""The commands that the README shows are run, and its table of them is compared."""

import re
import subprocess
from pathlib import Path

import pytest
from readme import SECTIONS, TEXT, environment, fits
from support.waiting import PATIENCE

from asgi_jwt import cli

COMMAND_LINE = SECTIONS["Command line"]


def test_command_line(tmp_path: Path) -> None:
    """Each command, in a shell with the README's variables, prints what the README shows."""
    for command, output in COMMAND_LINE.steps:
        ended = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert fits(output.rstrip("\n"), ended.stdout.rstrip("\n")), ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_lines_of_keygen(tmp_path: Path) -> None:
    """A shell makes variables of them in the two ways that the README names, and the service can be set up by them."""
    ways = [
        'set -a; eval "$(asgi-jwt keygen)"; set +a',
        "asgi-jwt keygen --out keys.json --refresh-out refresh.json >>",
    ]
    assert all(way in TEXT.replace("\n", " ") for way in ways)
    sourced = f"{ways[1]} service.env; set -a; . ./service.env; set +a"
    environ = {name: value for name, value in environment().items() if not name.endswith("SECRET")}
    for way in (ways[0], sourced):
        ended = subprocess.run(
            ["/bin/sh", "-euc", f"{way}; asgi-jwt check"],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert "0 problems, 0 warnings" in ended.stdout, ended


def test_commands_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command has its row, and no other."""
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    _, *rows = COMMAND_LINE.table
    listed = {re.match(r"`asgi-jwt (\w+)", name)[1] for name, _ in rows}  # type: ignore[index]
    assert listed == set(re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE))
