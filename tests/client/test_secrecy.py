"""What nobody gets hold of: the tokens, by other sites' pages, by what a page keeps, by where requests go."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page
from support.browsers import tab
from support.sites import REFRESH, Seen, Site, login, serving

pytestmark = pytest.mark.outside

STATUS = ".then(({ status }) => status, (error) => error.name)"


@pytest.fixture
def foreign() -> Iterator[Site]:
    """Another site, at another host name, that answers every origin."""
    with serving(Site()) as site:
        site.url = site.url.replace("localhost", "127.0.0.1")
        yield site


def secrets_of(seen: list[Seen]) -> list[str]:
    """What authorizes, in requests."""
    return [name for request in seen for name in request.headers if name in ("authorization", "cookie")]


KEPT = """async () => {
    const kept = { local: { ...localStorage }, session: { ...sessionStorage }, cookie: document.cookie };
    kept.html = document.documentElement.outerHTML;
    kept.databases = await indexedDB.databases();
    kept.caches = await caches.keys();
    kept.workers = (await navigator.serviceWorker.getRegistrations()).length;
    kept.name = window.name;
    kept.history = history.state;
    kept.entries = performance.getEntries().map((entry) => entry.toJSON());
    kept.auth = { ...auth, session: auth.session };
    return JSON.stringify(kept);
}"""


def test_the_access_token_is_in_memory_alone(page: Page, site: Site) -> None:
    """The access token is in no storage, no cookie, no page and no history, and what names it is `token()` alone."""
    page.evaluate(login())
    for step in ("auth.token()", "auth.refresh()", "me()", "auth.sessions()"):
        page.evaluate(step)
        token = page.evaluate("auth.token()")
        kept = page.evaluate(KEPT)
        parts = token.split(".")
        assert not [part for part in (token, parts[1], parts[2]) if part in kept]
        assert "eyJ" not in kept
        found = json.loads(kept)
        assert (found["local"], found["session"], found["cookie"]) == ({}, {}, "")
        assert (found["databases"], found["caches"], found["workers"]) == ([], [], 0)
    assert token not in json.dumps(page.context.storage_state(indexed_db=True))
    assert token not in json.dumps(page.evaluate("Object.keys(window).map((name) => String(window[name]))"))


def test_the_refresh_cookie(page: Page, site: Site) -> None:
    """The refresh token's cookie is HttpOnly, Secure, SameSite=Strict, seen by no script, and sent to `/auth` alone."""
    page.evaluate(login())
    page.evaluate("auth.refresh()")
    page.evaluate("me()")
    page.reload()
    page.wait_for_function("window.loaded")
    page.evaluate("auth.ready")
    page.evaluate("auth.fetch('/authentic').then(() => fetch('/other/auth/sessions'))")
    (kept,) = page.context.cookies()
    assert kept["name"] == "__Secure-refresh_token"
    assert (kept["httpOnly"], kept["secure"], kept["sameSite"], kept["path"]) == (True, True, "Strict", "/auth")
    assert page.evaluate("document.cookie") == ""
    assert page.evaluate("cookieStore.getAll()") == []
    with_cookie = {seen.path for seen in site.seen if "cookie" in seen.headers}
    assert REFRESH in with_cookie
    assert all(path.startswith("/auth/") for path in with_cookie)
    answers = page.evaluate("fetch('/auth/refresh', { method: 'POST' }).then((answer) => [...answer.headers.keys()])")
    assert "set-cookie" not in answers


def test_another_sites_page(context: BrowserContext, site: Site, foreign: Site) -> None:
    """A page of another site can't log in, refresh, log out or end a session, and reads nothing."""
    page = tab(context, site.url)
    page.evaluate(login())
    attacker = tab(context, f"{foreign.url}/?manual")
    before = len(site.events)
    site.seen.clear()
    for path in ("refresh", "logout", "logout-all", "login", "revoke", "sessions", "sessions/x"):
        for method, mode in (
            ("POST", "no-cors"),
            ("POST", "cors"),
            ("GET", "no-cors"),
            ("GET", "cors"),
            ("DELETE", "cors"),
        ):
            init = f"{{ method: '{method}', mode: '{mode}', credentials: 'include' }}"
            read = attacker.evaluate(
                f"fetch('{site.url}/auth/{path}', {init}).then((answer) => answer.text(), () => '')"
            )
            assert "eyJ" not in read
            assert "sid" not in read
    for path in ("login", "logout", "logout-all", "refresh"):
        submit = """(action) => new Promise((loaded) => {
            document.body.innerHTML = `<iframe name="frame"></iframe>
                <form method="post" target="frame" action="${action}"><input name="username" value="bob"></form>`;
            document.querySelector("iframe").onload = loaded;
            document.forms[0].submit();
        }).then(() => null)"""
        attacker.evaluate(submit, f"{site.url}/auth/{path}")
    assert {seen.path for seen in site.seen if seen.headers.get("sec-fetch-mode") == "navigate"} >= {
        "/auth/login",
        REFRESH,
    }
    assert not [seen for seen in site.seen if "cookie" in seen.headers]
    assert {event.name for event in site.events[before:]} <= {"token_refused", "login_refused"}
    assert page.evaluate("auth.refresh()")["subject"] == "alice"
    assert len(page.evaluate("auth.sessions()")) == 1


