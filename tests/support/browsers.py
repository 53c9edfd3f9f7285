"""Chromium, driven by Playwright."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from support import waiting
from support.outside import program

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 1000 * waiting.PATIENCE
"""Milliseconds."""


@contextmanager
def chromium(*arguments: str, cache_pages: bool = False) -> Iterator[Browser]:
    """Debian's Chromium, without a window. It runs an event loop in this thread: no async test beside it.

    `cache_pages`: the back button brings pages back as they were left, which Playwright switches off.
    """
    path = program("chromium")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=[*_ARGUMENTS, *arguments],
            ignore_default_args=["--disable-back-forward-cache"] if cache_pages else None,
        )
        yield browser
        browser.close()


@contextmanager
def started_with(folder: Path) -> Iterator[BrowserContext]:
    """The same, with the user's jar and storage in `folder`, where they stay when the browser is closed."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=program("chromium"), args=_ARGUMENTS
        )
        context.set_default_timeout(PATIENCE)
        yield context
        context.close()


@contextmanager
def profile(browser: Browser) -> Iterator[BrowserContext]:
    """A user's jar and storage, empty at first."""
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE)
        yield context


def tab(context: BrowserContext, url: str) -> Page:
    """A tab at a page of a site, whose client knows who is logged in."""
    page = context.new_page()
    page.goto(url)
    page.wait_for_function("window.loaded")
    page.evaluate("window.auth?.ready")
    return page
