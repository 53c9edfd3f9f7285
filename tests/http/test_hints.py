"""What keeps browsers from staying logged in and shows on the server alone: told once, with the mend."""

import logging
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp
from support.app import Service, WatchedStore, ask, bearer, cookie, credentials, json_body, make_auth
from support.tables import headers_of, tables_of

from asgi_jwt import JWTMiddleware

pytestmark = pytest.mark.anyio

CHROME = ("user-agent", "Mozilla/5.0 Chrome/140")
LAN = "192.168.1.5:8000"
AT_LAN = headers_of(f"host: {LAN} | origin: http://{LAN}")
# What the browser client says of the path that it asks for.
ASKED_AT_API = "referer: https://api.example/api/auth/login?asgi-jwt"
STRIPPED = "x-forwarded-prefix: /api"


def guarded(service: Service, public: tuple[str, ...] = ()) -> ASGIApp:
    return JWTMiddleware(Starlette(routes=[Mount("/auth", service.app)]), service.auth, public=public)


def login(app: ASGIApp, path: str = "/auth/login") -> Any:
    return ask(app, "POST", path, **json_body(credentials()))


class Warnings:
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def __call__(self) -> list[str]:
        return [each.getMessage() for each in self._caplog.records if each.levelno >= logging.WARNING]

    def tells(self, *mends: str) -> bool:
        """Whether there is one, and each of `mends` stands in it."""
        told = self()
        return len(told) == 1 and all(mend in told[0] for mend in mends)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Warnings:
    return Warnings(caplog)


@pytest.mark.parametrize("row", [ASKED_AT_API, STRIPPED, STRIPPED + "/"])
async def test_a_prefix_that_a_proxy_says_it_strips(service: Service, warnings: Warnings, row: str) -> None:
    """A login at a path that the cookie does not go to is told at once, and once."""
    for _ in range(2):
        assert (await service.login("alice", *headers_of(row))).status == 200
        assert warnings.tells("ASGI_JWT_COOKIE_PATH", "/api/auth")


@pytest.mark.parametrize("host", [LAN, "app.example", "[fd00::1]:8000", "localhost.example"])
async def test_plain_http(service: Service, warnings: Warnings, host: str) -> None:
    """A login from a page of this host over plain http, whose Secure cookie the browser drops, is told, once."""
    for _ in range(2):
        assert (await service.login("alice", CHROME, ("host", host), ("origin", f"http://{host}"))).status == 200
        await service.post("/refresh", None, CHROME)
        assert warnings.tells("https", "ASGI_JWT_COOKIE_SECURE=false")


TABLES = tables_of(__file__)
SILENT_LOGINS = TABLES["silent_logins"]
SILENT_LOGINS += [[{}, "referer: https://api.example/api" + "/x" * 30_000 + "?asgi-jwt"]]


@pytest.mark.parametrize(("settings", "row"), SILENT_LOGINS, ids=lambda value: str(value)[:60])
async def test_cookies_that_are_kept(store: WatchedStore, warnings: Warnings, settings: Any, row: str) -> None:
    """Where the cookie goes back to where the browser asked, and where the browser keeps it, on localhost, with TLS,
    from another host's page and with `COOKIE_SECURE=false`, nothing is told."""
    service = Service(store, settings=settings)
    assert (await service.login("alice", *headers_of(row))).status == 200
    assert warnings() == []


async def test_a_cookie_that_does_not_come_back(service: Service, warnings: Warnings) -> None:
    """A refresh without the cookie soon after the login of the same browser is told, once."""
    await service.login("alice", CHROME)
    service.clock.turn(30)
    for _ in range(2):
        assert (await service.post("/refresh", None, CHROME)).status == 401
        assert warnings.tells("ASGI_JWT_COOKIE_PATH", "root path")


@pytest.mark.parametrize(
    ("seconds", "headers"),
    [
        (0, [("user-agent", "Firefox")]),
        (0, [CHROME, ("x-forwarded-for", "192.0.2.9")]),
        (0, [CHROME, CHROME]),
        (60, [CHROME]),
    ],
)
async def test_another_browser(service: Service, warnings: Warnings, seconds: int, headers: Any) -> None:
    """A page that another browser opens anonymously is no alarm, nor is one a minute after the login."""
    await service.login("alice", CHROME)
    service.clock.turn(seconds)
    await service.post("/refresh", None, *headers)
    assert warnings() == []


