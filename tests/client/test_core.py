"""The core of it all, in Chromium and in Firefox."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page
from support import browsers
from support.firefox import Firefox, Tab, firefox
from support.sites import REFRESH, Site, line_to, login, serving

pytestmark = pytest.mark.outside

EXPIRED = "void (window.real ??= Date.now, Date.now = () => real() + 1_000_000)"


class ChromiumTab:
    """A tab of Chromium's, as those of Firefox."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.evaluate: Callable[[str], Any] = page.evaluate
        self.wait_for = page.wait_for_function

    def reload(self) -> None:
        self._page.reload()
        self._page.wait_for_function("window.loaded && auth.ready")


OpenTab = Callable[[str], Tab | ChromiumTab]


@pytest.fixture(scope="module")
def firefox_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with firefox(tmp_path_factory.mktemp("firefox")) as browser:
        yield browser


@pytest.fixture(params=["chromium", "firefox"])
def open_tab(request: pytest.FixtureRequest) -> OpenTab:
    """Opens a tab at an address."""
    if request.param == "firefox":
        firefox_tab: OpenTab = request.getfixturevalue("firefox_browser").tab
        return firefox_tab
    context = request.getfixturevalue("context")
    return lambda url: ChromiumTab(browsers.tab(context, url))


def test_login_reload_logout(open_tab: OpenTab, site: Site) -> None:
    """Log in, call the API, reload, refresh, see one's devices and log out; three tabs go along all the way,
    without a request of theirs. After a reload the session comes back by one refresh."""
    first, *others = [open_tab(site.url) for _ in range(4)]
    assert first.evaluate("auth.session") is None
    session = first.evaluate(login())
    assert session == first.evaluate("auth.session")
    assert (session["subject"], session["scopes"]) == ("alice", ["read", "write"])
    assert session["claims"]["iss"] == "https://issuer.example"
    assert first.evaluate("auth.session.expiresAt - Date.now()") == pytest.approx(900_000, abs=5000)
    before = site.asked()
    for each in others:
        each.wait_for("auth.session?.subject === 'alice'")
        assert each.evaluate("me()") == 200
    assert (first.evaluate("me()"), site.asked()) == (200, before)
    first.reload()
    assert first.evaluate("changes.map(([subject]) => subject)") == ["alice"]
    assert (first.evaluate("me()"), site.verdicts) == (200, ["ROTATED"])
    assert first.evaluate("auth.sessions().then((all) => all.map(({ current }) => current))") == [True]
    before = site.asked()
    others[0].evaluate("auth.logout()")
    for each in (first, *others):
        each.wait_for("auth.session === null")
        assert each.evaluate("changes.at(-1)[0]") is None
    assert site.asked() == before
    first.reload()
    assert first.evaluate("auth.session") is None


def test_what_is_kept(firefox_browser: Firefox, site: Site) -> None:
    """The access token is in memory alone; the cookie is HttpOnly, Secure and SameSite=Strict, on localhost too."""
    tab = firefox_browser.tab(site.url)
    tab.evaluate(login())
    tab.reload()
    tab.evaluate("me()")
    kept = tab.evaluate("""(async () => [{ ...localStorage }, { ...sessionStorage }, document.cookie,
        await caches.keys(), await indexedDB.databases(), document.documentElement.outerHTML])()""")
    assert kept[:5] == [{}, {}, "", [], []]
    assert "eyJ" not in kept[5]
    (cookie,) = firefox_browser.command("storage.getCookies")["cookies"]
    assert cookie["name"] == "__Secure-refresh_token"
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (True, True, "strict", "/auth")
    assert all(seen.path.startswith("/auth/") for seen in site.seen if "cookie" in seen.headers)
    tab.evaluate("auth.logout()")
    assert firefox_browser.command("storage.getCookies")["cookies"] == []


def test_many_at_once(open_tab: OpenTab, site: Site) -> None:
    """50 calls in each of three tabs whose token has expired: one rotation, and all are answered."""
    tabs = [open_tab(site.url) for _ in range(3)]
    tabs[0].evaluate(login())
    for tab in tabs:
        tab.wait_for("auth.session")
        tab.evaluate(EXPIRED)
        tab.evaluate("""void (new BroadcastChannel("go").onmessage = () => {
            window.all = Promise.all([...Array(50)].map(me)).then((all) => all.every((status) => status === 200));
        })""")
    site.clock.turn(1000)
    before = site.asked()
    tabs[0].evaluate("new BroadcastChannel('go').postMessage('go')")
    for tab in tabs:
        tab.wait_for("window.all")
        assert tab.evaluate("all") is True
    assert site.verdicts.count("ROTATED") == 1
    assert site.asked() - before <= 3
    tabs[0].evaluate("auth.logout()")


def test_an_answer_that_is_cut_off(open_tab: OpenTab, site: Site) -> None:
    """A refresh whose answer is lost, and a server that is away for a while, log nobody out."""
    with line_to(site) as line:
        tab = open_tab(line.url)
        tab.evaluate(login())
        for after in (0, 40, 400, 900):
            line.cut(REFRESH, after)
            assert tab.evaluate("auth.refresh().then((session) => session.subject)") == "alice"
        tab.evaluate(EXPIRED)
        line.down()
        tab.evaluate("void (window.asked = me())")
        assert (
            tab.evaluate("new Promise((later) => setTimeout(later, 1000)).then(() => auth.session.subject)") == "alice"
        )
        line.up()
        assert tab.evaluate("asked") == 200
        tab.evaluate("auth.logout()")


def test_a_401(open_tab: OpenTab, site: Site) -> None:
    """A request whose token is refused is sent once more, whole."""
    tab = open_tab(site.url)
    tab.evaluate(login())
    for body in ("'some text'", "new Blob(['some text'])", "new URLSearchParams({ some: 'text' })"):
        for request in (f"'/api/me', {{ method: 'POST', body: {body} }}",
                        f"new Request('/api/me', {{ method: 'POST', body: {body} }})"):  # fmt: skip
            site.refused_tokens.add(tab.evaluate("auth.session.claims.jti"))
            answer = tab.evaluate(f"auth.fetch({request}).then((answer) => answer.json())")
            assert answer["body"].replace("=", " ") == "some text"
    tab.evaluate("auth.logout()")


def test_another_site(open_tab: OpenTab, site: Site) -> None:
    """No redirect takes the token to another site, whose page can neither refresh nor log out."""
    with serving(Site()) as foreign:
        foreign.url = foreign.url.replace("localhost", "127.0.0.1")
        tab, attacker = open_tab(site.url), open_tab(foreign.url)
        tab.evaluate(login())
        foreign.seen.clear()
        assert tab.evaluate(f"auth.fetch('{foreign.away}/api/me').then((answer) => answer.status)") == 401
        assert tab.evaluate(f"auth.fetch('{foreign.url}/api/me').then((answer) => answer.status)") == 401
        assert foreign.asked("/api/me") == 2
        assert not [seen for seen in foreign.seen if {"authorization", "cookie"} & seen.headers.keys()]
        for path in ("refresh", "logout", "logout-all"):
            init = "{ method: 'POST', mode: 'no-cors', credentials: 'include' }"
            attacker.evaluate(f"fetch('{site.url}/auth/{path}', {init}).then(() => null)")
        assert site.verdicts == []
        assert tab.evaluate("auth.refresh().then((session) => session.subject)") == "alice"
        tab.evaluate("auth.logout()")
