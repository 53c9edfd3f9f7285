"""The command line."""

import io
import os
import re
import runpy
import socket
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from pkgutil import resolve_name

import pytest

from asgi_jwt import cli

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


@pytest.fixture
def demos(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """The ports at which demos were asked for, and whether in a browser; none is served."""
    asked = []

    def run_demo(port: int, write: Callable[[str], None], *, browse: bool) -> None:
        asked.append((port, browse))
        write("served\n")

    monkeypatch.setattr(cli, "run_demo", run_demo)
    return asked


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], (8000, False)),
        (["--port", "0"], (0, False)),
        (["--port", "65535", "--open"], (65535, True)),
    ],
)
def test_demo(
    demos: list[tuple[int, bool]],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    asked: tuple[int, bool],
) -> None:
    """`demo` serves on port 8000 and opens no browser unless told otherwise, and writes to the standard output."""
    assert cli.main(["demo", *arguments]) == 0
    assert demos == [asked]
    assert capsys.readouterr() == ("served\n", "")


def test_a_fault_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that can't be run ends with status 1 and one line that says why."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cli.main(["demo", "--port", str(taken.getsockname()[1])]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("asgi-jwt: port ")
    assert err.count("\n") == 1


def test_a_reader_who_leaves(demos: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads no more has seen enough: it ends with 1, and without a word."""
    reader, writer = os.pipe()
    os.close(reader)
    complaints = io.StringIO()
    monkeypatch.setattr(sys, "stderr", complaints)
    with open(writer, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        assert cli.main(["demo"]) == 1
    assert complaints.getvalue() == ""


def test_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command, the usage is shown, with all commands and what each does."""
    assert cli.main([]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("usage: asgi-jwt")
    for command in ("demo", "check", "inspect", "token", "keygen", "keys"):
        assert f"\n    {command} " in told.err


@pytest.mark.parametrize(
    "words", ["demo", "check", "inspect", "token", "keygen", "keys", "keys rotate", "sessions", "sessions list"]
)
def test_every_command_says_what_it_does(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of a command and of an action begins with a sentence that describes it."""
    with pytest.raises(SystemExit):
        cli.main([*words.split(), "--help"])
    told = capsys.readouterr().out.split("\n\n")[1]
    assert re.fullmatch(r"[A-Z][^.]+(\.[^.]+)*\.", told.replace("\n", " ")), told


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints the version of the installed package."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"asgi-jwt {metadata.version('asgi-jwt')}\n"


def test_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m asgi_jwt` is the same command, and ends with its status."""
    monkeypatch.setattr(sys, "argv", ["asgi_jwt", "demo", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("asgi_jwt", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: asgi-jwt demo")


def test_console_script() -> None:
    """The package installs the command `asgi-jwt`, which is `asgi_jwt.cli.main`."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    assert resolve_name(project["scripts"]["asgi-jwt"]) is cli.main


@pytest.mark.parametrize(
    ("words", "why"),
    [
        *((["demo", f"--port={port}"], "is no port: 0 to 65535") for port in ("65536", "-1", "http", "\u0668\u0660")),
        (["\x1b[2J"], "invalid choice"),
        (["check", "\x1b[2J"], "unrecognized arguments"),
        (["check", "--\x1b[2J"], "unrecognized arguments"),
        (["keygen", "--alg", "\x1b[2J"], "invalid choice"),
        (["demo", "--port", "\x1b[2J"], "is no port: 0 to 65535"),
        (["keys", "rotate", "file", "--keep", "\x1b[2J"], "has to be a duration"),
        (["token", "alice", "--claim", "\x1b[2J\u202e"], "is not NAME=VALUE"),
        (["sessions", "\u009b2J\udcff\n"], "invalid choice"),
    ],
)
def test_arguments_reach_no_terminal_as_they_are(
    words: list[str], why: str, demos: list[tuple[int, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    """An argument that can't be meant is told so, escaped: a terminal would obey it. What is no port has its range."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert (ended.value.code, demos) == (2, [])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert why in printed.err
    assert all(line.isprintable() for line in printed.err.splitlines())
