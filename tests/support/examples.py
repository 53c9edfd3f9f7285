"""The apps of the documentation, served and asked as their pages say."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template

import pytest
from support.curl import CURLS
from support.pages import Section, environment, fits
from support.waiting import PATIENCE

CURL = CURLS[-1]


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


def follow(section: Section, folder: Path, change: Callable[[str], str]) -> dict[str, str]:
    """Does each step of the section in `folder` and compares the answer with the page; gives the shell's variables.

    `change` rewrites each command, to reach the server where it is.
    """
    variables, answer = dict(environment(section.page)), ""
    for shown, output in section.steps:
        command = change(shown)
        program, *arguments = command.split()
        if program == "curl":
            answer = CURL(Template(command).substitute(variables))
            check_answer(change(output), answer)
        elif assigned := re.fullmatch(r"([A-Z_]+)=(\S+)", command):
            name, value = assigned.groups()
            variables[name] = json.loads(answer.partition("\n\n")[2])[name.lower()]
            assert fits(value, variables[name])
        else:
            assert program == "python"
            script = folder / arguments[0]
            script.write_text(change(script.read_text()))
            assert run(folder, environment(section.page), sys.executable, *arguments).stdout == output
    return variables


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
