"""How the client keeps a session alive: racing tabs, lost answers, servers that are down, sleep and clocks."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page
from starlette.responses import HTMLResponse, JSONResponse, Response
from support.browsers import tab
from support.sites import NOW, REFRESH, Line, Site, login, serving, unavailable
from support.waiting import wait_until

pytestmark = pytest.mark.outside

LIFE = 900
WAKE = "new BroadcastChannel('morning').onmessage = () => { window.woken = me() }"
ALONE = "Object.defineProperty(navigator, 'locks', { value: undefined }); delete window.BroadcastChannel"
"""A browser that has neither Web Locks nor BroadcastChannel, or a page that may not use them."""
NAME = ".then(() => null, (error) => error.name)"


def sleep(context: BrowserContext, site: Site, seconds: int = LIFE + 100) -> None:
    """Time passes for the server, and for the device, whose lid is closed."""
    site.clock.turn(seconds)
    context.clock.fast_forward(seconds * 1000)


def tabs_that_wake_at_once(context: BrowserContext, site: Site) -> list[Page]:
    """Six tabs with an expired token, each of which calls the API in the same moment."""
    context.clock.install(time=NOW)
    tabs = [tab(context, site.url) for _ in range(6)]
    tabs[0].evaluate(login())
    for each in tabs[1:]:
        each.evaluate("auth.session ?? auth.refresh()")
        each.evaluate(f"void ({WAKE})")
    site.events.clear()
    sleep(context, site)
    return tabs


def test_six_tabs_wake_at_once(context: BrowserContext, site: Site) -> None:
    """Six tabs wake at once with an expired token: one rotates, all go on."""
    tabs = tabs_that_wake_at_once(context, site)
    tabs[0].evaluate("new BroadcastChannel('morning').postMessage('up'), window.woken = me()")
    assert [each.evaluate("woken") for each in tabs] == [200] * 6
    assert site.verdicts.count("ROTATED") == 1
    assert set(site.verdicts) <= {"ROTATED", "SAME"}
    sleep(context, site)
    assert [each.evaluate("me()") for each in tabs] == [200] * 6


def test_tabs_that_know_nothing_of_each_other(context: BrowserContext, site: Site) -> None:
    """Without Web Locks and BroadcastChannel all refresh at once: the server settles it, and nobody is logged out."""
    context.add_init_script(ALONE)
    tabs = [tab(context, f"{site.url}/?manual") for _ in range(6)]
    tabs[0].evaluate("begin()")
    tabs[0].evaluate(login())
    for each in tabs[1:]:
        each.evaluate("begin()")
    site.clock.turn(LIFE + 100)
    site.events.clear()
    site.free.clear()
    for each in tabs:
        each.evaluate("void (auth.refresh(), window.woken = me())")
    wait_until(lambda: len(site.verdicts) == 6)
    site.free.set()
    assert [each.evaluate("woken") for each in tabs] == [200] * 6
    assert sorted(site.verdicts) == ["REPLAYED"] * 5 + ["ROTATED"]
    for _ in range(2):
        site.clock.turn(LIFE + 100)
        assert [each.evaluate("auth.refresh().then((session) => session.subject)") for each in tabs] == ["alice"] * 6


@pytest.mark.parametrize("after", [0, 40, 400, 900], ids="{} bytes".format)
def test_an_answer_that_is_cut_off(context: BrowserContext, site: Site, line: Line, after: int) -> None:
    """A refresh whose answer is cut off, before its cookie or after it, is followed by one that succeeds."""
    page = tab(context, line.url)
    page.evaluate(login())
    line.cut(REFRESH, after)
    page.evaluate("void (window.refreshed = auth.refresh())")
    assert page.evaluate("refreshed.then((session) => session.subject)") == "alice"
    assert page.evaluate("me()") == 200
    assert site.verdicts[0] == "ROTATED"
    assert site.verdicts[1:] in (["REPLAYED"], ["SAME"])
    for _ in range(2):
        site.clock.turn(LIFE + 100)
        assert page.evaluate("auth.refresh().then((session) => session.subject)") == "alice"


def test_a_reload_in_the_middle_of_a_refresh(context: BrowserContext, site: Site) -> None:
    """A page that is reloaded while it refreshes comes back logged in."""
    page = tab(context, site.url)
    page.evaluate(login())
    site.free.clear()
    page.evaluate("void auth.refresh()")
    wait_until(lambda: site.verdicts == ["ROTATED"])
    page.reload()
    site.free.set()
    page.wait_for_function("window.loaded")
    assert page.evaluate("auth.ready.then((session) => session.subject)") == "alice"
    assert site.verdicts[1:] == ["REPLAYED"]


def test_the_server_is_down_for_five_seconds(context: BrowserContext, site: Site, line: Line) -> None:
    """A server that is down for 5 s delays who needs a new token, and logs nobody out."""
    page = tab(context, line.url)
    page.evaluate(login())
    page.evaluate("void (window.real = Date.now, Date.now = () => real() + 1_000_000)")
    line.down()
    page.evaluate("void (window.asked = me())")
    page.wait_for_timeout(5000)
    assert page.evaluate("[auth.session.subject, changes.length]") == ["alice", 2]
    line.up()
    assert page.evaluate("asked") == 200
    assert page.evaluate("auth.session.subject") == "alice"


def test_retry_after_and_backoff(context: BrowserContext, site: Site) -> None:
    """After a 503 the server is left alone as long as it asks for, then for longer each time, up to a bound."""
    context.clock.install(time=NOW)
    page = tab(context, site.url)
    page.evaluate(login())
    sleep(context, site)
    begun = site.asked()
    site.answers += [unavailable(7), *[unavailable()] * 50]
    page.evaluate(f"void (window.asked = auth.fetch('/api/me'){NAME})")
    wait_until(lambda: site.asked() == begun + 1)
    page.wait_for_function("navigator.locks.query().then(({ held }) => held.length === 0)")
    context.clock.run_for(6900)
    assert site.asked() == begun + 1
    context.clock.run_for(3700)
    wait_until(lambda: site.asked() == begun + 2)
    for _ in range(100):
        page.wait_for_function("navigator.locks.query().then(({ held }) => held.length === 0)")
        context.clock.run_for(300)
    assert page.evaluate("asked") == "TypeError"
    assert 6 <= site.asked() - begun <= 10
    assert page.evaluate("auth.session.subject") == "alice"
    site.answers.clear()
    context.clock.run_for(15_000)
    assert page.evaluate("me()") == 200


def test_a_long_retry_after(context: BrowserContext, site: Site) -> None:
    """A server that asks for two minutes gets them, from all tabs: what needs a new token meanwhile is rejected."""
    context.clock.install(time=NOW)
    first, second = tab(context, site.url), tab(context, site.url)
    first.evaluate(login())
    second.wait_for_function("auth.session")
    sleep(context, site)
    before = site.asked()
    site.answers += [unavailable(120)] * 9
    for each in (first, second, first):
        assert each.evaluate(f"auth.fetch('/api/me'){NAME}") == "TypeError"
    assert site.asked() == before + 1
    site.answers.clear()
    context.clock.fast_forward(181_000)
    assert [each.evaluate("me()") for each in (first, second)] == [200, 200]


@pytest.mark.parametrize("asked", ["1000000000", "Fri, 31 Dec 2100 00:00:00 GMT", "Infinity"])
def test_an_endless_retry_after(context: BrowserContext, site: Site, asked: str) -> None:
    """Nobody waits for days, by a date that a device's clock is far behind, say: five minutes are the most."""
    context.clock.install(time=NOW)
    page = tab(context, site.url)
    page.evaluate(login())
    sleep(context, site)
    before = site.asked()
    site.answers += [JSONResponse({}, status_code=503, headers={"Retry-After": asked})]
    assert page.evaluate(f"auth.fetch('/api/me'){NAME}") == "TypeError"
    context.clock.fast_forward(250_000)
    assert page.evaluate(f"auth.fetch('/api/me'){NAME}") == "TypeError"
    assert site.asked() == before + 1
    context.clock.fast_forward(210_000)
    assert page.evaluate("me()") == 200


