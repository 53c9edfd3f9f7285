"""Every example of the documentation is run, and answers as its page shows."""

import doctest
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from string import Template

import pytest
from support.curl import CURLS
from support.outside import program
from support.pages import DOCS, SECTIONS, Section, blocks, environment, fits, sections_of
from support.waiting import PATIENCE

from asgi_jwt import Settings

SHOWN = [section for section in SECTIONS if section.steps]
SERVED = [section for section in SHOWN if any(command.startswith("curl ") for command, _ in section.steps)]
COMMANDS = [section for section in SHOWN if section not in SERVED]
USERS_TESTS = [(section, name) for section in SECTIONS for name in section.files if name.startswith("test_")]
READERS = {field.name: field.metadata["read"] for field in fields(Settings)}


@contextmanager
def uvicorn_serving(folder: Path, page: Path, *options: str, app: str = "main:app") -> Iterator[str]:
    """Serves `app` as the page says, on a free port; gives the port."""
    command = [sys.executable, "-m", "uvicorn", app, "--port", "0", *options]
    with subprocess.Popen(command, cwd=folder, env=environment(page), stderr=subprocess.PIPE, text=True) as server:
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
    """The answer has the status that the page shows, its headers, and its body."""
    shown_head, _, shown_body = shown.partition("\n\n")
    head, _, body = answered.partition("\n\n")
    shown_status, *shown_headers = shown_head.splitlines()
    status, *headers = head.splitlines()
    assert status.rstrip() == shown_status, answered
    for shown_header in shown_headers:
        assert any(fits(shown_header, header) for header in headers), (shown_header, headers)
    assert fits(shown_body.rstrip("\n"), body.rstrip("\n")), (shown_body, body)


def run(folder: Path, variables: Mapping[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@pytest.mark.outside
@pytest.mark.parametrize("section", SERVED, ids=str)
def test_app(section: Section, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each app, run as its page says, answers as the page shows, and lets nobody in without a token."""
    for name, text in {"main.py": section.main, **section.files}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    variables, answer = {"TOKEN": environment(section.page)["TOKEN"]}, ""
    with uvicorn_serving(tmp_path, section.page) as port:
        assert CURLS[-1](f"curl -i localhost:{port}/orders").startswith("HTTP/1.1 401 ")
        for shown, output in section.steps:
            command = shown.replace("localhost:8000", f"localhost:{port}")
            program, *arguments = command.split()
            if program == "curl":
                answer = CURLS[-1](Template(command).substitute(variables))
                check_answer(output, answer)
            elif assigned := re.fullmatch(r"([A-Z_]+)=(\S+)", command):
                name, value = assigned.groups()
                variables[name] = json.loads(answer.partition("\n\n")[2])[name.lower()]
                assert fits(value, variables[name])
            else:
                assert program == "python"
                script = tmp_path / arguments[0]
                script.write_text(script.read_text().replace("localhost:8000", f"localhost:{port}"))
                ended = run(tmp_path, environment(section.page), sys.executable, *arguments)
                assert ended.stdout == output


@pytest.mark.parametrize("section", COMMANDS, ids=str)
def test_command_line(section: Section, tmp_path: Path) -> None:
    """Each command, in a shell with the variables of its page, prints what the page shows."""
    for name, text in section.files.items():
        (tmp_path / name).write_text(text)
    for command, output in section.steps:
        ended = run(tmp_path, environment(section.page), "/bin/sh", "-c", command)
        assert fits(output.rstrip("\n"), ended.stdout.rstrip("\n")), ended.stdout


@pytest.mark.outside
@pytest.mark.parametrize(("section", "name"), USERS_TESTS, ids=[name for _, name in USERS_TESTS])
def test_users_test(section: Section, name: str, tmp_path: Path) -> None:
    """The tests that a page gives to users pass, with no variable set but in the page's `conftest.py`."""
    logins = [each.main for each in sections_of(DOCS / "quickstart.md") if each.main]
    (tmp_path / "main.py").write_text(section.main or logins[-1 if "login" in name else 0])
    beside = [each for page in sections_of(section.page) for each in page.files.items()]
    for each, text in beside:
        if each in (name, "conftest.py"):
            (tmp_path / each).write_text(text)
    variables = environment(section.page).items()
    bare = {variable: value for variable, value in variables if not variable.startswith("ASGI_JWT_")}
    ended = run(tmp_path, bare, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", name)
    assert re.search(r"^=+ [1-9]\d* passed in .*s =+$", ended.stdout, re.MULTILINE), ended.stdout


@pytest.mark.parametrize(("section", "block"), blocks("pycon"), ids=str)
def test_interactive(section: Section, block: str) -> None:
    """Each interactive example prints what its page shows."""
    example = doctest.DocTestParser().get_doctest(block, {}, str(section), section.page.name, None)
    assert example.examples
    report: list[str] = []
    doctest.DocTestRunner().run(example, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize(("section", "block"), blocks("sh"), ids=str)
def test_shell(section: Section, block: str, tmp_path: Path) -> None:
    """A shell can parse each block, and each `asgi-jwt` command in it names options that there are."""
    assert run(tmp_path, environment(section.page), "/bin/sh", "-n", "-c", block).returncode == 0
    for command, options in re.findall(r"asgi-jwt ((?:[a-z]+ ?)+)([^\n$)]*)", block):
        shown = run(tmp_path, environment(section.page), "/bin/sh", "-c", f"asgi-jwt {command} --help")
        for option in re.findall(r"--[a-z-]+", options):
            assert option in shown.stdout, (command, option)


@pytest.mark.parametrize(("section", "block"), blocks("env"), ids=str)
def test_variables(section: Section, block: str) -> None:
    """Each variable of a block of settings exists, and takes the value that the page gives it."""
    for line in block.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            setting = name.removeprefix("ASGI_JWT_").lower()
            if setting.removesuffix("_file") in READERS and setting.endswith("_file"):
                assert value.startswith("/")
            else:
                READERS[setting](value)


@pytest.mark.outside
@pytest.mark.parametrize(("section", "block"), blocks("js"), ids=str)
def test_javascript(section: Section, block: str, tmp_path: Path) -> None:
    """Node can parse each JavaScript module."""
    (tmp_path / "example.mjs").write_text(block)
    ended = run(tmp_path, environment(section.page), program("node"), "--check", "example.mjs")
    assert ended.returncode == 0, ended.stdout
