"""How the client keeps a session alive: racing tabs, lost answers, servers that are down, sleep and clocks."""

import pytest
from playwright.sync_api import BrowserContext
from support.browsers import tab
from support.sites import Line, Site, login
from support.waiting import wait_until

pytestmark = pytest.mark.outside

LIFE = 900
ALONE = "Object.defineProperty(navigator, 'locks', { value: undefined }); delete window.BroadcastChannel"
"""A browser that has neither Web Locks nor BroadcastChannel, or a page that may not use them."""


def test_tabs_that_know_nothing_of_each_other(context: BrowserContext, site: Site) -> None:
    """Without Web Locks and BroadcastChannel all refresh at once: the server settles it, and nobody is logged out."""
    context.add_init_script(ALONE)
    tabs = [tab(context, f"{site.url}/?manual") for _ in range(6)]
    tabs[0].evaluate("begin()")
    tabs[0].evaluate(login())
    for each in tabs[1:]:
        each.evaluate("begin()")
    site.clock.turn(LIFE + 100)
    site.events.clear()
    site.free.clear()
    for each in tabs:
        each.evaluate("void (auth.refresh(), window.woken = me())")
    wait_until(lambda: len(site.verdicts) == 6)
    site.free.set()
    assert [each.evaluate("woken") for each in tabs] == [200] * 6
    assert sorted(site.verdicts) == ["REPLAYED"] * 5 + ["ROTATED"]
    for _ in range(2):
        site.clock.turn(LIFE + 100)
        assert [each.evaluate("auth.refresh().then((session) => session.subject)") for each in tabs] == ["alice"] * 6


def test_a_reload_in_the_middle_of_a_refresh(context: BrowserContext, site: Site) -> None:
    """A page that is reloaded while it refreshes comes back logged in."""
    page = tab(context, site.url)
    page.evaluate(login())
    site.free.clear()
    page.evaluate("void auth.refresh()")
    wait_until(lambda: site.verdicts == ["ROTATED"])
    page.reload()
    site.free.set()
    page.wait_for_function("window.loaded")
    assert page.evaluate("auth.ready.then((session) => session.subject)") == "alice"
    assert site.verdicts[1:] == ["REPLAYED"]


def test_the_server_is_down_for_five_seconds(context: BrowserContext, site: Site, line: Line) -> None:
    """A server that is down for 5 s delays who needs a new token, and logs nobody out."""
    page = tab(context, line.url)
    page.evaluate(login())
    page.evaluate("void (window.real = Date.now, Date.now = () => real() + 1_000_000)")
    line.down()
    page.evaluate("void (window.asked = me())")
    page.wait_for_timeout(5000)
    assert page.evaluate("[auth.session.subject, changes.length]") == ["alice", 2]
    line.up()
    assert page.evaluate("asked") == 200
    assert page.evaluate("auth.session.subject") == "alice"
