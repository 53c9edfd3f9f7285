"""What keeps browsers from staying logged in and shows on the server alone: told once, with the mend."""

import logging
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp
from support.app import Answer, Service, WatchedStore, ask, bearer, cookie, credentials, json_body, make_auth

from asgi_jwt import JWTMiddleware

pytestmark = pytest.mark.anyio

Headers = list[tuple[str, str]]
CHROME = ("user-agent", "Mozilla/5.0 Chrome/140")
LAN = "192.168.1.5:8000"
AT_LAN: Headers = [("host", LAN), ("origin", f"http://{LAN}")]


def asked_for(path: str) -> tuple[str, str]:
    """What the browser client says of the path that it asks for."""
    return "referer", f"https://api.example{path}?asgi-jwt"


def guarded(service: Service, public: tuple[str, ...] = ()) -> ASGIApp:
    return JWTMiddleware(Starlette(routes=[Mount("/auth", service.app)]), service.auth, public=public)


def login(app: ASGIApp, *headers: tuple[str, str], path: str = "/auth/login") -> Any:
    body = json_body(credentials())
    return ask(app, "POST", path, headers=[*body["headers"], *headers], chunks=body["chunks"])


class Warnings:
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def __call__(self) -> list[str]:
        records = self._caplog.records
        return [record.getMessage() for record in records if record.levelno >= logging.WARNING]

    def tells(self, *mends: str) -> bool:
        """Whether there is one, and each of `mends` stands in it."""
        told = self()
        return len(told) == 1 and all(mend in told[0] for mend in mends)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Warnings:
    return Warnings(caplog)


@pytest.mark.parametrize(
    "header", [asked_for("/api/auth/login"), ("x-forwarded-prefix", "/api"), ("x-forwarded-prefix", "/api/")]
)
async def test_a_prefix_that_a_proxy_says_it_strips(service: Service, warnings: Warnings, header: Any) -> None:
    """A login at a path that the cookie does not go to is told at once, and once."""
    for _ in range(2):
        assert (await service.login("alice", header)).status == 200
        assert warnings.tells("ASGI_JWT_COOKIE_PATH", "/api/auth")


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({}, [asked_for("/auth/login")]),
        ({}, [("referer", "https://api.example/en/auth/login")]),
        ({}, [("referer", "/api/auth/login?asgi-jwt"), ("x-forwarded-prefix", "/")]),
        ({}, [("x-forwarded-prefix", "")]),
        ({}, [asked_for("/api" + "/x" * 30_000)]),
        ({"cookie_path": "/api/auth"}, [asked_for("/api/auth/login"), ("x-forwarded-prefix", "/api")]),
        ({"cookie_path": "/"}, [asked_for("/api/auth/login"), ("x-forwarded-prefix", "/api")]),
    ],
)
async def test_no_prefix(store: WatchedStore, warnings: Warnings, settings: Any, headers: Headers) -> None:
    """Where the cookie goes back to where the browser asked, and where nothing tells, nothing is told."""
    service = Service(store, settings=settings)
    assert (await service.login("alice", *headers)).status == 200
    assert warnings() == []


async def test_a_cookie_that_does_not_come_back(service: Service, warnings: Warnings) -> None:
    """A refresh without the cookie soon after the login of the same browser is told, once."""
    await service.login("alice", CHROME)
    service.clock.turn(30)
    for _ in range(2):
        assert (await service.post("/refresh", None, CHROME)).status == 401
        assert warnings.tells("ASGI_JWT_COOKIE_PATH", "root path")


@pytest.mark.parametrize(
    "headers", [[("user-agent", "Firefox")], [CHROME, ("x-forwarded-for", "192.0.2.9")], [CHROME, CHROME]]
)
async def test_another_browser(service: Service, warnings: Warnings, headers: Headers) -> None:
    """A page that another browser opens anonymously is no alarm."""
    await service.login("alice", CHROME)
    await service.post("/refresh", None, *headers)
    assert warnings() == []


async def test_long_after_the_login(service: Service, warnings: Warnings) -> None:
    """A minute after a login its browser may have anything behind it."""
    await service.login("alice", CHROME)
    service.clock.turn(60)
    await service.post("/refresh", None, CHROME)
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
    await service.post("/refresh", None, CHROME, asked_for("/api/auth/refresh"), ("x-forwarded-prefix", "/api"))
    await service.post("/login", json_body({"username": "alice", "password": "guess"}), CHROME, *AT_LAN)
    await service.login("alice", CHROME, ("x-forwarded-prefix", "/api"), *AT_LAN, transport="body")
    await service.post("/refresh", None, CHROME)
    assert warnings() == []


@pytest.mark.parametrize("host", [LAN, "app.example", "[fd00::1]:8000", "localhost.example"])
async def test_plain_http(service: Service, warnings: Warnings, host: str) -> None:
    """A login from a page of this host over plain http, whose Secure cookie the browser drops, is told, once."""
    for _ in range(2):
        assert (await service.login("alice", CHROME, ("host", host), ("origin", f"http://{host}"))).status == 200
        await service.post("/refresh", None, CHROME)
        assert warnings.tells("https", "ASGI_JWT_COOKIE_SECURE=false")


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({}, [("host", "localhost:8000"), ("origin", "http://localhost:8000")]),
        ({}, [("host", "app.localhost"), ("origin", "http://app.localhost")]),
        ({}, [("host", "127.0.0.1"), ("origin", "http://127.0.0.1")]),
        ({}, [("host", "[::1]:8000"), ("origin", "http://[::1]:8000")]),
        ({}, [("host", "app.example"), ("origin", "https://app.example")]),
        ({}, [("host", "app.example")]),
        ({"trusted_origins": "http://app.example"}, [("host", "api.example"), ("origin", "http://app.example")]),
        ({"cookie_secure": False}, AT_LAN),
    ],
)
async def test_cookies_that_are_kept(store: WatchedStore, warnings: Warnings, settings: Any, headers: Headers) -> None:
    """On localhost, with TLS, from another host's page and with `COOKIE_SECURE=false` nothing is told."""
    service = Service(store, settings=settings)
    assert (await service.login("alice", *headers)).status == 200
    assert warnings() == []