def test_retry_after(context: BrowserContext, site: Site) -> None:
    """`AuthError` tells of `Retry-After` in seconds, whether it was those or a date; what is neither is ignored."""
    context.clock.install(time=NOW)
    page = tab(context, f"{site.url}/?manual")
    page.evaluate("""() => {
        window.fetch = async () => Response.json({}, { status: 429, headers: { "Retry-After": value } });
        window.after = (given) => {
            window.value = given;
            return auth.login({}).catch((error) => error.retryAfter);
        };
        window.value = "0";
        void begin();
    }""")
    assert page.evaluate("after('7')") == 7
    assert page.evaluate("after(new Date(Date.now() + 60_000).toUTCString())") == pytest.approx(60, abs=3)
    assert [page.evaluate("(value) => after(value)", value) for value in ("soon", "0", "")] == [None] * 3


@pytest.mark.parametrize("status", [503, 403], ids=str)
def test_a_token_that_still_holds_is_used_meanwhile(context: BrowserContext, site: Site, status: int) -> None:
    """In its last half minute a token that can't be renewed, why ever, is used on, without waiting."""
    context.clock.install(time=NOW)
    page = tab(context, site.url)
    page.evaluate(login())
    sleep(context, site, LIFE - 20)
    before = site.asked()
    site.answers += [JSONResponse({}, status_code=status, headers={"Retry-After": "10"}) for _ in range(2)]
    assert page.evaluate("me()") == 200
    assert page.evaluate("me()") == 200
    assert site.asked() == before + 1


