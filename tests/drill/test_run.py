"""A whole drill: of a good deployment, of one that answers nothing in time, and of two that are broken."""

import time

import anyio
import pytest
from starlette.testclient import TestClient
from support.app import credentials
from support.deployments import Site, deployment
from support.pages import table_of

from asgi_jwt.drill import run as limits
from asgi_jwt.drill.outcome import Result
from asgi_jwt.drill.run import Report, run_drill


def drilled(site: Site) -> Report:
    return anyio.run(lambda: run_drill(site.target(), credentials(), clock=time.time, progress=lambda *_: None))


def named(report: Report) -> dict[str, Result]:
    return {result.name: result for result in report.results}


def test_good(site: Site) -> None:
    """All promises hold, nothing is left behind, the user's other session stays, and no other host is asked."""
    site.app = app = deployment(grace=2, issuer=f"{site.origin}/auth")
    client = TestClient(app)
    access = client.post("/auth/login", json=credentials()).json()["access_token"]
    report = drilled(site)
    assert {result.name: result.seen for result in report.results if not result.holds} == {}
    assert report.holds
    assert report.requests <= 500
    assert site.hosts == {site.origin.removeprefix("http://")}
    sessions = client.get("/auth/sessions", headers={"Authorization": f"Bearer {access}"}).json()["sessions"]
    assert [each["current"] for each in sessions] == [True]
    listed = [[row[1], row[0]] for row in table_of("drill", "What it tries")]
    assert sorted(listed) == sorted([result.promise, result.name] for result in report.results)


def test_strict(site: Site) -> None:
    """A grace of 0 breaks the promises to tabs and late answers, and keeps those against thieves."""
    site.app = deployment(grace=0)
    results = named(drilled(site))
    assert {name for name, result in results.items() if result.holds is False} == {"racing tabs", "late answers"}
    assert "ASGI_JWT_GRACE to 30" in results["racing tabs"].mend


def test_time_limit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time is over, the checks under way are not tried, and the sessions are ended all the same."""
    monkeypatch.setattr(limits, "TIME_LIMIT", limits._CLEAN_UP + 3)
    site.app = deployment(grace=30)
    results = named(drilled(site))
    assert results["theft"].seen == "the drill's time was over"
    assert results["the drill's sessions"].holds is True
