"""The demo as people see it: in Chromium, light and dark, on a phone and on a desk."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, NamedTuple

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from support import browsers
from support.demo import COOKIE, demo_process
from support.outside import npm_package

pytestmark = pytest.mark.outside

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZES = ((1280, 800), (390, 844))
# What the browser itself says of an answer that is a refusal, which this page is there to show.
REFUSAL = re.compile(r"Failed to load resource: the server responded with a status of 401")
JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")


class Screen:
    """A user at the demo. Whatever the browser complains about is kept in `complaints`."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(browsers.PATIENCE)
        page.on("console", lambda told: self._hear(told.type, told.text))
        page.on("pageerror", lambda error: self._hear("error", str(error)))
        page.goto(url)
        expect(page.get_by_role("status").first).to_have_text("Connected")

    def _hear(self, kind: str, text: str) -> None:
        if kind != "log" and not REFUSAL.match(text):
            self.complaints.append(f"{kind}: {text}")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def press(self, name: str) -> None:
        self.button(name).click()

    def log_in(self) -> None:
        self.press("Log in")
        self.sees("Login")
        expect(self.page.get_by_role("heading", name="You are alice")).to_be_focused()

    def sees(self, *marks: str) -> None:
        """The story has come to all of these, in this order, beside access tokens that are refused as revoked."""
        shown = self.page.get_by_role("log", name="What happened").locator(".mark").filter(has_not_text="Revoked")
        expect(shown).to_have_text([re.compile(mark) for mark in marks])

    def waits(self) -> None:
        """Until what was begun has come to its end."""
        expect(self.button("missing")).to_have_attribute("aria-disabled", "false")

    def check_accessibility(self) -> None:
        """Axe finds nothing. On a screen so high that nothing covers another's colours."""
        size = self.page.viewport_size
        assert size is not None
        self.page.set_viewport_size({"width": size["width"], "height": 3000})
        self.page.evaluate((npm_package("axe-core") / "axe.min.js").read_text(encoding="utf-8"))
        found: Any = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert [(one["id"], one["impact"], one["help"]) for one in found["violations"]] == []
        self.page.set_viewport_size(size)

    def check_layout(self) -> None:
        """Nothing is wider than the screen; a desk needs no scrolling; the whole story is in sight, on a phone too."""
        overflow = self.page.evaluate(
            "['Width', 'Height'].map((way) => document.scrollingElement['scroll' + way] - window['inner' + way])"
        )
        assert overflow[0] <= 0
        if self.page.viewport_size == {"width": 1280, "height": 800}:
            assert overflow[1] <= 0
        expect(self.page.get_by_role("heading", name="What happened")).to_be_in_viewport()
        story = self.page.get_by_role("log", name="What happened").locator(":scope > *")
        expect(story.first).to_be_in_viewport(ratio=1)
        expect(story.last).to_be_in_viewport(ratio=1)


class Demos(NamedTuple):
    """One and the same done on every screen, each at a demo of its own: what they wait for passes at once."""

    screens: list[Screen]

    def each(self, act: Callable[[Screen], object]) -> None:
        for screen in self.screens:
            act(screen)

    def press(self, name: str) -> None:
        self.each(lambda screen: screen.press(name))

    def sees(self, *marks: str) -> None:
        self.each(lambda screen: screen.sees(*marks))
        self.each(Screen.waits)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.chromium() as browser:
        yield browser


@contextmanager
def serving() -> Iterator[str]:
    with demo_process() as (_, told):
        yield re.findall(r"Open (\S+)", told)[0]


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        yield context


@pytest.fixture
def screen(context: BrowserContext) -> Iterator[Screen]:
    with serving() as url:
        screen = Screen(context.new_page(), url)
        yield screen
        assert screen.complaints == []


@pytest.fixture
def demos(browser: Browser) -> Iterator[Demos]:
    with ExitStack() as stack:
        screens = []
        for scheme in SCHEMES:
            for width, height in SIZES:
                context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
                page = stack.enter_context(context).new_page()
                screens.append(Screen(page, stack.enter_context(serving())))
        yield Demos(screens)
        assert [screen.complaints for screen in screens] == [[]] * len(screens)