OTHER_ANSWERS: dict[str, Callable[[], Response]] = {
    "a proxy's 401": lambda: Response(status_code=401),
    "another error's 401": lambda: JSONResponse({"error": "invalid_token"}, status_code=401),
    "a captive portal": lambda: HTMLResponse("<h1>Log in to our WiFi</h1>"),
    "JSON of something else": lambda: JSONResponse(None),
    "an empty 204": lambda: Response(status_code=204),
    "no JWT": lambda: JSONResponse({"access_token": "opaque", "expires_in": 60, "scope": ""}),
    "a redirect": lambda: Response(status_code=307, headers={"Location": "/auth/refresh"}),
    "a 400": lambda: JSONResponse({"error": "invalid_request"}, status_code=400),
    "a 403": lambda: JSONResponse({"error": "invalid_grant"}, status_code=403),
    "a 404": lambda: Response(status_code=404),
    "a 429": lambda: Response(status_code=429),
    "a 500": lambda: JSONResponse({"error": "invalid_grant"}, status_code=500),
}


def test_only_invalid_grant_logs_out(page: Page, site: Site) -> None:
    """Whatever else a refresh is answered, and by whom, the session stays."""
    page.evaluate(login())
    for name, answer in OTHER_ANSWERS.items():
        site.answers.append(answer())
        page.evaluate("auth.refresh().catch(() => {})")
        assert page.evaluate("auth.session?.subject") == "alice", name
        assert not site.answers, name
        assert page.evaluate("me()") == 200
    site.answers.append(JSONResponse({"error": "invalid_grant"}, status_code=401))
    assert page.evaluate("auth.refresh()") is None
    assert page.evaluate("[auth.session, changes.at(-1)[0]]") == [None, None]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_answers_that_ask_for_another_attempt(page: Page, site: Site, status: int) -> None:
    """What a server answers that is busy or broken for the moment is no answer: the client asks again."""
    page.evaluate(login())
    site.answers.append(Response(status_code=status))
    assert page.evaluate("auth.refresh().then((session) => session.subject)") == "alice"
    assert site.asked() == 3


def test_a_server_that_is_down_when_the_page_loads(context: BrowserContext, site: Site) -> None:
    """Nobody is known to be logged in while the server is out of reach, and the next call brings the session back."""
    context.clock.install(time=NOW)
    page = tab(context, site.url)
    page.evaluate(login())
    site.answers += [unavailable(60)]
    page.reload()
    page.wait_for_function("window.loaded")
    assert page.evaluate("auth.ready") is None
    assert page.evaluate("changes") == []
    context.clock.fast_forward(95_000)
    assert page.evaluate("me()") == 200
    assert page.evaluate("changes.map(([subject]) => subject)") == ["alice"]


