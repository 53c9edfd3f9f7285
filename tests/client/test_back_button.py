"""Pages that the back button brings back as they were left, out of the browser's cache."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from support import browsers
from support.browsers import tab
from support.sites import Site, login

pytestmark = pytest.mark.outside


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.chromium(cache_pages=True) as browser:
        yield browser


def back(page: Page) -> None:
    """`go_back` waits for a page to be loaded, which one that was kept never is."""
    page.evaluate("history.back()")
    page.wait_for_url("**/", wait_until="commit")


def test_after_a_logout(context: BrowserContext, site: Site) -> None:
    """A page that comes back learns of the logout that it has missed."""
    first, second = tab(context, site.url), tab(context, site.url)
    first.evaluate(login())
    second.wait_for_function("auth.session")
    first.goto(f"{site.url}/?manual")
    second.evaluate("auth.logout()")
    back(first)
    first.wait_for_function("window.auth?.session === null")


def test_while_logged_in(context: BrowserContext, site: Site) -> None:
    """A page that comes back is logged in as it was, and hears of the other tabs again."""
    first, second = tab(context, site.url), tab(context, site.url)
    first.evaluate(login())
    first.evaluate("void (window.mark = 'kept')")
    first.goto(f"{site.url}/?manual")
    back(first)
    first.wait_for_function("window.auth?.session?.subject === 'alice'")
    assert first.evaluate("window.mark") == "kept"
    second.evaluate("auth.logout()")
    first.wait_for_function("auth.session === null")
