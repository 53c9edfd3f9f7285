"""The cookies' attributes, wherever the app is mounted, and the access token's cookie."""

from typing import Any
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp
from support.app import COOKIE, Browser, Service, WatchedStore, ask, cookie, credentials, json_body
from support.tables import tables_of

from asgi_jwt import JWTMiddleware

pytestmark = pytest.mark.anyio

ACCESS = "__Host-access_token"
WEEK = 7 * 24 * 3600


def attributes(line: str) -> tuple[str, set[str]]:
    """The cookie's name, and its attributes as they stand."""
    pair, *rest = line.split("; ")
    return pair.partition("=")[0], set(rest)


async def set_and_cleared(app: ASGIApp, prefix: str, **more: Any) -> list[str]:
    """The `Set-Cookie` lines of a login, a refresh, a refused refresh and a logout."""
    login = await ask(app, "POST", f"{prefix}/login", **json_body(credentials()), **more)
    token = [login.set_cookies[0].partition(";")[0]]
    lines = list(login.set_cookies)
    for path, sent in (("/refresh", token), ("/refresh", []), ("/logout", token)):
        answer = await ask(app, "POST", prefix + path, headers=[("cookie", line) for line in sent], **more)
        lines += answer.set_cookies
    return lines


MOUNTS = tables_of(__file__)["mounts"]


@pytest.mark.parametrize(("mount", "path"), MOUNTS.items())
async def test_attributes(service: Service, mount: str, path: str) -> None:
    """P6: The refresh cookie goes to where the app is mounted and nowhere else, is read by no script, and is sent by no
    other site; the clearing one has the same attributes. Nothing in the mount's name ends an attribute.
    """
    lines = await set_and_cleared(service.app, mount, root_path=mount)
    flags = {f"Path={path}", "HttpOnly", "Secure", "SameSite=Strict"}
    alive, dead = flags | {f"Max-Age={WEEK}"}, flags | {"Max-Age=0"}
    assert [attributes(line) for line in lines] == [(COOKIE, alive), (COOKIE, alive), (COOKIE, dead), (COOKIE, dead)]


@pytest.mark.parametrize("mount", ["/auth", "/a;b", "/größe", "/v1:auth"])
async def test_mounted_in_an_app_below_a_root_path(service: Service, mount: str) -> None:
    """Starlette's `Mount`, itself below a server's `root_path`: the cookie's path is the whole of it."""
    app = Starlette(routes=[Mount(mount, service.app)])
    lines = await set_and_cleared(app, f"/proxy{mount}", root_path="/proxy")
    paths = [next(each for each in attributes(line)[1] if each.startswith("Path=")) for line in lines]
    assert [unquote(path) for path in paths] == [f"Path=/proxy{mount}"] * 4
    assert all(";" not in path and path.isascii() for path in paths)


DAPHNE: dict[str, Any] = {"asgi": {"version": "3.0"}}


@pytest.mark.parametrize("named", ["", "/", "/~mallory", "/auth/x", "/tokens/x"])
async def test_a_root_path_that_a_client_names(store: WatchedStore, named: str) -> None:
    """Where a client can name the root path, it makes no cookie's path: `ROOT_PATH` does, and Starlette's `Mount`. A
    mount that only adds to the root path makes the cookie's path under every server."""
    for configured in ("", "/auth"):
        service = Service(store, settings={"root_path": configured or None})
        alone = await set_and_cleared(service.app, "", root_path=named, **DAPHNE)
        assert [f"Path={configured or '/'}" in attributes(line)[1] for line in alone] == [True] * 4
    service = Service(store)
    mounted = await set_and_cleared(
        Starlette(routes=[Mount("/tokens", service.app)]), "/tokens", root_path=named, **DAPHNE
    )
    by_hand = await set_and_cleared(service.app, "/tokens", root_path="/tokens", **DAPHNE)
    assert ["Path=/tokens" in attributes(line)[1] for line in mounted + by_hand] == [True] * 8


@pytest.mark.parametrize(
    ("settings", "attribute"),
    [
        ({"cookie_path": "/public/auth"}, "Path=/public/auth"),
        ({"access_cookie": ACCESS, "access_cookie_samesite": "Strict"}, "SameSite=Strict"),
    ],
)
async def test_settings_of_attributes(store: WatchedStore, settings: dict[str, str], attribute: str) -> None:
    """`COOKIE_PATH` stands as it is, for a proxy that strips a prefix; `ACCESS_COOKIE_SAMESITE=strict` is the access
    cookie's, set and cleared, and the refresh cookie is always Strict."""
    service = Service(store, settings=settings)
    lines = await set_and_cleared(service.app, "/auth", root_path="/auth")
    assert all(attribute in attributes(line)[1] for line in lines)


async def test_insecure(store: WatchedStore) -> None:
    """`COOKIE_SECURE=false` takes Secure away, and the prefixes with it, which no browser takes without."""
    settings = {"cookie_secure": False, "access_cookie": ACCESS, "token_sources": ["header", f"cookie:{ACCESS}"]}
    service = Service(store, settings=settings)
    lines = await set_and_cleared(service.app, "/auth", root_path="/auth")
    assert {attributes(line)[0] for line in lines} == {"refresh_token", "access_token"}
    assert not any("Secure" in attributes(line)[1] for line in lines)
    same_site = {"refresh_token": "SameSite=Strict", "access_token": "SameSite=Lax"}
    assert all({"HttpOnly", same_site[name]} < flags for name, flags in map(attributes, lines))
    browser = Browser(service)
    await browser.login()
    assert (await browser.post("/refresh")).status == 200
    assert await me(service, browser) == (200, "alice")