def test_asleep_past_expiry(context: BrowserContext, site: Site) -> None:
    """A laptop that slept past the token's end refreshes before it asks for anything."""
    context.clock.install(time=NOW)
    page = tab(context, site.url)
    page.evaluate(login())
    sleep(context, site, 8 * 3600)
    assert page.evaluate("me()") == 200
    assert (site.asked("/api/me"), site.verdicts) == (1, ["ROTATED"])


CLOCKS = {
    "sleep has stopped the monotonic clock": "const real = Date.now; Date.now = () => real() + 1_000_000",
    "the clock was set back, and the token has expired": (
        "const real = Date.now, tick = performance.now.bind(performance); "
        "Date.now = () => real() - 86_400_000; performance.now = () => tick() + 1_000_000"
    ),
    "the clock was set back while the monotonic clock stood still": (
        "const real = Date.now; Date.now = () => real() - 5000"
    ),
    "the clock was set forward": "const real = Date.now; Date.now = () => real() + 86_400_000",
}


@pytest.mark.parametrize("happened", CLOCKS)
def test_clocks(page: Page, site: Site, happened: str) -> None:
    """Whatever happens to the device's clocks: on doubt the token is renewed, once, and then relied on."""
    page.evaluate(login())
    site.clock.turn(1000)
    page.evaluate(f"(() => {{ {CLOCKS[happened]} }})()")
    assert page.evaluate("me()") == 200
    assert (site.asked("/api/me"), site.asked()) == (1, 2)
    assert page.evaluate("me()") == 200
    assert (site.asked("/api/me"), site.asked()) == (2, 2)


def test_a_device_whose_clock_is_wrong(context: BrowserContext, site: Site) -> None:
    """A device whose clock is years off needs no refresh the sooner."""
    context.clock.install(time=NOW - 10**8)
    page = tab(context, site.url)
    page.evaluate(login())
    assert page.evaluate("me()") == 200
    assert (site.asked("/api/me"), site.asked()) == (1, 1)


def test_a_short_life(context: BrowserContext) -> None:
    """A token that lives for seconds is renewed in its last quarter, and not at every call."""
    context.clock.install(time=NOW)
    with serving(Site(settings={"access_ttl": 20})) as site:
        page = tab(context, site.url)
        page.evaluate(login())
        context.clock.fast_forward(12_000)
        assert [page.evaluate("me()") for _ in range(2)] == [200, 200]
        assert site.asked() == 1
        context.clock.fast_forward(4000)
        assert [page.evaluate("me()") for _ in range(2)] == [200, 200]
        assert site.asked() == 2


def test_login_while_a_refresh_is_in_flight(context: BrowserContext, site: Site) -> None:
    """No late answer undoes a login in another tab: the login waits for it, and what comes after is Bob's."""
    first, second = tab(context, site.url), tab(context, site.url)
    first.evaluate(login())
    second.wait_for_function("auth.session")
    site.free.clear()
    first.evaluate("void (window.refreshed = auth.refresh())")
    wait_until(lambda: site.asked() == 3)
    second.evaluate(f"void (window.entered = {login('bob')})")
    site.free.set()
    second.evaluate("entered")
    first.wait_for_function("auth.session.subject === 'bob'")
    for each in (first, second):
        assert each.evaluate("auth.refresh().then((session) => session.subject)") == "bob"


def test_logout_while_a_refresh_is_in_flight(context: BrowserContext, site: Site) -> None:
    """No late answer undoes a logout, in this tab or another, and no waiting refresh asks again."""
    first, second = tab(context, site.url), tab(context, site.url)
    first.evaluate(login())
    second.wait_for_function("auth.session")
    site.free.clear()
    first.evaluate("void (window.refreshed = auth.refresh())")
    wait_until(lambda: site.asked() == 3)
    first.evaluate("void (window.left = auth.logout())")
    second.evaluate("void (window.refreshed = auth.refresh())")
    site.free.set()
    first.evaluate("left")
    assert [each.evaluate("refreshed.then(() => auth.session)") for each in (first, second)] == [None, None]
    assert context.cookies() == []
    assert site.asked() == 3