@pytest.mark.parametrize("way", ["/refresh", "/logout", "/login"])
async def test_cookies_that_come_back(service: Service, warnings: Warnings, way: str) -> None:
    """Once a cookie has come back, anonymous pages and logins after it are no alarm for good."""
    token = (await service.login("alice", CHROME)).cookie()
    await service.post(way, json_body(credentials()) if way == "/login" else None, CHROME, cookie(token))
    for _ in range(2):
        await service.post("/refresh", None, CHROME)
        await service.login("alice", CHROME)
    assert warnings() == []


async def test_no_login_with_a_cookie(service: Service, warnings: Warnings) -> None:
    """Neither an anonymous page, nor a login that was refused or that set no cookie, leads to a hint."""
    await service.post("/refresh", None, CHROME, *headers_of(f"{ASKED_AT_API} | {STRIPPED}"))
    await service.post("/login", json_body({"username": "alice", "password": "guess"}), CHROME, *AT_LAN)
    await service.login("alice", CHROME, *headers_of(STRIPPED), *AT_LAN, transport="body")
    await service.post("/refresh", None, CHROME)
    assert warnings() == []


LOST_HOSTS = TABLES["lost_hosts"]


@pytest.mark.parametrize("row", LOST_HOSTS)
async def test_a_host_that_a_proxy_changed(warnings: Warnings, row: str) -> None:
    """A page of the site that is refused because of the proxy's Host is told, once, by each route, and by the
    middleware where the token is in a cookie."""
    settings = {"token_sources": "header,cookie:t", "public_paths": "/auth/*"}
    for number, path in enumerate(("/login", "/refresh", "/logout", "the middleware"), start=1):
        service = Service(settings=settings)
        token = (await service.login(transport="body")).json()["access_token"]
        app, headers = guarded(service), [cookie(token, "t"), *headers_of(row)]
        for _ in range(2):
            if path == "the middleware":
                assert (await ask(app, "POST", "/orders", headers=headers)).error == (403, "cross_site")
                assert (await ask(app, "POST", "/auth/logout", headers=headers_of(row))).status == 403
            else:
                assert (await service.post(path, None, *headers_of(row))).error == (403, "cross_site")
            told = warnings()
            assert len(told) == number
            assert all(mend in told[-1] for mend in ("$http_host", "ASGI_JWT_TRUSTED_ORIGINS"))


OTHER_SITES = TABLES["other_sites"]


@pytest.mark.parametrize("row", OTHER_SITES)
async def test_other_sites(service: Service, warnings: Warnings, row: str) -> None:
    """Another site's page is refused without a word."""
    assert (await service.login("alice", *headers_of(row))).status == 403
    assert warnings() == []


async def test_a_host_that_is_right(service: Service, warnings: Warnings) -> None:
    """Once a page of the site has logged in, its Host is known to arrive: nobody makes a hint up."""
    assert (await service.login("alice", ("host", "app.example"), ("origin", "https://app.example"))).status == 200
    assert (await service.post("/refresh", None, *headers_of(LOST_HOSTS[0]))).status == 403
    assert warnings() == []


@pytest.mark.parametrize("asked", ["POST /auth/login", "POST /auth/refresh", "GET /auth/asgi-jwt.js"])
async def test_an_auth_app_that_is_not_public(service: Service, warnings: Warnings, asked: str) -> None:
    """A login that the middleware refuses, as `public` does not list the mount, is told, once, and so is a page that
    asks for the browser client or for a refresh."""
    app = guarded(service, ("/health",))
    for _ in range(2):
        assert (await ask(app, *asked.split())).status == 401
        assert warnings.tells('public=["/auth/*"]', "AuthApp")


async def test_an_auth_app_that_is_public(service: Service, warnings: Warnings) -> None:
    """Where `AuthApp` is reached, and where no `REFRESH_SECRET` tells of one, nobody's login elsewhere is told."""
    app = guarded(service, ("/auth/*",))
    answers = [await login(app), await login(app, "/wp/login"), await login(JWTMiddleware(Starlette(), make_auth()))]
    assert ([answer.status for answer in answers], warnings()) == ([200, 401, 401], [])


async def test_other_refusals(service: Service, warnings: Warnings) -> None:
    """Other paths, other methods and bad tokens are refused without a word."""
    app = guarded(service)
    answers = [await ask(app, *asked.split()) for asked in ("GET /login", "POST /orders")]
    answers.append(await ask(app, "POST", "/auth/login", headers=[bearer("a.b.c")]))
    assert ([answer.status for answer in answers], warnings()) == ([401] * 3, [])