def test_the_whole_story(demos: Demos) -> None:
    """All that there is to try shows what it is about, light and dark, on a phone and on a desk; axe finds nothing."""
    demos.each(Screen.check_accessibility)
    demos.each(Screen.check_layout)
    demos.each(Screen.log_in)

    demos.press("good")
    demos.sees("200")
    for adjective in ("missing", "expired", "tampered", "another service's"):
        demos.press(adjective)
        demos.sees("401")

    demos.press("Rotate")
    demos.sees("ROTATED")
    demos.press("Rotate")
    demos.sees("SAME")
    demos.press("Race")
    demos.sees("ROTATED", "REPLAYED")
    demos.press("Lose it")
    demos.sees("ROTATED", "RECOVERED")

    demos.press("Log in on another device")
    demos.sees("Login")
    demos.each(lambda screen: expect(screen.page.get_by_role("listitem").filter(has_text="Phone")).to_be_visible())
    demos.each(Screen.check_accessibility)
    demos.each(Screen.check_layout)
    demos.each(lambda screen: screen.page.get_by_role("button", name="End Phone").click())
    demos.sees("Ended")
    demos.each(lambda screen: expect(screen.page.get_by_role("button", name="End ")).to_have_count(1))

    demos.press("Steal")
    demos.sees("ROTATED", "SAME", "REUSED", "Ended", "INVALID")
    demos.each(lambda screen: expect(screen.page.get_by_role("heading", name="Log in", exact=True)).to_be_visible())
    demos.each(lambda screen: expect(screen.button("Steal")).to_be_focused())
    demos.each(Screen.check_accessibility)
    demos.each(Screen.check_layout)


def test_a_bound_session(screen: Screen) -> None:
    """A session that is bound to the browser's key races, loses an answer, and outlives its thief, also reloaded."""
    screen.page.get_by_label("Bind the session").check()
    screen.log_in()
    screen.press("good")
    screen.sees("200")
    screen.press("Race")
    screen.sees("ROTATED", "REPLAYED")
    screen.waits()
    screen.press("Lose it")
    screen.sees("ROTATED", "RECOVERED")
    screen.waits()
    screen.press("Steal")
    screen.sees("ROTATED", "SAME", "400", "SAME|ROTATED")
    screen.waits()
    expect(screen.page.get_by_text("The thief has ended nothing.")).to_be_visible()
    screen.page.reload()
    expect(screen.page.get_by_role("heading", name="You are alice")).to_be_visible()


def test_the_token(screen: Screen) -> None:
    """The page shows what the token claims and how long it lives, and keeps no token where it could be found."""
    screen.log_in()
    claims = screen.page.get_by_role("region", name="You are alice")
    expect(claims.get_by_role("definition").filter(has_text="profile:read")).to_be_visible()
    timer = screen.page.get_by_role("timer")
    number = claims.locator("dt", has_text="its own number").locator("xpath=following-sibling::dd")
    expect(timer).to_have_text(re.compile(r"\d+ s"))
    before, first = timer.inner_text(), number.inner_text()
    expect(timer).not_to_have_text(before)
    screen.press("Rotate")
    screen.waits()
    expect(number).not_to_have_text(first)
    assert JWT.search(screen.page.content()) is None
    assert screen.page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])") == '[{},{},""]'


def test_before_anybody_did_anything(context: BrowserContext) -> None:
    """A page shows no refusal of its own, also with an earlier demo's cookie; it says why buttons are grey, and what to
    add to an app."""
    with serving() as url:
        context.add_cookies([{"name": COOKIE, "value": "of.an.earlier", "domain": "127.0.0.1", "path": "/auth"}])
        screen = Screen(context.new_page(), url)
        expect(screen.button("Steal")).to_have_attribute("title", re.compile("Log in first"))
        expect(screen.page.get_by_text("Log in first: a grey button needs a session.")).to_be_visible()
        screen.press("Add it to your app")
        expect(screen.page.get_by_text("asgi-jwt docs quickstart")).to_be_visible()
        screen.check_accessibility()
        screen.press("Close")
        screen.log_in()
        expect(screen.page.get_by_role("list", name="Events").get_by_role("listitem")).to_have_text(
            re.compile("opened")
        )
        expect(screen.page.get_by_text("Log in first")).to_have_count(0)
        assert screen.complaints == []
