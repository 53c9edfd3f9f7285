"""Who is logged in, as the page sees it: login, logout, and the tabs beside it."""

import logging

import pytest
from playwright.sync_api import Browser, Page
from support.browsers import profile, tab
from support.sites import Site, line_to, login

pytestmark = pytest.mark.outside

ERROR = ".then(() => null, (error) => ({ ...error, message: error.message, ours: error instanceof AuthError }))"
"""What the call before it is rejected with."""


def test_an_anonymous_page_load_is_no_alarm(page: Page, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A page that nobody has logged in on, loaded and reloaded, is no event and no line of the log above DEBUG."""
    for _ in range(2):
        page.reload()
        page.wait_for_function("window.loaded")
        page.evaluate("auth.ready")
    assert site.asked() == 3
    assert site.events == []
    assert [record for record in caplog.records if record.name == "asgi_jwt" and record.levelno > logging.DEBUG] == []


def test_logout_everywhere(browser: Browser, page: Page, site: Site) -> None:
    """Logging out everywhere ends the user's sessions on other devices too."""
    page.evaluate(login())
    with profile(browser) as device:
        elsewhere = tab(device, site.url)
        elsewhere.evaluate(login())
        page.evaluate("auth.logoutEverywhere()")
        assert page.evaluate("auth.session") is None
        assert elsewhere.evaluate("auth.session.subject") == "alice"
        assert elsewhere.evaluate("auth.refresh()") is None
        assert elsewhere.evaluate("changes.at(-1)[0]") is None


def test_logout_everywhere_of_a_session_that_is_over(browser: Browser, page: Page, site: Site) -> None:
    """A session that has ended does not speak for the others: that is an error, and here nobody is logged in then."""
    page.evaluate(login())
    with profile(browser) as device:
        elsewhere = tab(device, site.url)
        elsewhere.evaluate(login())
        elsewhere.evaluate("(sid) => auth.endSession(sid)", page.evaluate("auth.session.claims.sid"))
        site.clock.turn(1000)
        error = page.evaluate("auth.logoutEverywhere()" + ERROR)
        assert (error["status"], error["error"]) == (401, "invalid_grant")
        assert page.evaluate("auth.session") is None
        assert elsewhere.evaluate("auth.refresh()")["subject"] == "alice"


def test_devices(browser: Browser, page: Page, site: Site) -> None:
    """A user sees the devices that are logged in, and ends one of them, or this one."""
    page.evaluate(login())
    site.clock.turn(1)
    with profile(browser) as device:
        elsewhere = tab(device, site.url)
        elsewhere.evaluate(login())
        devices = page.evaluate("auth.sessions()")
        assert [device["current"] for device in devices] == [True, False]
        assert page.evaluate("auth.session.claims.sid") == devices[0]["sid"]
        page.evaluate("(sid) => auth.endSession(sid)", devices[1]["sid"])
        assert elsewhere.evaluate("auth.refresh()") is None
        gone = page.evaluate(f"(sid) => auth.endSession(sid){ERROR}", devices[1]["sid"])
        assert (gone["status"], gone["error"]) == (404, "not_found")
    assert page.evaluate("auth.session.subject") == "alice"
    page.evaluate("auth.endSession(auth.session.claims.sid)")
    assert page.evaluate("auth.session") is None
    assert page.context.cookies() == []


def test_logout_that_does_not_reach_the_server(page: Page, site: Site) -> None:
    """A logout that the server has not heard of is an error, and the session is still there: so is its cookie."""
    with line_to(site) as line:
        page.goto(line.url)
        page.wait_for_function("window.loaded")
        page.evaluate("auth.ready")
        page.evaluate(login())
        line.down()
        assert page.evaluate("auth.logout()" + ERROR)["ours"] is False
        assert page.evaluate("auth.session.subject") == "alice"
        line.up()
        page.evaluate("auth.logout()")
        assert page.evaluate("auth.session") is None
