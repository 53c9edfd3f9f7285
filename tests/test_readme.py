"""Everything that the README shows is run, and everything that its tables list is compared."""

import doctest
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from math import inf
from pathlib import Path
from string import Template
from typing import Any

import pytest
from auth_service import Service
from playwright.sync_api import expect
from readme import ROOT, SECTIONS, TEXT, Section, environment, fits
from support.browsers import chromium, profile
from support.curl import CURLS
from support.other_issuers import ISSUERS
from support.waiting import PATIENCE

from asgi_jwt import (
    Auth,
    AuthApp,
    AuthError,
    MemoryStore,
    RedisStore,
    Settings,
    SQLiteStore,
    errors,
    open_store,
)
from asgi_jwt.http import bodies
from asgi_jwt.sessions.rotation import Verdict
from asgi_jwt.stores.urls import REDIS_SCHEMES
from benchmarks.commands import COMMANDS
from benchmarks.evidence import simulation
from benchmarks.evidence.rotations import WAYS

COMMAND_LINE = SECTIONS["Command line"]
SERVED = [section for section in SECTIONS.values() if section.steps and section is not COMMAND_LINE]
MEASURING = [block for title in ("What that does to users and thieves", "Compared") for block in SECTIONS[title].shell]
PAGES = [page for section in SECTIONS.values() for page in section.pages]
USERS_TESTS = [(section, name) for section in SECTIONS.values() for name in section.files if name.startswith("test_")]


@contextmanager
def uvicorn_serving(folder: Path, app: str = "main:app") -> Iterator[str]:
    """Serves `app` as the README says, on a free port; gives the port."""
    command = [sys.executable, "-m", "uvicorn", app, "--port", "0"]
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
    """All that is shown was answered: the status, these headers, the very body; `...` stands for what may differ."""
    shown_head, _, shown_body = shown.partition("\n\n")
    head, _, body = answered.partition("\n\n")
    shown_status, *shown_headers = shown_head.splitlines()
    status, *headers = head.splitlines()
    assert status.rstrip() == shown_status
    for shown_header in shown_headers:
        assert any(fits(shown_header, header) for header in headers), (shown_header, headers)
    assert fits(shown_body.rstrip("\n"), body.rstrip("\n")), (shown_body, body)


