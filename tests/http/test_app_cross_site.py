"""No other site's page logs anyone in or out: every route that a cookie could speak for, every way a request comes."""

from typing import Any

import pytest
from auth_service import HOST, Answer, Service, WatchedStore, bearer, cookie, credentials, json_body, payload

pytestmark = pytest.mark.anyio

TRUSTED = "https://app.example"
OWN = f"https://{HOST}"
EVIL = "https://evil.example"

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


@pytest.mark.parametrize("cookies", [True, False])
@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("route", ROUTES)
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


async def test_refused_before_the_body(trusting: Service) -> None:
    """Nothing of the body is read for another site: not its type, its size or its syntax."""
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
