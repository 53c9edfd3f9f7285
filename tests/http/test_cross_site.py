"""No other site's page logs anyone in or out: every route that a cookie could speak for, every way a request comes."""

from typing import Any

import pytest
from support.app import (
    COOKIE,
    Answer,
    Device,
    Service,
    WatchedStore,
    bearer,
    cookie,
    credentials,
    form_body,
    json_body,
    payload,
)
from support.tables import headers_of, tables_of

pytestmark = pytest.mark.anyio

EVIL = "https://evil.example"
ACCESS = "__Host-access_token"

TABLES = tables_of(__file__)
OWN_PAGE = TABLES["own_page"]
TRUSTED_PAGE = TABLES["trusted_page"]
REFUSED = TABLES["refused"]
ROUTES = ("/login", "/refresh", "/logout", "/logout-all", "/sessions")


async def send(service: Service, route: str, one: Device, headers: list[tuple[str, str]], *, cookies: bool) -> Answer:
    """A request as the browser sends it, with whatever it holds."""
    jar = [cookie(one.refresh)] if cookies else []
    if route == "/login":
        return await service.post("/login", json_body(credentials()), *headers, *jar)
    if route == "/sessions":
        return await service.delete(one.sid, bearer(one.access), *headers, *jar)
    return await service.post(route, None, *headers, *jar)


@pytest.fixture
def trusting(store: WatchedStore) -> Service:
    trusted = ["https://app.example", "http://localhost:3000", "https://*.preview.example"]
    return Service(store, settings={"trusted_origins": trusted})


@pytest.mark.parametrize("row", OWN_PAGE + TRUSTED_PAGE)
async def test_passes(trusting: Service, row: str) -> None:
    """The own pages, those that are trusted, and what is no browser are served; schemes are not compared."""
    for route in ROUTES:
        answer = await send(trusting, route, await trusting.device(), headers_of(row), cookies=True)
        assert answer.status in (200, 204), route


@pytest.mark.parametrize("cookies", [True, False])
@pytest.mark.parametrize("row", REFUSED)
async def test_refused(trusting: Service, row: str, cookies: bool) -> None:
    """P7: Every other page, and whatever can't be told apart from one, is a 403, with or without a cookie, before
    anything is read, and changes nothing."""
    one = await trusting.device()
    for route in ROUTES if cookies else ROUTES[:-1]:
        trusting.store.calls.clear()
        answer = await send(trusting, route, one, headers_of(row), cookies=cookies)
        assert (answer.error, answer.set_cookies, answer.challenge) == ((403, "cross_site"), [], None), route
        assert answer.headers["cache-control"] == "no-store"
        assert trusting.store.calls.total() == 0
    assert await trusting.alive(one) == [True]


@pytest.mark.parametrize("row", [*TRUSTED_PAGE, "origin: ", "origin: null"])
async def test_nobody_is_trusted_by_default(service: Service, row: str) -> None:
    """Without `TRUSTED_ORIGINS`, no other origin passes, the empty one neither."""
    assert (await service.login("alice", *headers_of(row))).status == 403


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
        assert (await service.delete(sid, *by)).status == 204
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
                await service.delete("x", bearer(token), *headers, *jar),
            ]
            assert [answer.status for answer in answers] == [403] * 4


@pytest.mark.parametrize("transport", [{}, {"transport": "cookie"}, {"transport": 1}, {"transport": ""}])
async def test_logins_that_set_a_cookie(service: Service, transport: dict[str, Any]) -> None:
    """Another site's page logs nobody in: without `transport=body` a login is refused, with a Bearer token too."""
    token = (await service.login(transport="body")).json()["access_token"]
    for headers in from_app(EVIL):
        answer = await service.post("/login", json_body(credentials(**transport)), bearer(token), *headers)
        assert (answer.error, answer.set_cookies) == ((403, "cross_site"), [])


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


async def test_routes_without_a_cookie(trusting: Service) -> None:
    """Where no cookie speaks, a page of another site needs the token itself, and is served as any client."""
    tokens = (await trusting.login(transport="body")).json()
    cross_site = ("sec-fetch-site", "cross-site")
    answers = [await trusting.get("/sessions", bearer(tokens["access_token"]), cross_site)]
    answers.append(await trusting.token(tokens["refresh_token"], cross_site))
    answers.append(await trusting.post("/revoke", json_body({"token": tokens["refresh_token"]}), cross_site))
    assert [answer.status for answer in answers] == [200] * 3
