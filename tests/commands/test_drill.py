"""`asgi-jwt drill`: what it prints, and how it ends."""

import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.app import PASSWORDS
from support.command_line import CommandLine
from support.deployments import Site, deployment, served_site
from support.tables import tables_of

PASSWORD = PASSWORDS["alice"]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with served_site() as served:
        yield served


@pytest.fixture
def drill(asgi_jwt: CommandLine, site: Site) -> list[str]:
    """The words of a drill of a deployment without grace, which is soon over."""
    asgi_jwt.environ.clear()
    asgi_jwt.clock.now = time.time()
    site.app = deployment(grace=0)
    return ["drill", f"{site.origin}/auth", "--api", "/api/me", "--login", "username=alice"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_text(asgi_jwt: CommandLine, drill: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each check, a fault with its mend, a progress bar on a terminal, and neither password nor token."""
    file, terminal = tmp_path / "password", Terminal()
    file.write_text(f"{PASSWORD}\r\n")
    monkeypatch.setattr(sys, "stderr", terminal)
    told = asgi_jwt(*drill, f"password=@{file}")
    assert told.status == 1
    assert "ok       P6 login: 200, with an access token\n" in told.out
    assert "problem  P10 racing tabs: " in told.out
    assert "untried  P9 metadata: " in told.out
    assert "\n2 problems, 20 ok, 2 untried; " in told.out
    assert "\r\x1b[K[........................] 0 of 24 checks, " in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
    assert PASSWORD not in told.out + terminal.getvalue()
    assert "eyJ" not in told.out


def test_json(asgi_jwt: CommandLine, drill: list[str]) -> None:
    """One object, for programs."""
    told = asgi_jwt(*drill, f"password={PASSWORD}", "--json")
    assert told.status == 1
    assert list(told.json) == ["url", "api", "holds", "requests", "seconds", "checks"]
    assert (told.json["url"], told.json["api"], told.json["holds"]) == (drill[1], "/api/me", False)
    assert all(list(each) == ["promise", "name", "holds", "seen", "mend"] for each in told.json["checks"])
    assert {each["holds"] for each in told.json["checks"]} == {True, False, None}


def test_refused(asgi_jwt: CommandLine, drill: list[str]) -> None:
    """A login that is refused is a problem."""
    told = asgi_jwt(*drill, "password=wrong")
    assert told.status == 1
    assert "problem  P6 login: POST /auth/login was answered 401 invalid_grant: give --login" in told.out


@pytest.mark.parametrize(
    ("words", "says"),
    tables_of(__file__)["usage"],
)
def test_usage(asgi_jwt: CommandLine, words: list[str], says: str) -> None:
    """Wrong usage exits with 2, and says what is meant."""
    told = asgi_jwt("drill", *words)
    assert told.status == 2
    assert says in told.err
