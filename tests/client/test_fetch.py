"""`auth.fetch`: what it sends, to whom, and when it sends a request once more."""

import json
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page
from support.browsers import tab
from support.sites import NOW, Site, login

pytestmark = pytest.mark.outside

CAUGHT = ".catch((error) => error.name)"
LATER = "window.real = Date.now, Date.now = () => real() + 1_000_000"
"""Sets the device's clock to after the token's end."""


def refuse(page: Page, site: Site) -> None:
    """From now on the API refuses the page's token, as when it was revoked."""
    site.refused_tokens.add(page.evaluate("auth.session.claims.jti"))


def ask(page: Page, script: str) -> Any:
    """The API's answer, or the error's name."""
    return page.evaluate(f"Promise.resolve({script}).then((answer) => answer.json()){CAUGHT}")


BODIES = {
    "'some text'": "some text",
    "new Uint8Array([115, 111, 109, 101])": "some",
    "new Blob(['some text'])": "some text",
    "new URLSearchParams({ some: 'text' })": "some=text",
}


@pytest.mark.parametrize("refused", [False, True], ids=["taken", "refused"])
def test_bodies(page: Page, site: Site, refused: bool) -> None:
    """A request goes out as `fetch` would send it, and once more after a 401, by URL and options or as a Request."""
    page.evaluate(login())
    for script, text in BODIES.items():
        for request in (
            f"'/api/me', {{ method: 'PUT', body: {script} }}",
            f"new Request('/api/me', {{ method: 'PUT', body: {script} }})",
            f"new Request('/api/me', {{ method: 'POST' }}), {{ method: 'PUT', body: {script} }}",
        ):
            if refused:
                refuse(page, site)
            assert ask(page, f"auth.fetch({request})") == {"subject": "alice", "method": "PUT", "body": text}
    assert site.asked() - 1 == (12 if refused else 0)


def test_form_with_a_file(page: Page, site: Site) -> None:
    """A form with a file is sent once more, whole."""
    page.evaluate(login())
    refuse(page, site)
    fill = "const form = new FormData(); form.set('file', new File(['its content'], 'name.txt'));"
    answer = ask(page, f"(() => {{ {fill} return auth.fetch('/api/me', {{ method: 'POST', body: form }}) }})()")
    assert "its content" in answer["body"]
    assert site.asked("/api/me") == 2


def test_streams_are_not_sent_twice(page: Page, site: Site) -> None:
    """A body that was a stream is gone: the 401 is handed on, and the token renewed for the next request."""
    page.goto(f"{site.url}/?manual")
    page.wait_for_function("window.loaded")
    # Over HTTP/1.1 browsers send no streams.
    page.evaluate("""() => {
        const real = fetch;
        window.streamed = [];
        window.fetch = async (request, init) => {
            if (!request.body || request.url?.endsWith("/login")) return real(request, init);
            streamed.push(await request.text());
            return new Response("", { status: 401, headers: { "WWW-Authenticate": "Bearer" } });
        };
        return begin();
    }""")
    page.evaluate(login())
    before = page.evaluate("auth.token()")
    stream = "new Blob(['some text']).stream()"
    status = (
        f"auth.fetch('/api/me', {{ method: 'POST', body: {stream}, duplex: 'half' }}).then(({{ status }}) => status)"
    )
    assert page.evaluate(status) == 401
    assert page.evaluate("streamed") == ["some text"]
    assert page.evaluate("auth.token()") != before


def test_other_options(page: Page, site: Site) -> None:
    """Headers go along, a broken request is rejected and not thrown, and Request objects are used up as by `fetch`."""
    page.evaluate(login())
    page.evaluate("auth.fetch('/api/me', { headers: { 'X-Mine': 'yes' } })")
    assert site.seen[-1].headers["x-mine"] == "yes"
    assert page.evaluate(f"auth.fetch('https://'){CAUGHT}") == "TypeError"
    assert page.evaluate(f"auth.fetch('/api/me', {{ method: 'GET', body: 'x' }}){CAUGHT}") == "TypeError"
    assert page.evaluate(f"auth.fetch(new URL('/api/me', location)).then((answer) => answer.status){CAUGHT}") == 200
    used = "const one = new Request('/api/me', { method: 'POST', body: 'x' }); "
    assert page.evaluate(f"(async () => {{ {used} await auth.fetch(one); return one.bodyUsed }})()") is True