def test_logout_while_a_refresh_is_in_flight_without_locks(context: BrowserContext, site: Site) -> None:
    """Without Web Locks a logout in one tab still has the late answer of another's refresh dropped."""
    context.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    first, second = tab(context, site.url), tab(context, site.url)
    first.evaluate(login())
    second.wait_for_function("auth.session")
    site.free.clear()
    second.evaluate("void (window.refreshed = auth.refresh())")
    wait_until(lambda: site.verdicts == ["ROTATED"])
    first.evaluate("auth.logout()")
    second.wait_for_function("auth.session === null")
    site.free.set()
    assert second.evaluate("refreshed") is None
    assert [each.evaluate("auth.session") for each in (first, second)] == [None, None]
    assert first.evaluate("auth.refresh()") is None


def test_a_late_refusal_without_locks(context: BrowserContext, site: Site) -> None:
    """Without Web Locks a refusal that comes after a login in another tab is the old session's, and ends nothing."""
    context.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    first, second = tab(context, site.url), tab(context, f"{site.url}/?manual")
    first.evaluate(login())
    second.evaluate("""() => {
        const real = fetch;
        window.fetch = (url, init) => window.late && url.endsWith("/refresh") ? late : real(url, init);
        return begin();
    }""")
    second.evaluate("""void (window.late = new Promise((answer) => {
        window.refuse = () => answer(Response.json({ error: "invalid_grant" }, { status: 401 }));
    }), window.refreshed = auth.refresh())""")
    first.evaluate(login("bob"))
    second.wait_for_function("auth.session.subject === 'bob'")
    assert second.evaluate("(refuse(), refreshed.then((session) => session?.subject))") == "bob"
    assert [each.evaluate("auth.session?.subject") for each in (first, second)] == ["bob", "bob"]


def test_a_tab_that_hangs(context: BrowserContext, site: Site) -> None:
    """A tab that never gives the lock back holds the others up for a while, and then no longer."""
    context.add_init_script(
        "AbortSignal.timeout = ((real) => (ms) => real(ms === 20_000 ? 300 : ms))(AbortSignal.timeout)"
    )
    first, second = tab(context, site.url), tab(context, site.url)
    first.evaluate(login())
    second.wait_for_function("auth.session")
    first.evaluate("void navigator.locks.request(`asgi-jwt ${location.origin}/auth`, () => new Promise(() => {}))")
    assert second.evaluate("auth.refresh().then((session) => session.subject)") == "alice"
    second.evaluate("auth.logout()")
    assert first.evaluate("auth.session") is None


def test_a_request_that_hangs(context: BrowserContext, site: Site) -> None:
    """A refresh without an answer is given up, and tried again."""
    context.add_init_script(
        "AbortSignal.timeout = ((real) => (ms) => real(ms === 15_000 ? 500 : ms))(AbortSignal.timeout)"
    )
    page = tab(context, site.url)
    page.evaluate(login())
    site.free.clear()
    page.evaluate("void (window.refreshed = auth.refresh())")
    wait_until(lambda: site.asked() == 3)
    site.free.set()
    assert page.evaluate("refreshed.then((session) => session.subject)") == "alice"


def test_back_from_the_cache(context: BrowserContext, site: Site) -> None:
    """A page that comes out of the back/forward cache asks the server again who is logged in."""
    page = tab(context, site.url)
    page.evaluate(login())
    site.answers.append(JSONResponse({"error": "invalid_grant"}, status_code=401))
    page.evaluate("void dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    page.wait_for_function("auth.session === null")
    page.evaluate("void dispatchEvent(new PageTransitionEvent('pageshow', { persisted: false }))")
    assert site.asked() == 2