def test_another_origin_of_the_site(context: BrowserContext, site: Site) -> None:
    """Neither can a page on another port of the same host, though the cookie goes along with what it sends."""
    with serving(Site()) as sibling:
        page, attacker = tab(context, site.url), tab(context, f"{sibling.url}/?manual")
        page.evaluate(login())
        before = len(site.events)
        for path in ("refresh", "logout", "logout-all", "login"):
            init = "{ method: 'POST', mode: 'no-cors', credentials: 'include' }"
            attacker.evaluate(f"fetch('{site.url}/auth/{path}', {init})")
        assert [event.reason for event in site.events[before:]] == ["cross_site"] * 4  # type: ignore[attr-defined]
        attacker.evaluate("""() => {
            window.heard = [];
            onmessage = ({ data }) => heard.push(data);
            new BroadcastChannel(`asgi-jwt ${location.origin}/auth`).onmessage = onmessage;
        }""")
        assert page.evaluate("auth.refresh()")["subject"] == "alice"
        page.evaluate("auth.logout()")
        assert attacker.evaluate("heard") == []


def test_a_foreign_origin_is_never_given_the_token(page: Page, site: Site, foreign: Site) -> None:
    """By no URL, redirect, base or option does the token reach an origin that was not listed."""
    page.evaluate(login())
    host = foreign.url.removeprefix("http:")
    requests = {
        json.dumps(f"{foreign.url}/api/me"): 401,
        json.dumps(f"{host}/api/me"): 401,
        json.dumps(f"{host}/api/me".replace("/", "\\")): 401,
        json.dumps(f" \t\n{host}/api/me"): 401,
        f"new Request('{foreign.url}/api/me')": 401,
        f"new URL('{foreign.url}/api/me')": 401,
        f"(() => {{ let n = 0; return {{ toString: () => n++ ? '{foreign.url}/api/me' : '/401' }} }})()": 401,
        json.dumps(f"{site.url}@{host[2:]}/api/me"): "TypeError",  # no credentials in a URL
        json.dumps(f"{foreign.away}/api/me"): 401,
        json.dumps(f"{foreign.away}{site.away}/api/me"): 401,
        f"'{foreign.away}/api/me', {{ method: 'POST', body: 'x' }}": 401,
    }
    for request, status in requests.items():
        assert page.evaluate(f"auth.fetch({request}){STATUS}") == status, request
    assert foreign.asked("/api/me") == 8
    assert secrets_of(foreign.seen) == []
    # What came back from there came without the token too.
    assert secrets_of([seen for seen in site.seen if seen.path == "/api/me"]) == []
    assert site.asked("/api/me") == 2


def test_a_base_element_of_a_foreign_origin(page: Page, site: Site, foreign: Site) -> None:
    """A `<base>` that was smuggled into the page leads the page's requests astray, and neither token nor password."""
    page.evaluate("(url) => { document.head.innerHTML += `<base href=${url}>` }", foreign.url)
    page.evaluate(login())
    page.evaluate("auth.refresh()")
    page.evaluate(f"auth.fetch('/api/me'){STATUS}")
    page.evaluate("begin()")
    assert page.evaluate("auth.session.subject") == "alice"
    assert {seen.path for seen in foreign.seen} == {"/api/me"}
    assert secrets_of(foreign.seen) == []


def test_urls_that_are_no_servers(page: Page, site: Site) -> None:
    """URLs of other schemes are fetched, or not, as by `fetch`."""
    page.evaluate(login())
    blob = "auth.fetch(URL.createObjectURL(new Blob(['mine']))).then((answer) => answer.text())"
    assert page.evaluate(blob) == "mine"
    assert page.evaluate("auth.fetch('data:text/plain,mine').then((answer) => answer.text())") == "mine"
    for url in ("javascript:alert(1)", "file:///etc/passwd", "about:blank", "ftp://127.0.0.1/"):
        assert page.evaluate(f"auth.fetch('{url}'){STATUS}") == "TypeError"


def test_listed_origins(page: Page, site: Site, foreign: Site) -> None:
    """An origin that is listed is given the token, and a 401 of its that hides the challenge has it renewed."""
    page.goto(f"{site.url}/?manual")
    page.wait_for_function("window.loaded")
    page.evaluate("(origin) => begin({ origins: [`${origin}/path/`] })", foreign.url)
    page.evaluate(login())
    url = json.dumps(f"{foreign.url}/api/me")
    assert page.evaluate(f"auth.fetch({url}){STATUS}") == 200
    foreign.refused.add("alice")
    assert page.evaluate(f"auth.fetch({url}){STATUS}") == 401
    assert (foreign.asked("/api/me"), site.asked()) == (3, 3)
    assert {seen.headers.get("cookie") for seen in foreign.seen} == {None}
    elsewhere = json.dumps(f"{foreign.url.replace('127.0.0.1', '127.0.0.2')}/api/me")
    page.evaluate(f"auth.fetch({elsewhere}){STATUS}")


def test_a_login_follows_no_redirect(context: BrowserContext, site: Site, foreign: Site) -> None:
    """A password is sent to `base` alone, wherever that points to."""
    page = tab(context, f"{site.url}/?manual")
    page.evaluate("(base) => void begin({ base })", foreign.away)
    assert page.evaluate(login() + STATUS) == "TypeError"
    assert site.asked(f"{foreign.away}/login") == 1
    assert foreign.seen == []


def test_an_opaque_origin(page: Page, site: Site) -> None:
    """A sandboxed frame, whose origin is nobody's, gets no client, for none would be its own."""
    page.evaluate(login())
    heard = page.evaluate("""() => new Promise((resolve) => {
        addEventListener("message", ({ data }) => resolve(data));
        const frame = document.createElement("iframe");
        frame.sandbox = "allow-scripts";
        frame.srcdoc = `<script type="module">
            const source = ${JSON.stringify(createAuth.toString())}.replace("export", "");
            try { (0, eval)("(" + source + ")")({ base: "${location.origin}/auth" }); parent.postMessage("made", "*"); }
            catch (error) { parent.postMessage(error.message, "*"); }
        </script>`;
        document.body.append(frame);
    })""")
    assert heard.startswith("base is on an origin that")