def test_authorization_of_the_caller(page: Page, site: Site) -> None:
    """An `Authorization` of the caller's is left alone, and its refusal handed on."""
    page.evaluate(login())
    for init in (
        "{ headers: { authorization: 'Basic YTpi' } }",
        "{ headers: new Headers({ Authorization: 'Bearer x' }) }",
    ):
        assert page.evaluate(f"auth.fetch('/api/me', {init}).then((answer) => answer.status)") == 401
    assert [seen.headers["authorization"] for seen in site.seen[-2:]] == ["Basic YTpi", "Bearer x"]
    assert site.asked() == 1


def test_many_at_once(context: BrowserContext, site: Site) -> None:
    """50 parallel calls with an expired token cause one refresh, and so do 50 whose token is refused."""
    context.clock.install(time=NOW)
    page = tab(context, site.url)
    page.evaluate(login())
    many = "Promise.all([...Array(50)].map(me)).then((all) => all.every((status) => status === 200))"
    site.clock.turn(1000)
    context.clock.fast_forward(1_000_000)
    assert page.evaluate(many)
    assert (site.asked(), site.verdicts, site.asked("/api/me")) == (2, ["ROTATED"], 50)
    refuse(page, site)
    assert page.evaluate(many)
    assert (site.asked(), site.asked("/api/me")) == (3, 150)


def test_shortly_before_expiry(context: BrowserContext, site: Site) -> None:
    """A token is renewed in its last half minute, before the request, and not earlier."""
    context.clock.install(time=NOW)
    page = tab(context, site.url)
    page.evaluate(login())
    first = page.evaluate("auth.token()")
    context.clock.fast_forward(865_000)
    assert page.evaluate("auth.token()") == first
    context.clock.fast_forward(10_000)
    assert page.evaluate("me()") == 200
    sent = site.seen[-1].headers["authorization"]
    assert sent == f"Bearer {page.evaluate('auth.token()')}" != f"Bearer {first}"
    assert site.asked() == 2


def test_never_loops(page: Page, site: Site) -> None:
    """A server that refuses every token gets each request twice, by one refresh each, and the page its 401."""
    page.evaluate(login())
    site.refused.add("alice")
    assert page.evaluate("me()") == 401
    assert (site.asked("/api/me"), site.asked()) == (2, 2)
    assert page.evaluate("me()") == 401
    assert (site.asked("/api/me"), site.asked()) == (4, 3)
    assert page.evaluate("auth.session.subject") == "alice"


CHALLENGES = {
    'Bearer realm="api", error="invalid_token", error_description="expired"': True,
    "bearer": True,
    "Bearer error=invalid_token": True,
    'DPoP algs="ES256", Bearer realm="y"': True,
    'Bearer realm="api", error="insufficient_scope", scope="a"': False,
    'Bearer error="invalid_request"': False,
    'DPoP algs="ES256"': False,
    "BearerToken": False,
    "": False,
}


def test_challenges(page: Page, site: Site) -> None:
    """Only a 401 that asks for another Bearer token has it renewed: not one for a wrong PIN, or another scheme."""
    page.evaluate(login())
    for challenge, asks in CHALLENGES.items():
        site.seen.clear()
        path = json.dumps(f"/401{challenge and f'?challenge={challenge}'}")
        assert page.evaluate(f"auth.fetch({path}, {{ method: 'POST' }}).then((answer) => answer.status)") == 401
        assert (site.asked("/401"), site.asked()) == ((2, 1) if asks else (1, 0)), challenge


