"""Every example of the documentation is run, and answers as its page shows."""

import doctest
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import expect
from support.browsers import chromium, profile
from support.examples import CURL, follow, run, uvicorn_serving
from support.outside import program
from support.pages import (
    DOCS,
    QUICKSTART,
    README,
    ROOT,
    SECTIONS,
    Section,
    blocks,
    blocks_of,
    environment,
    fits,
    sections_of,
    workplace,
)

from asgi_jwt import Settings

SHOWN = [section for section in SECTIONS if section.steps]
SERVED = [section for section in SHOWN if "localhost:8000" in section.steps[0][0]]
COMMANDS = [section for section in SHOWN if section.steps[0][0].partition(" ")[0] != "curl"]
USERS_TESTS = [(section, name) for section in SECTIONS for name in section.files if name.startswith("test_")]
READERS = {field.name: field.metadata["read"] for field in fields(Settings)}


@pytest.mark.outside
@pytest.mark.parametrize("section", SERVED, ids=str)
def test_app(section: Section, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each app, run as its page says, answers as the page shows, and lets nobody in without a token."""
    environment(section.page)
    shutil.copytree(workplace(section.page).name, tmp_path, dirs_exist_ok=True)
    for name, text in {"main.py": section.main, **section.files}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    with uvicorn_serving(tmp_path, section.page) as port:
        assert CURL(f"curl -i localhost:{port}/orders").startswith("HTTP/1.1 401 ")
        follow(section, tmp_path, lambda text: text.replace("localhost:8000", f"localhost:{port}"))


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
    logins = [each.main for each in sections_of(QUICKSTART) if each.main]
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
    assert run(tmp_path, environment(), "/bin/sh", "-n", "-c", block).returncode == 0
    for command, options in re.findall(r"asgi-jwt ((?:[a-z]+ ?)+)([^\n$)]*)", block):
        shown = run(tmp_path, environment(), "/bin/sh", "-c", f"asgi-jwt {command} --help")
        for option in re.findall(r"--[a-z-]+", options):
            assert option in shown.stdout, (command, option)


@pytest.mark.parametrize(("section", "block"), blocks("env"), ids=str)
def test_variables(section: Section, block: str) -> None:
    """Each variable of a block of settings exists, and takes the value that the page gives it."""
    for line in block.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            setting = name.removeprefix("ASGI_JWT_").lower()
            if setting.endswith("_file"):
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


@pytest.mark.outside
@pytest.mark.parametrize(("section", "block"), blocks("html"), ids=str)
def test_page(section: Section, block: str, tmp_path: Path) -> None:
    """The page, served beside the app that it is for, logs in, asks, is reloaded and logs out, in Chromium."""
    public = 'public=["/auth/*", "/"]'
    assert public in section.page.read_text(encoding="utf-8")
    main = section.main or sections_of(QUICKSTART)[-1].main.replace('public=["/auth/*"]', public)
    for name, text in {"main.py": main, "page.html": block, **section.files}.items():
        (tmp_path / name).write_text(text)
    app = "page:app" if "page.py" in section.files else "main:app"
    serving = uvicorn_serving(tmp_path, section.page, app=app)
    with serving as port, chromium() as browser, profile(browser) as context:
        shown = context.new_page()
        shown.goto(f"http://localhost:{port}/")
        output = expect(shown.locator("output"))
        output.to_have_text("Who are you?")
        for password, told in {"guess": "The credentials are wrong", "wonderland": "You are alice"}.items():
            shown.fill("[name=username]", "alice")
            shown.fill("[name=password]", password)
            shown.click("text=Log in")
            output.to_have_text(told)
        shown.click("#orders")
        output.to_have_text('{"orders of":"alice"}')
        shown.reload()
        output.to_have_text("You are alice")
        shown.click("#logout")
        output.to_have_text("Who are you?")


@pytest.mark.parametrize(("section", "block"), blocks("yaml"), ids=str)
def test_yaml(section: Section, block: str) -> None:
    """Each variable in a manifest is a setting, and each probe asks a public path of the app of its page."""
    told = [scalar for document in yaml.safe_load_all(block) for scalar in scalars(document)]
    names = {name for name in told if name.startswith("ASGI_JWT_")}
    assert {name.removeprefix("ASGI_JWT_").removesuffix("_FILE").lower() for name in names} <= READERS.keys()
    (public,) = re.findall(r"public=\[(.*?)\]", section.main)
    for probed in re.findall(r"httpGet: {path: ([^,]+),", block):
        assert f'"{probed}"' in public


def scalars(node: object) -> Iterator[str]:
    """All text in a tree of YAML, names of members too."""
    if isinstance(node, dict):
        node = [*node.keys(), *node.values()]
    if isinstance(node, list):
        for each in node:
            yield from scalars(each)
    elif isinstance(node, str):
        yield node


@pytest.mark.parametrize(("section", "block"), blocks("dockerfile"), ids=str)
def test_dockerfile(section: Section, block: str, tmp_path: Path) -> None:
    """The command of an image starts a server by options that it has."""
    (command,) = re.findall(r"^CMD (.*)$", block, re.MULTILINE)
    server, app, *options = json.loads(command)
    shown = run(tmp_path, environment(section.page), sys.executable, "-m", server, "--help").stdout
    assert app == "main:app"
    assert all(option in shown for option in options if option.startswith("--"))


def test_commands() -> None:
    """One command of the README starts the demo; the other runs the tests, as `.ci/run` does, which takes it there."""
    demo, tests = (block.strip() for block in blocks_of(README, "See it work"))
    setting_up = "python3 -m venv .venv && .venv/bin/pip install -q -e"
    assert demo == f"{setting_up} '.[demo]' && .venv/bin/python -m asgi_jwt demo --open"
    assert tests == f"{setting_up} '.[test]' && .venv/bin/python -m pytest -n auto"
    (pattern,) = re.findall(r"grep -m 1 -F -- '(.*)' README\.md", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert next(line for line in README.read_text(encoding="utf-8").splitlines() if pattern in line) == tests


def test_lines_of_keygen(tmp_path: Path) -> None:
    """A shell makes variables of the lines of `keygen` as the page says, and the service can be set up by them."""
    to_shell = blocks_of(DOCS / "keys.md", "Make keys")[1].strip()
    to_file = blocks_of(DOCS / "keys.md", "Make keys")[0].splitlines()[1] + "; set -a; . ./service.env; set +a"
    environ = {name: value for name, value in environment().items() if not name.endswith("SECRET")}
    for way in (to_shell, to_file):
        assert "0 problems, 1 warning" in run(tmp_path, environ, "/bin/sh", "-euc", f"{way}; asgi-jwt check").stdout
