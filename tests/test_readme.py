"""Everything that the README shows is run, and everything that its tables list is compared."""

import doctest
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
from curl import CURLS
from other_issuers import ISSUERS
from readme import ROOT, SECTIONS, TEXT, Section

from asgi_jwt import AuthError, Settings, errors

SERVED = [section for section in SECTIONS.values() if section.steps]
MAIN = next(section.files["main.py"] for section in SERVED)


@cache
def environment() -> Mapping[str, str]:
    """What the README's exports make of the environment."""
    exports = "".join(block for section in SECTIONS.values() for block in section.shell if block.startswith("export "))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    paths = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    told = subprocess.run(
        ["/bin/sh", "-euc", exports + "python3 -c 'import json, os; print(json.dumps(dict(os.environ)))'"],
        env={**os.environ, "PATH": path, "PYTHONPATH": paths, "NO_PROXY": "*"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    read: dict[str, str] = json.loads(told.stdout)
    return read


@contextmanager
def uvicorn_serving(folder: Path) -> Iterator[str]:
    """Serves `main:app` as the README says, on a free port; gives the port."""
    command = [sys.executable, "-m", "uvicorn", "main:app", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        log = []
        try:
            while line := server.stderr.readline():
                log.append(line)
                if running := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                    yield running[1]
                    break
            else:
                pytest.fail("".join(log))
        finally:
            server.kill()


def check_answer(shown: str, answered: str) -> None:
    """All that is shown was answered: the status, these headers, the very body."""
    shown_head, _, shown_body = shown.partition("\n\n")
    head, _, body = answered.partition("\n\n")
    status, *headers = shown_head.splitlines()
    assert head.splitlines()[0].rstrip() == status
    assert set(headers) <= set(head.splitlines())
    assert body.rstrip("\n") == shown_body.rstrip("\n")


@pytest.mark.parametrize("section", SERVED, ids=lambda section: section.title)
def test_app(section: Section, tmp_path: Path) -> None:
    """Each app, run as the README says, answers what the README shows, and lets nobody in without a token."""
    for name, text in section.files.items():
        (tmp_path / name).write_text(text)
    with uvicorn_serving(tmp_path) as port:
        assert CURLS[-1](f"curl -i localhost:{port}/orders").startswith("HTTP/1.1 401 ")
        for shown, output in section.steps:
            command = shown.replace("localhost:8000", f"localhost:{port}")
            program, *arguments = command.split()
            if program == "curl":
                token = environment()["TOKEN"]
                check_answer(output, CURLS[-1](command.replace("${TOKEN}", token).replace("$TOKEN", token)))
            else:
                assert program == "python"
                script = tmp_path / arguments[0]
                script.write_text(script.read_text().replace("localhost:8000", f"localhost:{port}"))
                assert run_python(tmp_path, *arguments) == output


def test_users_test(tmp_path: Path) -> None:
    """The test that the README gives to users passes against its first app."""
    (name,) = SECTIONS["Test your app"].files
    (tmp_path / name).write_text(SECTIONS["Test your app"].files[name])
    (tmp_path / "main.py").write_text(MAIN)
    assert "1 passed" in run_python(tmp_path, "-m", "pytest", "-p", "no:cacheprovider", name)


def run_python(folder: Path, *arguments: str) -> str:
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


@pytest.mark.parametrize(
    "section", [section for section in SECTIONS.values() if section.doctests], ids=lambda section: section.title
)
def test_interactive(section: Section) -> None:
    """Each interactive example prints what the README shows."""
    for block in section.doctests:
        example = doctest.DocTestParser().get_doctest(block, {}, section.title, "README.md", None)
        assert example.examples
        report: list[str] = []
        doctest.DocTestRunner().run(example, out=report.append)
        assert not report, "".join(report)


def test_nothing_is_left_out() -> None:
    """Every fenced block is run by a test, but for the two commands that set everything up."""
    commands = [block for block in SECTIONS["Install"].shell if block.startswith("python3 -m venv ")]
    exports = SECTIONS["Protect an app"].shell
    users_test = SECTIONS["Test your app"].files
    run = [*exports, *users_test, *(name for section in SERVED for name in section.files)]
    consoles = re.findall(r"^```console$", TEXT, re.MULTILINE)
    doctests = [block for section in SECTIONS.values() for block in section.doctests]
    assert all(block.startswith("export ") for block in exports)
    assert len(consoles) == len(SERVED)
    assert len(commands) == 2
    assert len(commands) + len(run) + len(consoles) + len(doctests) == len(re.findall(r"^```\w+$", TEXT, re.MULTILINE))


def test_commands() -> None:
    """One command starts the demo; the other runs the tests, as the project's own checks do."""
    demo, tests = (re.split(r" && (?:\.venv/bin/)?", block.strip()) for block in SECTIONS["Install"].shell)
    assert demo == ["python3 -m venv .venv", "pip install -q -e '.[demo]'", "python -m asgi_jwt demo"]
    assert tests[:2] == ["python3 -m venv .venv", "pip install -q -e '.[test]'"]
    assert tests[2].removeprefix("python ") in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_settings_table() -> None:
    """Every setting is in the table, in its order and with its default."""
    _, *rows = SECTIONS["Settings"].table
    settings = fields(Settings)
    assert [name.strip("`").lower() for name, *_ in rows] == [each.name for each in settings]
    for (name, default, meaning), each in zip(rows, settings, strict=True):
        assert meaning
        if default.startswith("required"):
            with pytest.raises(errors.ConfigurationError, match=name.strip("`")):
                Settings()
        elif default:
            assert each.metadata["read"](default.strip("`")) == each.default, name
        else:
            assert each.default in (None, ()), name


def test_issuers_table() -> None:
    """Every issuer whose tokens are tested has a row with the settings of its test; capitals stand for your own."""
    _, *rows = SECTIONS["Tokens of other issuers"].table
    assert [name for name, *_ in rows] == list(ISSUERS)
    for name, issuer, audience, further in rows:
        shown = dict(setting.split("=", 1) for setting in re.findall(r"`([A-Z_]+=[^`]+)`", further))
        shown |= {"ISSUER": issuer.strip("`")} if issuer.startswith("`") else {}
        shown |= {"AUDIENCE": audience.strip("`")} if audience.startswith("`") else {}
        tested = {setting.upper(): value for setting, value in ISSUERS[name].row.items()}
        assert shown.keys() | {"ISSUER", "AUDIENCE"} == tested.keys(), name
        for setting, value in shown.items():
            pattern = re.sub(r"[A-Z]{2,}(\\-[A-Z]+)*", ".+", re.escape(value.partition("` (")[0]))
            assert re.fullmatch(pattern, tested[setting]), (name, setting)


def test_error_table() -> None:
    """Every error is in the table, with its reason code, its status, and what the client is told."""
    _, *rows = SECTIONS["Errors"].table
    tree = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, AuthError)]
    expected = {(f"`{one.reason}`", str(one.status), one.error and f"`{one.error}`", one.description) for one in tree}
    assert {(reason, status, error or None, description) for reason, status, error, description in rows} == expected
    assert len(rows) == len(tree)
