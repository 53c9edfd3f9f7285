"""The client on pages that are reached by links, framed, cached, behind a service worker, or of another origin."""

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from support import browsers
from support.browsers import tab
from support.sites import Site, login, serving

pytestmark = pytest.mark.outside


def test_a_link_from_another_site(context: BrowserContext, site: Site) -> None:
    """Whoever follows a link on another site is still logged in: the page itself asks, and the cookie goes along."""
    tab(context, site.url).evaluate(login())
    with serving(Site()) as foreign:
        page = tab(context, f"{foreign.url.replace('localhost', '127.0.0.1')}/?manual")
        page.set_content(f'<a href="{site.url}">there</a>')
        page.click("a")
        page.wait_for_function("window.loaded && auth.ready")
        assert page.evaluate("auth.session.subject") == "alice"


def test_a_frame_on_another_sites_page(context: BrowserContext, site: Site) -> None:
    """Framed by another site there is nobody to click in the name of, also where browsers let frames hear the tabs."""
    page = tab(context, site.url)
    page.evaluate(login())
    with serving(Site()) as foreign:
        attacker = tab(context, f"{foreign.url.replace('localhost', '127.0.0.1')}/?manual")
        attacker.set_content(f'<iframe src="{site.url}"></iframe>')
        frame = attacker.frame_locator("iframe").owner.element_handle().content_frame()
        assert frame is not None
        frame.wait_for_function("window.loaded && auth.ready")
        assert frame.evaluate("auth.session") is None
        page.evaluate("auth.refresh()")
        assert frame.evaluate("me()") == 401
        assert page.evaluate("me()") == 200


def test_a_service_worker(page: Page, site: Site) -> None:
    """A service worker that passes on what it is asked changes nothing."""
    site.files["worker.js"] = b"""
        onactivate = (event) => event.waitUntil(clients.claim());
        onfetch = (event) => event.respondWith(fetch(event.request));
    """
    page.evaluate("""() => new Promise((controlled) => {
        navigator.serviceWorker.oncontrollerchange = () => controlled(null);
        navigator.serviceWorker.register("/files/worker.js", { scope: "/" });
    })""")
    page.evaluate(login())
    page.reload()
    page.wait_for_function("window.loaded && navigator.serviceWorker.controller && auth.ready")
    assert page.evaluate("auth.session.subject") == "alice"
    site.refused_tokens.add(page.evaluate("auth.session.claims.jti"))
    answer = page.evaluate("auth.fetch('/api/me', { method: 'POST', body: 'x' }).then((answer) => answer.json())")
    assert answer["body"] == "x"
    with serving(Site()) as foreign:
        foreign.url = foreign.url.replace("localhost", "127.0.0.1")
        page.evaluate(f"auth.fetch('{foreign.away}/api/me').catch(() => null).then(() => null)")
        assert not [seen for seen in foreign.seen if {"authorization", "cookie"} & seen.headers.keys()]
    page.evaluate("auth.logout()")
    assert page.context.cookies() == []


def test_auth_on_another_origin(context: BrowserContext, site: Site) -> None:
    """AuthApp and the API may be on another origin of the same site, which trusts the page's and is listed there."""
    with serving(Site(settings={"trusted_origins": [site.url]}, callers=[site.url])) as api:
        first, second = (tab(context, f"{site.url}/?manual") for _ in range(2))
        options = f"{{ base: '{api.url}/auth', origins: ['{api.url}'] }}"
        for page in (first, second):
            page.evaluate(f"begin({options})")
        first.evaluate(login())
        second.wait_for_function("auth.session?.subject === 'alice'")
        first.evaluate(f"begin({options})")
        assert first.evaluate("auth.session.subject") == "alice"
        api.refused_tokens.add(second.evaluate("auth.token()") and second.evaluate("auth.session.claims.jti"))
        me = f"auth.fetch('{api.url}/api/me').then((answer) => answer.status)"
        assert [page.evaluate(me) for page in (first, second)] == [200, 200]
        assert len(first.evaluate("auth.sessions()")) == 1
        first.evaluate("auth.logout()")
        second.wait_for_function("auth.session === null")
        assert site.asked() == 0
        assert context.cookies() == []
        error = "auth.login({ username: 'alice' }).catch((error) => [error.status, error.error])"
        assert first.evaluate(error) == [400, "invalid_request"]


def test_a_browser_of_its_own(browser: Browser, site: Site) -> None:
    """Another user's browser knows nothing of this one."""
    with browsers.profile(browser) as one, browsers.profile(browser) as other:
        first, second = tab(one, site.url), tab(other, site.url)
        first.evaluate(login())
        second.evaluate(login("bob"))
        assert [each.evaluate("auth.session.subject") for each in (first, second)] == ["alice", "bob"]
