"""No other site's page logs anyone in or out: every route that a cookie could speak for, every way a request comes."""

from typing import Any

import pytest
from support.app import (
    COOKIE,
    HOST,
    Answer,
    Service,
    WatchedStore,
    bearer,
    cookie,
    credentials,
    form_body,
    json_body,
    payload,
)

pytestmark = pytest.mark.anyio

TRUSTED = "https://app.example"
OWN = f"https://{HOST}"
EVIL = "https://evil.example"
ACCESS = "__Host-access_token"

PASSES: dict[str, list[tuple[str, str]]] = {
    "same-origin": [("sec-fetch-site", "same-origin"), ("origin", OWN)],
    "typed by the user": [("sec-fetch-site", "none")],
    "no browser": [],
    "an older browser, own page": [("origin", OWN)],
    "TLS ends at a proxy": [("origin", OWN), ("x-forwarded-proto", "https")],
    "default port": [("origin", f"{OWN}:443")],
    "trusted, cross-site": [("sec-fetch-site", "cross-site"), ("origin", TRUSTED)],
    "trusted, same-site": [("sec-fetch-site", "same-site"), ("origin", TRUSTED)],
    "trusted, older browser": [("origin", TRUSTED)],
}
REFUSED: dict[str, list[tuple[str, str]]] = {
    "cross-site": [("sec-fetch-site", "cross-site"), ("origin", EVIL)],
    "cross-site without an origin": [("sec-fetch-site", "cross-site")],
    "cross-site, own origin": [("sec-fetch-site", "cross-site"), ("origin", OWN)],
    "same-site": [("sec-fetch-site", "same-site"), ("origin", "https://sibling.api.example")],
    "same-site, no origin": [("sec-fetch-site", "same-site")],
    "origin null": [("origin", "null")],
    "cross-site, origin null": [("sec-fetch-site", "cross-site"), ("origin", "null")],
    "another origin": [("origin", EVIL)],
    "another port": [("origin", f"{OWN}:8443")],
    "a Host that lies": [
        ("host", "evil.example"),
        ("origin", EVIL),
        ("sec-fetch-site", "cross-site"),
    ],
    "a Host that is another": [("host", "evil.example"), ("origin", OWN)],
    "two Hosts": [("host", HOST), ("host", "evil.example"), ("origin", EVIL)],
    "a forwarded Host": [("x-forwarded-host", "evil.example"), ("origin", EVIL)],
    "two origins": [("origin", TRUSTED), ("origin", EVIL)],
    "two values": [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
    "a trusted prefix": [("origin", f"{TRUSTED}.evil.example")],
    "trusted, over plain http": [("sec-fetch-site", "cross-site"), ("origin", "http://app.example")],
}
ROUTES = ("/login", "/refresh", "/logout", "/logout-all", "/sessions")


async def send(service: Service, route: str, login: Answer, headers: list[tuple[str, str]], *, cookies: bool) -> Answer:
    """A request as the browser sends it, with whatever it holds."""
    access, held = login.json()["access_token"], [cookie(login.cookie())] if cookies else []
    if route == "/login":
        return await service.post("/login", json_body(credentials()), *headers, *held)
    if route == "/sessions":
        sid = payload(access)["sid"]
        return await service.ask("DELETE", f"/sessions/{sid}", headers=[bearer(access), *headers, *held])
    return await service.post(route, None, *headers, *held)


@pytest.fixture
def trusting(store: WatchedStore) -> Service:
    return Service(store, settings={"trusted_origins": TRUSTED})


@pytest.mark.parametrize("headers", PASSES.values(), ids=PASSES)
@pytest.mark.parametrize("route", ROUTES)
async def test_passes(trusting: Service, route: str, headers: list[tuple[str, str]]) -> None:
    """The own pages, those that are trusted, and what is no browser are served."""
    answer = await send(trusting, route, await trusting.login(), headers, cookies=True)
    assert answer.status in (200, 204)


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize(
    ("route", "cookies"), [*((route, True) for route in ROUTES), *((route, False) for route in ROUTES[:-1])]
)
async def test_refused(trusting: Service, route: str, headers: list[tuple[str, str]], cookies: bool) -> None:
    """Every other page is a 403, with or without a cookie, before anything is read, and changes nothing."""
    login = await trusting.login()
    trusting.store.calls.clear()
    answer = await send(trusting, route, login, headers, cookies=cookies)
    assert (answer.status, answer.json()["error"], answer.set_cookies) == (403, "cross_site", [])
    assert "www-authenticate" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    assert trusting.store.calls.total() == 0
    assert (await trusting.refresh(login.cookie())).status == 200


async def test_nobody_is_trusted_by_default(service: Service) -> None:
    """Without `TRUSTED_ORIGINS`, no other origin passes."""
    answer = await service.login("alice", ("sec-fetch-site", "same-site"), ("origin", TRUSTED))
    assert answer.status == 403


WEB_VIEWS = ["capacitor://localhost", "ionic://localhost", "tauri://localhost", "https://tauri.localhost"]
APPS = [*WEB_VIEWS, "chrome-extension://abcdefghijklmnop", "moz-extension://0b1c2d3e", "null", EVIL]


def from_app(origin: str) -> list[list[tuple[str, str]]]:
    """What comes along with a request of an app in a web view: fetch metadata or not."""
    return [[("origin", origin)], [("origin", origin), ("sec-fetch-site", "cross-site")]]


@pytest.mark.parametrize("origin", APPS)
async def test_apps_that_rely_on_no_cookie(service: Service, origin: str) -> None:
    """Without a cookie, whoever asks for `transport=body` or brings a Bearer token is served, from any site."""
    for headers in from_app(origin):
        for body in (json_body, form_body):
            login = await service.post("/login", body(credentials(transport="body")), *headers, ("cookie", "other=1"))
            assert (login.status, login.set_cookies) == (200, [])
            tokens = login.json()
            tokens = (await service.token(tokens["refresh_token"], *headers)).json()
        sid = payload(tokens["access_token"])["sid"]
        by = [bearer(tokens["access_token"]), *headers]
        assert (await service.ask("DELETE", f"/sessions/{sid}", headers=by)).status == 204
        for path in ("/logout", "/logout-all"):
            tokens = (await service.login(transport="body")).json()
            assert (await service.post(path, None, bearer(tokens["access_token"]), *headers)).status == 204
            assert (await service.token(tokens["refresh_token"])).status == 400


@pytest.mark.parametrize("origin", APPS)
@pytest.mark.parametrize("name", [COOKIE, ACCESS])
async def test_apps_that_send_a_cookie(store: WatchedStore, origin: str, name: str) -> None:
    """Beside a cookie of ours, a good one or not, `transport=body` and a Bearer token excuse nothing."""
    service = Service(store, settings={"access_cookie": ACCESS})
    token = (await service.login(transport="body")).json()["access_token"]
    jars = [[cookie("x", name)], [cookie("x", name), cookie("y", name)], [("cookie", f"{name}=x" + ";" * 1001)]]
    for headers in from_app(origin):
        for jar in jars:
            answers = [
                await service.login("alice", *headers, *jar, transport="body"),
                await service.post("/logout", None, bearer(token), *headers, *jar),
                await service.post("/logout-all", None, bearer(token), *headers, *jar),
                await service.ask("DELETE", "/sessions/x", headers=[bearer(token), *headers, *jar]),
            ]
            assert [answer.status for answer in answers] == [403] * 4


@pytest.mark.parametrize("transport", [{}, {"transport": "cookie"}, {"transport": 1}, {"transport": ""}])
async def test_logins_that_set_a_cookie(service: Service, transport: dict[str, Any]) -> None:
    """Another site's page logs nobody in: without `transport=body` a login is refused, with a Bearer token too."""
    token = (await service.login(transport="body")).json()["access_token"]
    for headers in from_app(EVIL):
        answer = await service.post("/login", json_body(credentials(**transport)), bearer(token), *headers)
        assert (answer.status, answer.json()["error"], answer.set_cookies) == (403, "cross_site", [])


@pytest.mark.parametrize("origin", WEB_VIEWS)
async def test_trusted_apps(store: WatchedStore, origin: str) -> None:
    """A trusted origin may have any scheme, and its app may then rely on cookies."""
    service = Service(store, settings={"trusted_origins": origin})
    for headers in from_app(origin):
        login = await service.login("alice", *headers)
        assert (login.status, (await service.refresh(login.cookie(), *headers)).status) == (200, 200)


async def test_refused_before_the_body(trusting: Service) -> None:
    """Another site is told nothing of a body: not of its type, its size or its syntax."""
    headers: list[tuple[str, Any]] = [("sec-fetch-site", "cross-site"), ("content-length", "9999999")]
    answer = await trusting.ask("POST", "/login", headers=headers, chunks=[])
    assert answer.status == 403


@pytest.mark.parametrize(("method", "path"), [("POST", "/token"), ("POST", "/revoke"), ("GET", "/sessions")])
async def test_routes_without_a_cookie(trusting: Service, method: str, path: str) -> None:
    """Where no cookie speaks, a page of another site needs the token itself, and is served as any client."""
    login = await trusting.login(transport="body")
    tokens = login.json()
    cross_site = ("sec-fetch-site", "cross-site")
    if method == "GET":
        answer = await trusting.ask(method, path, headers=[bearer(tokens["access_token"]), cross_site])
    elif path == "/token":
        answer = await trusting.token(tokens["refresh_token"], cross_site)
    else:
        answer = await trusting.post(path, json_body({"token": tokens["refresh_token"]}), cross_site)
    assert answer.status == 200
