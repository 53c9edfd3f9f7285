"""The core of it all in Firefox."""

from collections.abc import Iterator

import pytest
from support.firefox import Firefox, firefox
from support.sites import REFRESH, Site, line_to, login, serving

pytestmark = pytest.mark.outside

EXPIRED = "void (window.real ??= Date.now, Date.now = () => real() + 1_000_000)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with firefox(tmp_path_factory.mktemp("firefox")) as browser:
        yield browser


def test_login_reload_logout(browser: Firefox, site: Site) -> None:
    """Log in, call the API, reload, refresh, see one's devices and log out; a second tab goes along all the way."""
    first, second = browser.tab(site.url), browser.tab(site.url)
    assert first.evaluate("auth.session") is None
    assert first.evaluate(login())["subject"] == "alice"
    second.wait_for("auth.session?.subject === 'alice'")
    assert [each.evaluate("me()") for each in (first, second)] == [200, 200]
    first.reload()
    assert first.evaluate("auth.session.subject") == "alice"
    assert site.verdicts == ["ROTATED"]
    assert first.evaluate("auth.sessions().then((all) => all.map(({ current }) => current))") == [True]
    left = second.evaluate("auth.logout().then(() => Date.now())")
    first.wait_for("auth.session === null")
    subject, at = first.evaluate("changes.at(-1)")
    assert subject is None
    assert at - left < 500
    first.reload()
    assert first.evaluate("auth.session") is None


def test_what_is_kept(browser: Firefox, site: Site) -> None:
    """The access token is in memory alone; the cookie is HttpOnly, Secure and SameSite=Strict, on localhost too."""
    tab = browser.tab(site.url)
    tab.evaluate(login())
    tab.reload()
    tab.evaluate("me()")
    kept = tab.evaluate("""(async () => [{ ...localStorage }, { ...sessionStorage }, document.cookie,
        await caches.keys(), await indexedDB.databases(), document.documentElement.outerHTML])()""")
    assert kept[:5] == [{}, {}, "", [], []]
    assert "eyJ" not in kept[5]
    (cookie,) = browser.command("storage.getCookies")["cookies"]
    assert cookie["name"] == "__Secure-refresh_token"
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (True, True, "strict", "/auth")
    assert all(seen.path.startswith("/auth/") for seen in site.seen if "cookie" in seen.headers)
    tab.evaluate("auth.logout()")
    assert browser.command("storage.getCookies")["cookies"] == []


def test_many_at_once(browser: Firefox, site: Site) -> None:
    """50 calls in each of three tabs whose token has expired: one rotation, and all are answered."""
    tabs = [browser.tab(site.url) for _ in range(3)]
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


def test_an_answer_that_is_cut_off(browser: Firefox, site: Site) -> None:
    """A refresh whose answer is lost, and a server that is away for a while, log nobody out."""
    with line_to(site) as line:
        tab = browser.tab(line.url)
        tab.evaluate(login())
        for after in (0, 400):
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


def test_a_401(browser: Firefox, site: Site) -> None:
    """A request whose token is refused is sent once more, whole."""
    tab = browser.tab(site.url)
    tab.evaluate(login())
    for body in ("'some text'", "new Blob(['some text'])", "new URLSearchParams({ some: 'text' })"):
        for request in (f"'/api/me', {{ method: 'POST', body: {body} }}",
                        f"new Request('/api/me', {{ method: 'POST', body: {body} }})"):  # fmt: skip
            site.refused_tokens.add(tab.evaluate("auth.session.claims.jti"))
            answer = tab.evaluate(f"auth.fetch({request}).then((answer) => answer.json())")
            assert answer["body"].replace("=", " ") == "some text"
    tab.evaluate("auth.logout()")


def test_another_site(browser: Firefox, site: Site) -> None:
    """No redirect takes the token to another site, whose page can neither refresh nor log out."""
    with serving(Site()) as foreign:
        foreign.url = foreign.url.replace("localhost", "127.0.0.1")
        tab, attacker = browser.tab(site.url), browser.tab(foreign.url)
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