def test_abort(context: BrowserContext, site: Site) -> None:
    """A call that is aborted while it waits for a new token is rejected at once; the others still get theirs."""
    context.clock.install(time=NOW)
    page = tab(context, site.url)
    page.evaluate(login())
    context.clock.fast_forward(1_000_000)
    site.free.clear()
    page.evaluate("""void (window.control = new AbortController(),
        window.aborted = auth.fetch("/api/me", { signal: control.signal }).catch((error) => error),
        window.other = me())""")
    assert page.evaluate("(control.abort('my reason'), aborted)") == "my reason"
    site.free.set()
    assert page.evaluate("other") == 200
    gone = "auth.fetch(new Request('/api/me', { signal: AbortSignal.abort() }))"
    assert page.evaluate(gone + CAUGHT) == "AbortError"
    assert site.asked("/api/me") == 1
    reached = "auth.fetch('/api/me', { signal: control.signal })"
    page.evaluate("void (window.control = new AbortController())")
    assert page.evaluate(f"{reached}.then((answer) => (control.abort(), answer.text())){CAUGHT}") == "AbortError"


def test_in_place_of_the_browsers(page: Page, site: Site) -> None:
    """`window.fetch = auth.fetch` ends in the browser's."""
    page.evaluate("void (window.fetch = auth.fetch)")
    page.evaluate(login())
    assert page.evaluate("fetch('/api/me').then((answer) => answer.status)") == 200


def bob_comes_first(context: BrowserContext, site: Site, waits: str) -> Page:
    """Alice's tab, where `waits` was begun and waits for the lock, behind a login of Bob's in another tab."""
    alices, bobs = tab(context, site.url), tab(context, site.url)
    alices.evaluate(login())
    bobs.wait_for_function("auth.session")
    site.clock.turn(1000)
    lock = "navigator.locks.request(`asgi-jwt ${location.origin}/auth`"
    bobs.evaluate(f"new Promise((held) => {lock}, () => new Promise((free) => {{ window.free = free; held() }})))")
    bobs.evaluate(f"void (window.entered = {login('bob')})")
    bobs.wait_for_function("navigator.locks.query().then(({ pending }) => pending.length === 1)")
    alices.evaluate(waits)
    bobs.wait_for_function("navigator.locks.query().then(({ pending }) => pending.length === 2)")
    bobs.evaluate("(free(), entered)")
    return alices


def test_another_user_before_it_is_sent(context: BrowserContext, site: Site) -> None:
    """What Alice asked for is not done in Bob's name, who logs in in another tab while her request waits."""
    asked = f"void ({LATER}, window.asked = auth.fetch('/api/me'){CAUGHT})"
    alices = bob_comes_first(context, site, asked)
    assert alices.evaluate("asked") == "AbortError"
    assert site.asked("/api/me") == 0
    assert ask(alices, "auth.fetch('/api/me')")["subject"] == alices.evaluate("auth.session.subject") == "bob"


def test_another_user_before_it_is_sent_once_more(context: BrowserContext, site: Site) -> None:
    """Alice's request that was refused is not sent once more with Bob's token."""
    alices = bob_comes_first(context, site, "void (window.asked = me())")
    assert alices.evaluate("asked") == 401
    assert site.asked("/api/me") == 1
    assert ask(alices, "auth.fetch('/api/me')")["subject"] == "bob"


@pytest.mark.parametrize("asked", ["logout()", "logoutEverywhere()", "endSession(auth.session.claims.sid)"])
def test_another_user_before_a_logout(context: BrowserContext, site: Site, asked: str) -> None:
    """Alice's logout, which waited behind a login of Bob's, logs nobody out: it was not Bob who asked."""
    alices = bob_comes_first(context, site, f"void (window.asked = auth.{asked}{CAUGHT})")
    assert alices.evaluate("asked") == "AbortError"
    assert alices.evaluate("auth.refresh().then((session) => session?.subject)") == "bob"


def test_closed_right_behind_a_call(page: Page, site: Site) -> None:
    """A client that is closed right behind a call has let go of the token: the call goes out without it."""
    page.evaluate(login())
    assert page.evaluate("[me(), auth.close()][0]") == 401
    assert "authorization" not in site.seen[-1].headers
