"""A site for each test, and Chromium to visit it with."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from support import browsers
from support.sites import Line, Site, line_to, serving

OpenTab = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browsers.profile(browser) as context:
        yield context


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as site:
        yield site


@pytest.fixture
def line(site: Site) -> Iterator[Line]:
    """A line to the site that can be cut."""
    with line_to(site) as line:
        yield line


@pytest.fixture
def page(context: BrowserContext, site: Site) -> Page:
    """A tab at the site, with nobody logged in."""
    return browsers.tab(context, site.url)
