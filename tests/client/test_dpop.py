"""The DPoP module of the browser client in Chromium: sessions that are bound to a key of the browser."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import BrowserContext, Page
from support import browsers
from support.sites import PASSWORDS, Site, login, serving
from support.waiting import PATIENCE

from asgi_jwt.testing import Clock

pytestmark = pytest.mark.outside

JKT = "auth.session?.claims.cnf?.jkt ?? null"
KEYS = """new Promise((done) => {
    const opening = indexedDB.open("asgi-jwt-dpop");
    opening.onsuccess = () => {
        const asked = opening.result.transaction("keys").objectStore("keys").getAll();
        asked.onsuccess = () => { opening.result.close(); done(asked.result.map(({ jkt }) => jkt)); };
    };
})"""
FEED = """subprotocols(auth, "/feed").then((offered) => new Promise((done) => {
    const socket = new WebSocket("/feed", offered);
    socket.onmessage = ({ data }) => done([data, socket.protocol]);
    socket.onclose = () => done(null);
}))"""
ERROR = ".then(() => null, ({ status, error }) => [status, error])"
NO_DATABASE = "Object.defineProperty(window, 'indexedDB', { get() { throw new DOMException('', 'SecurityError'); } })"


class Today(Clock):
    """The time as browsers have it, too."""

    def __call__(self) -> float:
        return time.time()


def site_of(**settings: Any) -> Site:
    return Site({"token_sources": ["header", "subprotocol"], **settings}, clock=Today())


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(site_of()) as site:
        yield site


def tab(context: BrowserContext, site: Site) -> Page:
    return browsers.tab(context, f"{site.url}/?dpop")


def reload(page: Page) -> None:
    page.reload()
    page.wait_for_function("window.loaded && window.auth")
    page.evaluate("auth.ready")


def test_one_key_for_all_tabs_until_the_logout(context: BrowserContext, site: Site) -> None:
    """A bound session serves requests, WebSockets, its device list, a reload and further tabs with one key that can't
    be exported; the logout deletes the key, and the next login has another."""
    first, second = tab(context, site), tab(context, site)
    first.evaluate(login())
    key = first.evaluate(JKT)
    second.wait_for_function("auth.session")
    reload(first)
    third = tab(context, site)
    for page in (first, second, third):
        assert (page.evaluate(JKT), page.evaluate(KEYS), page.evaluate("me()")) == (key, [key], 200)
        assert page.evaluate(FEED) == ["alice", "dpop"]
    assert third.evaluate("auth.sessions().then((all) => all.length)") == 1
    third.evaluate("auth.logout()")
    second.wait_for_function("auth.session === null")
    assert second.evaluate(KEYS) == []
    second.evaluate(login())
    first.wait_for_function("auth.session")
    assert first.evaluate(JKT) not in (key, None)
    assert first.evaluate("me()") == 200


def test_a_thief_without_the_key(context: BrowserContext, site: Site) -> None:
    """Copies of the access token and of the cookie are worth nothing elsewhere, and their use ends nothing."""
    page = tab(context, site)
    page.evaluate(login())
    token, (cookie,) = page.evaluate("auth.token()"), context.cookies()
    jar = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    with httpx2.Client(base_url=site.url, timeout=PATIENCE, trust_env=False) as thief:
        for scheme in ("Bearer", "DPoP"):
            assert thief.get("/api/me", headers={"Authorization": f"{scheme} {token}"}).status_code == 401
        assert thief.post("/auth/refresh", headers=jar).json()["error"] == "invalid_dpop_proof"
    assert page.evaluate("auth.refresh().then((session) => session.subject)") == "alice"
    assert page.evaluate("me()") == 200


def test_two_tabs_that_make_the_key_at_once(context: BrowserContext, site: Site) -> None:
    """Logins of two tabs at once, without a lock between them, are bound to one key."""
    pages = [tab(context, site) for _ in range(2)]
    body = json.dumps(json.dumps({"username": "alice", "password": PASSWORDS["alice"]}))
    init = f"{{ method: 'POST', headers: {{ 'Content-Type': 'application/json' }}, body: {body} }}"
    for page in pages:
        page.evaluate(f"""void (new BroadcastChannel("go").onmessage = () => {{
            window.proved = new Promise((done) => dpop(new Request("/auth/login", {init}), (request) => {{
                const [header] = request.headers.get("DPoP").split(".");
                done(JSON.parse(atob(header.replace(/-/g, "+").replace(/_/g, "/"))).jwk.x);
                return fetch(request);
            }}));
        }})""")
    pages[0].evaluate("void new BroadcastChannel('go').postMessage('go')")
    for page in pages:
        page.wait_for_function("window.proved")
    assert pages[0].evaluate("proved") == pages[1].evaluate("proved")
    assert len(pages[0].evaluate(KEYS)) == 1


def test_a_browser_that_keeps_no_key(context: BrowserContext, site: Site) -> None:
    """Without IndexedDB the session is not bound, and works; `DPOP=required` refuses the login."""
    context.add_init_script(NO_DATABASE)
    page = tab(context, site)
    page.evaluate(login())
    reload(page)
    assert (page.evaluate(JKT), page.evaluate("me()"), page.evaluate(FEED)) == (None, 200, ["alice", "bearer"])
    with serving(site_of(dpop="required")) as strict:
        assert tab(context, strict).evaluate(login() + ERROR) == [400, "invalid_dpop_proof"]


def test_a_key_that_is_lost(context: BrowserContext, site: Site) -> None:
    """Who deletes the browser's databases, but not its cookies, is logged out there and logs in anew."""
    page = tab(context, site)
    page.evaluate(login())
    page.evaluate("new Promise((done) => (indexedDB.deleteDatabase('asgi-jwt-dpop').onsuccess = done)).then(() => 1)")
    reload(page)
    assert page.evaluate("auth.session") is None
    page.evaluate(login())
    assert page.evaluate("me()") == 200


def test_a_device_whose_clock_is_wrong(context: BrowserContext) -> None:
    """A device whose clock is ten minutes ahead is bound all the same, also where nothing else is let in."""
    context.add_init_script("const now = Date.now; Date.now = () => now() + 600_000")
    with serving(site_of(dpop="required")) as site:
        page = tab(context, site)
        page.evaluate(login())
        assert page.evaluate("me()") == 200
        reload(page)
        assert page.evaluate("me()") == 200