LOST_HOSTS: list[Headers] = [
    [("host", "app.example"), ("origin", "http://app.example:8080")],
    [("host", "app.example"), ("origin", "https://app.example:8443")],
    [("host", "backend"), ("origin", "http://app.example"), ("x-forwarded-host", "app.example")],
    [("host", "127.0.0.1:8000"), ("origin", f"http://{LAN}")],
    [("host", "localhost"), ("origin", "https://app.example")],
]


@pytest.mark.parametrize("headers", LOST_HOSTS)
@pytest.mark.parametrize("path", ["/login", "/refresh", "/logout"])
async def test_a_host_that_a_proxy_changed(service: Service, warnings: Warnings, path: str, headers: Headers) -> None:
    """A page of the site that is refused because of the proxy's Host is told, once."""
    for _ in range(2):
        answer = await service.post(path, None, *headers)
        assert (answer.status, answer.json()["error"]) == (403, "cross_site")
        assert warnings.tells("$http_host", "ASGI_JWT_TRUSTED_ORIGINS")


@pytest.mark.parametrize("headers", LOST_HOSTS)
async def test_a_host_that_a_proxy_changed_behind_the_middleware(
    service: Service, warnings: Warnings, headers: Headers
) -> None:
    """The same with the token in a cookie, which the middleware reads, and once for both."""
    service = Service(settings={"token_sources": "header,cookie:t", "public_paths": "/auth/*"})
    token = (await service.login(transport="body")).json()["access_token"]
    app = guarded(service)
    assert (await ask(app, "POST", "/orders", headers=[cookie(token, "t"), *headers])).status == 403
    assert (await ask(app, "POST", "/auth/logout", headers=headers)).status == 403
    assert warnings.tells("$http_host")


@pytest.mark.parametrize(
    "headers",
    [
        [("host", "app.example"), ("origin", "https://evil.example")],
        [("host", "app.example"), ("origin", "https://evil.example:8443")],
        [("host", "app.example"), ("origin", "null")],
        [("host", "app.example"), ("origin", "http://app.example:8080"), ("sec-fetch-site", "cross-site")],
        [("host", "app.example"), ("host", "app.example"), ("origin", "http://app.example:8080")],
        [("host", "app.example"), ("origin", "http://app.example:8080"), ("origin", "http://app.example:8080")],
        [("host", "localhost:8000"), ("origin", "http://localhost:3000")],
    ],
)
async def test_other_sites(service: Service, warnings: Warnings, headers: Headers) -> None:
    """Another site's page is refused without a word."""
    assert (await service.login("alice", *headers)).status == 403
    assert warnings() == []


async def test_a_host_that_is_right(service: Service, warnings: Warnings) -> None:
    """Once a page of the site has logged in, its Host is known to arrive: nobody makes a hint up."""
    assert (await service.login("alice", ("host", "app.example"), ("origin", "https://app.example"))).status == 200
    assert (await service.post("/refresh", None, *LOST_HOSTS[0])).status == 403
    assert warnings() == []


async def test_an_auth_app_that_is_not_public(service: Service, warnings: Warnings) -> None:
    """A login that the middleware refuses, as `public` does not list the mount, is told, once."""
    app = guarded(service, ("/health",))
    for _ in range(2):
        assert (await login(app)).status == 401
        assert warnings.tells('public=["/auth/*"]', "AuthApp")


@pytest.mark.parametrize(("method", "path"), [("POST", "/auth/refresh"), ("GET", "/auth/asgi-jwt.js")])
async def test_what_comes_before_a_login(service: Service, warnings: Warnings, method: str, path: str) -> None:
    """The same is told when the page asks for the browser client, or for a refresh."""
    assert (await ask(guarded(service), method, path)).status == 401
    assert warnings.tells('public=["/auth/*"]')


async def test_an_auth_app_that_is_public(service: Service, warnings: Warnings) -> None:
    """Where `AuthApp` is reached, and where no `REFRESH_SECRET` tells of one, nobody's login elsewhere is told."""
    app = guarded(service, ("/auth/*",))
    assert (await login(app)).status == 200
    assert (await login(app, path="/wp/login")).status == 401
    assert (await login(JWTMiddleware(Starlette(), make_auth()))).status == 401
    assert warnings() == []


async def test_other_refusals(service: Service, warnings: Warnings) -> None:
    """Other paths, other methods and bad tokens are refused without a word."""
    app = guarded(service)
    answers: list[Answer] = [
        await ask(app, "GET", "/login"),
        await ask(app, "POST", "/orders"),
        await ask(app, "POST", "/auth/login", headers=[bearer("a.b.c")]),
    ]
    assert [answer.status for answer in answers] == [401] * 3
    assert warnings() == []