@pytest.mark.outside
@pytest.mark.parametrize("section", SERVED, ids=lambda section: section.title)
def test_app(section: Section, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each app, run as the README says, answers what the README shows, and lets nobody in without a token."""
    for name, text in {"main.py": section.main, **section.files}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    variables, answer = {"TOKEN": environment()["TOKEN"]}, ""
    with uvicorn_serving(tmp_path) as port:
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
                assert run_python(tmp_path, *arguments) == output


@pytest.mark.outside
@pytest.mark.parametrize(("section", "name"), USERS_TESTS, ids=[name for _, name in USERS_TESTS])
def test_users_test(section: Section, name: str, tmp_path: Path) -> None:
    """The tests that the README gives to users pass, those of an app against the one that they are about.

    They need no settings but what the README has them set."""
    for each in {name, "conftest.py"} & section.files.keys():
        (tmp_path / each).write_text(section.files[each])
    (tmp_path / "main.py").write_text((SECTIONS["Log users in"] if name == "test_logins.py" else SERVED[0]).main)
    bare = {name: value for name, value in environment().items() if not name.startswith("ASGI_JWT_")}
    told = run_python(tmp_path, "-m", "pytest", "-p", "no:cacheprovider", name, variables=bare)
    assert re.search(r"^=+ [1-9]\d* passed in .*s =+$", told, re.MULTILINE), told


def run_python(folder: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> str:
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment() if variables is None else variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE,
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


@pytest.mark.outside
def test_page(tmp_path: Path) -> None:
    """The page, served beside the app that it is for, logs in, asks, is reloaded and logs out, in Chromium."""
    (page,) = PAGES
    section = SECTIONS["In the browser"]
    (public,) = re.findall(r"`(public=[^`]+)`. Not", TEXT)
    (tmp_path / "main.py").write_text(section.main.replace('public=["/auth/*"]', public))
    (tmp_path / "page.py").write_text(section.files["page.py"])
    (tmp_path / "page.html").write_text(page)
    with uvicorn_serving(tmp_path, "page:app") as port, chromium() as browser, profile(browser) as context:
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


def test_nothing_is_left_out() -> None:
    """Every fenced block is run by a test, but for the two commands that set everything up, and those that measure."""
    commands = [block for block in SECTIONS["Install"].shell if block.startswith("python3 -m venv ")] + MEASURING
    exports = [block for section in SECTIONS.values() for block in section.shell if block.startswith("export ")]
    beside = [name for section in SECTIONS.values() for name in section.files if name in ("conftest.py", "page.py")]
    run = [*exports, *USERS_TESTS, *beside, *(name for section in SERVED for name in section.files)]
    consoles = re.findall(r"^```console$", TEXT, re.MULTILINE)
    doctests = [block for section in SECTIONS.values() for block in section.doctests]
    assert len(consoles) == len([*SERVED, COMMAND_LINE])
    assert len(commands) == 4
    shown = [*commands, *run, *consoles, *doctests, *PAGES]
    assert len(shown) == len(re.findall(r"^```\w+$", TEXT, re.MULTILINE))


def test_commands() -> None:
    """One command starts the demo; the other runs the tests, as the project's own checks do."""
    demo, tests = (re.split(r" && (?:\.venv/bin/)?", block.strip()) for block in SECTIONS["Install"].shell)
    assert demo == ["python3 -m venv .venv", "pip install -q -e '.[demo]'", "python -m asgi_jwt demo --open"]
    assert tests[:2] == ["python3 -m venv .venv", "pip install -q -e '.[test]'"]
    (pattern,) = re.findall(r"grep -m 1 -F -- '(.*)' README\.md", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert pattern in tests[2]
    assert next(line for line in TEXT.splitlines() if pattern in line) == SECTIONS["Install"].shell[1].strip()


def test_measuring() -> None:
    """What the README says to measure with is there."""
    extra, *lines = "".join(reversed(MEASURING)).splitlines()
    assert extra == "pip install -e '.[bench]'"
    assert {line.removeprefix("python -m benchmarks ") for line in lines} <= {*COMMANDS, "simulation"}


@pytest.mark.outside
def test_simulation_table() -> None:
    """The simulation gives these very figures."""
    _, *rows = SECTIONS["What that does to users and thieves"].table
    results = {name: simulation.simulate(way, users=400, seed=1) for name, way in WAYS.items()}
    shown = [
        [name, f"{result.false_logouts:.1f} %", *(f"{out:g}" if out < inf else "never" for out in result[1:3])]
        for name, result in results.items()
    ]
    assert rows == shown


def test_settings_table() -> None:
    """Every setting is in the table, in its order and with its default."""
    _, *rows = SECTIONS["Settings"].table
    settings = fields(Settings)
    assert [name.strip("`").lower() for name, *_ in rows] == [each.name for each in settings]
    given = Settings(issuer="i", audience="a", secret="s" * 32)
    with_sessions = Settings(issuer="i", audience="a", secret="s" * 32, refresh_secret="r" * 32)
    for (name, default, meaning), each in zip(rows, settings, strict=True):
        assert meaning
        if default == "required by `AuthApp`":
            with pytest.raises(errors.ConfigurationError, match=name.strip("`")):
                AuthApp(Auth(given, store=MemoryStore()), lambda credentials, request: None)
        elif default.startswith("required"):
            with pytest.raises(errors.ConfigurationError, match=name.strip("`")):
                Settings()
        elif default.endswith(" with `REFRESH_SECRET`, else none"):
            read = each.metadata["read"](default.split("`")[1])
            assert (getattr(with_sessions, each.name), getattr(given, each.name)) == (read, None), name
        elif default:
            assert each.metadata["read"](default.strip("`")) == each.default, name
        else:
            assert each.default in (None, ()), name


@pytest.mark.anyio
async def test_routes_table() -> None:
    """The routes that the table lists are those of the app, each with its method and no other."""
    _, *rows = SECTIONS["Routes"].table
    listed: dict[str, set[str]] = {}
    for route, *_ in rows:
        for method, path in re.findall(r"(\w+) ([^`]+)", route):
            listed.setdefault(path, set()).add(method)
    service = Service()
    for path, methods in listed.items():
        refused = await service.ask("PATCH", path.replace("{sid}", "s1"))
        assert refused.status == 405, path
        assert set(refused.headers["allow"].split(", ")) - {"HEAD"} == methods, path
    mounted: Any = service.app
    assert {route.path for route in mounted._app.app.routes} == listed.keys()


def test_rotation_table() -> None:
    """Every verdict has its row, in the order in which they are weighed."""
    _, *rows = SECTIONS["How refresh tokens rotate"].table
    assert [verdict.strip("`") for verdict, *_ in rows] == [*Verdict]


def test_stores_table(tmp_path: Path) -> None:
    """Every URL opens the store that its row is about, and each scheme has a row, with TLS or without."""
    _, *rows = SECTIONS["Stores"].table
    stores: dict[str, type] = {"memory": MemoryStore, "sqlite": SQLiteStore}
    listed = set()
    for url, *_ in rows:
        scheme = url.strip("`").partition(":")[0]
        listed.add(scheme)
        store = open_store(url.strip("`").replace("/path/to", str(tmp_path)))
        assert type(store) is stores.get(scheme, RedisStore), url
    assert {scheme.replace("rediss", "redis") for scheme in listed} == {
        scheme.replace("rediss", "redis") for scheme in (*stores, *REDIS_SCHEMES)
    }


def test_rights_and_parameters_of_redis() -> None:
    """The rights that the README asks for are those that RedisStore names, and the parameters those that a URL has."""
    text = TEXT.partition("## Stores\n")[2].partition("\n## ")[0]
    asked = text.partition("needs these rights")[2].partition("\n- ")[0]
    right = r"\+[a-z@|]+"
    assert set(re.findall(right, asked)) == set(re.findall(right, RedisStore.__doc__ or "")) != set()
    told = set(re.findall(r"`(\w+)`", text.partition("Parameters behind `?`:")[2].partition("\n\n")[0]))
    with pytest.raises(errors.ConfigurationError, match="it takes ") as refused:
        open_store("rediss+sentinel://host/service?unknown=1")  # which takes all there are
    assert told == set(str(refused.value).partition("it takes ")[2].split(", "))


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
    known = inspect.getmembers(errors, inspect.isclass) + inspect.getmembers(bodies, inspect.isclass)
    tree = {one for _, one in known if issubclass(one, AuthError)}
    expected = {(f"`{one.reason}`", str(one.status), one.error and f"`{one.error}`", one.description) for one in tree}
    assert {(reason, status, error or None, description) for reason, status, error, description in rows} == expected
    assert len(rows) == len(tree)