async def test_cookie_name(store: WatchedStore) -> None:
    """`COOKIE_NAME` names the cookie that is set, read and cleared."""
    service = Service(store, settings={"cookie_name": "rt"})
    browser = Browser(service)
    await browser.login()
    assert browser.jar.keys() == {"rt"}
    assert (await browser.post("/refresh")).status == 200
    await browser.post("/logout")
    assert browser.jar == {}


async def test_max_age_is_what_is_left(store: WatchedStore) -> None:
    """The cookie lives until the session expires, and is gone when that is now."""
    service = Service(store, settings={"refresh_ttl": "2d", "session_ttl": "2d"})
    token = (await service.login()).cookie()
    service.clock.turn(2 * 24 * 3600 - 90.5)
    assert "Max-Age=90; " in (await service.refresh(token)).set_cookies[0]


@pytest.fixture
def with_access_cookie(store: WatchedStore) -> Service:
    return Service(store, settings={"access_cookie": ACCESS, "token_sources": ["header", f"cookie:{ACCESS}"]})


async def me(service: Service, browser: Browser, *headers: tuple[str, str], method: str = "GET") -> tuple[int, Any]:
    """Who the middleware says the browser is."""

    async def answer(request: Request) -> JSONResponse:
        return JSONResponse(request.scope["claims"].subject)

    app = JWTMiddleware(Starlette(routes=[Route("/me", answer, methods=["GET", "POST"])]), service.auth)
    jar = [cookie(value, name) for name, value in browser.jar.items()]
    answered = await ask(app, method, "/me", headers=[*jar, *headers])
    return answered.status, answered.json()


async def test_access_cookie(with_access_cookie: Service) -> None:
    """`ACCESS_COOKIE`: login and refresh set the access token as a cookie for the whole host, logout clears it."""
    lines = await set_and_cleared(with_access_cookie.app, "/auth", root_path="/auth")
    flags = {"Path=/", "HttpOnly", "Secure", "SameSite=Lax"}
    alive, dead = flags | {"Max-Age=900"}, flags | {"Max-Age=0"}
    access = [attributes(line) for line in lines if line.startswith(ACCESS)]
    assert access == [(ACCESS, alive), (ACCESS, alive), (ACCESS, dead), (ACCESS, dead)]


async def test_access_cookie_with_same(with_access_cookie: Service) -> None:
    """SAME sets the access token's cookie, which is new, and leaves the refresh token's as it is."""
    browser = Browser(with_access_cookie)
    await browser.login()
    await browser.post("/refresh")
    before = dict(browser.jar)
    answer = await browser.post("/refresh")
    assert with_access_cookie.verdicts == ["ROTATED", "SAME"]
    assert [attributes(line)[0] for line in answer.set_cookies] == [ACCESS]
    assert answer.cookie(ACCESS) == answer.json()["access_token"] != before[ACCESS]


async def test_access_cookie_is_read(with_access_cookie: Service) -> None:
    """The middleware reads it, on unsafe methods only from the own site; after the logout there is none to read."""
    browser = Browser(with_access_cookie)
    await browser.login()
    assert await me(with_access_cookie, browser) == (200, "alice")
    assert await me(with_access_cookie, browser, ("sec-fetch-site", "same-origin"), method="POST") == (200, "alice")
    refused, said = await me(with_access_cookie, browser, ("sec-fetch-site", "cross-site"), method="POST")
    assert (refused, said["error"]) == (403, "cross_site")
    await browser.post("/logout")
    assert browser.jar == {}
    assert (await me(with_access_cookie, browser))[0] == 401


async def test_two_access_cookies(with_access_cookie: Service) -> None:
    """Two access cookies are a 400, and neither is used."""
    browser = Browser(with_access_cookie)
    await browser.login()
    status, said = await me(with_access_cookie, browser, cookie("tossed", ACCESS))
    assert (status, said["error"]) == (400, "invalid_request")


async def test_no_access_cookie_on_the_body_transport(with_access_cookie: Service) -> None:
    """Whoever keeps the tokens itself gets no cookie at all."""
    login = await with_access_cookie.login(transport="body")
    token = await with_access_cookie.token(login.json()["refresh_token"])
    assert login.set_cookies == token.set_cookies == []


@pytest.mark.parametrize("name", [COOKIE, "__Host-refresh_token"])
async def test_names_that_look_alike(name: str) -> None:
    """A cookie whose name resembles the refresh cookie's is another cookie: a sibling subdomain may set it."""
    service = Service(settings={"cookie_name": name, "cookie_path": "/"})
    token = (await service.login()).cookie(name)
    tossed = [f"={name}=x", f"x {name}=x", f"{name} x=x", f'"{name}"=x', f"\xa0{name}=x", f"\xe2\x80\x80{name}=x"]
    tossed += [f"\x0b{name}=x", f"{name.upper()}=x", f"{name.lower()}2=x", f'a="b, {name}=x"', f"a={name}=x", name]
    for line in tossed:
        assert (await service.post("/refresh", None, ("cookie", line))).status == 401
        for own in (f"{line}; {name}={token}", f'{name}="{token}" ;{line}', f"{name}\t=\t{token};\t{line};"):
            assert (await service.post("/refresh", None, ("cookie", own))).status == 200
        assert (await service.post("/refresh", None, ("cookie", line), cookie(token, name))).status == 200
