"""AuthApp and the middleware behind Debian's nginx, as Chromium meets them."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, HttpCredentials, Page
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from support import browsers
from support.nginx import nginx
from support.proofs import Holder
from support.serving import uvicorn_serving

from asgi_jwt import Auth, AuthApp, Credentials, Identity, JWTMiddleware, MemoryStore, Settings

pytestmark = pytest.mark.outside

ACCESS = "__Host-access_token"
IN_COOKIE = {"access_cookie": ACCESS, "token_sources": f"header,cookie:{ACCESS}"}
MOST = 4096
PUBLIC = ("/", "/sandboxed", "/auth/*")
AS_ASKED = "location / { proxy_pass http://APP; proxy_set_header Host $http_host; }"
UPGRADING = """
location / {
    proxy_pass http://APP;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $http_connection;
}
"""

Proxied = Callable[..., AbstractContextManager[int]]


def authenticate(credentials: Credentials, request: Request) -> Identity:
    """Whoever comes, with claims of the size that is asked for."""
    return Identity(credentials["username"], claims={"padding": "x" * int(credentials.get("padding", "0"))})


async def page(request: Request) -> Response:
    return HTMLResponse("<!doctype html><title>A page</title>")


async def sandboxed(request: Request) -> Response:
    """A page of the origin `null`."""
    return HTMLResponse(
        "<!doctype html><title>An app</title>", headers={"Content-Security-Policy": "sandbox allow-scripts"}
    )


async def me(request: Request) -> Response:
    return JSONResponse(request.user.subject)


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(socket.user.subject)
    await socket.close()


def build(public: tuple[str, ...] = PUBLIC, **settings: Any) -> ASGIApp:
    given = {"issuer": "https://issuer.example", "audience": "api", "secret": "a" * 32, "refresh_secret": "r" * 32}
    auth = Auth(Settings(**{**given, **settings}), store=MemoryStore())
    return Starlette(
        routes=[
            Route("/", page),
            Route("/sandboxed", sandboxed),
            Route("/me", me, methods=["GET", "POST"]),
            WebSocketRoute("/talk", talk),
            Mount("/auth", AuthApp(auth, authenticate)),
        ],
        middleware=[
            Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*", "Authorization"]),
            Middleware(JWTMiddleware, auth=auth, public=public),
        ],
    )


@pytest.fixture
def proxied(tmp_path: Path) -> Proxied:
    @contextmanager
    def serve(server: str = AS_ASKED, **given: Any) -> Iterator[int]:
        with uvicorn_serving(build(**given)) as address, nginx(tmp_path, server.replace("APP", address)) as port:
            yield port

    return serve


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.chromium("--host-resolver-rules=MAP *.example 127.0.0.1") as browser:
        yield browser


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browsers.profile(browser) as context:
        yield context


@pytest.fixture
def tab(context: BrowserContext) -> Page:
    return context.new_page()


def ask(page: Page, path: str, method: str = "POST", body: object = None, **headers: str) -> Any:
    """The status and the body that a script of the page is answered."""
    if body is not None:
        headers["Content-Type"] = "application/json"
    init = {"method": method, "headers": headers, "body": None if body is None else json.dumps(body)}
    script = """([path, init]) => fetch(path, init).then(async (answer) => {
        const text = await answer.text();
        return [answer.status, text && JSON.parse(text)];
    })"""
    return page.evaluate(script, [path, init])


def login(page: Page, root: str = "/auth", **fields: str) -> Any:
    return ask(page, f"{root}/login", body={"username": "alice", **fields})


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "asgi_jwt" and each.levelno > logging.INFO]


def kept(context: BrowserContext) -> set[str]:
    return {cookie.get("name", "") for cookie in context.cookies()}


def test_the_largest_cookie(proxied: Proxied, tab: Page, caplog: pytest.LogCaptureFixture) -> None:
    """Chromium keeps an access token of 4,096 bytes with its name; a larger one is a 500 that takes no cookie away."""
    with proxied("proxy_buffer_size 16k; proxy_buffers 8 16k;" + AS_ASKED, **IN_COOKIE) as port:
        tab.goto(f"http://localhost:{port}/")
        empty = len(login(tab, transport="body")[1]["access_token"]) + len(ACCESS)
        padding, sizes = (MOST - empty) * 3 // 4 - 8, []
        while (answer := login(tab, padding=str(padding)))[0] == 200:
            sizes.append(len(answer[1]["access_token"]) + len(ACCESS))
            (cookie,) = [each for each in tab.context.cookies() if each.get("name") == ACCESS]
            assert cookie.get("value") == answer[1]["access_token"]
            padding += 1
        assert answer == [500, {"error": "server_error", "error_description": answer[1]["error_description"]}]
        assert MOST - 2 < sizes[-1] <= MOST
        (told,) = warnings(caplog)
        assert f"{ACCESS} has 4,09" in told
        assert ask(tab, "/me", "GET") == [200, "alice"]
        assert ask(tab, "/auth/refresh")[0] == 200


@pytest.mark.parametrize(("same_site", "status"), [("lax", 200), ("strict", 401)])
def test_a_link_from_another_site(proxied: Proxied, tab: Page, same_site: str, status: int) -> None:
    """Who follows a link from another site is logged in, but with `strict`; that site's form finds nobody."""
    with proxied(access_cookie_samesite=same_site, **IN_COOKIE) as port:
        tab.goto(f"http://app.localhost:{port}/")
        assert login(tab)[0] == 200
        for method, expected in (("get", status), ("post", 401)):
            tab.goto(f"http://other.localhost:{port}/")
            form = f'<form method="{method}" action="http://app.localhost:{port}/me"><button>Go</button></form>'
            tab.evaluate("(form) => { document.body.innerHTML = form }", form)
            with tab.expect_navigation() as navigation:
                tab.click("button")
            # A form's POST from another site brings no cookie, as it would where no SameSite is named.
            assert navigation.value.status == expected


def test_a_staging_proxy(proxied: Proxied, browser: Browser, tmp_path: Path) -> None:
    """Behind nginx's own Basic authentication the token of the cookie counts, for HTTP and for WebSockets."""
    (tmp_path / "users").write_text("staging:{PLAIN}password\n")
    basic = f"auth_basic staging; auth_basic_user_file {tmp_path}/users;"
    credentials: HttpCredentials = {"username": "staging", "password": "password"}
    with proxied(basic + UPGRADING, **IN_COOKIE) as port:
        with browser.new_context() as stranger:
            assert stranger.request.get(f"http://localhost:{port}/").status == 401
        with browser.new_context(http_credentials=credentials) as context:
            context.set_default_timeout(browsers.PATIENCE)
            tab = context.new_page()
            tab.goto(f"http://localhost:{port}/")
            assert ask(tab, "/me", "GET")[0] == 401
            assert login(tab)[0] == 200
            assert ask(tab, "/me", "GET") == ask(tab, "/me") == [200, "alice"]
            assert ask(tab, "/auth/refresh")[0] == 200
            heard = """new Promise((done, failed) => {
                const socket = new WebSocket(`ws://${location.host}/talk`);
                socket.onmessage = ({ data }) => done(data);
                socket.onerror = () => failed(new Error("the WebSocket was refused"));
            })"""
            assert tab.evaluate(heard) == "alice"
            assert ask(tab, "/auth/logout")[0] == 204
            assert ask(tab, "/me", "GET")[0] == 401


@pytest.mark.parametrize("origin", ["http://other.localhost", "null"])
def test_an_app_in_a_web_view(proxied: Proxied, tab: Page, origin: str) -> None:
    """A page of another site, or of none, logs in with `transport=body` and out by its token, and gets no cookie."""
    with proxied() as port:
        tab.goto(f"http://other.localhost:{port}/" + ("sandboxed" if origin == "null" else ""))
        assert tab.evaluate("origin").removesuffix(f":{port}") == origin
        root = f"http://app.localhost:{port}/auth"
        status, tokens = login(tab, root, transport="body")
        assert status == 200
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert ask(tab, f"http://app.localhost:{port}/me", "GET", **bearer) == [200, "alice"]
        again = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        assert ask(tab, f"{root}/token", body=again)[0] == 200
        assert ask(tab, f"{root}/logout", **bearer)[0] == 204
        assert ask(tab, f"{root}/token", body=again)[0] == 400
        assert login(tab, root)[0] == 403
        assert tab.context.cookies() == []


@pytest.mark.parametrize(("transport", "status"), [("cookie", 403), ("body", 200)])
def test_another_sites_form(proxied: Proxied, tab: Page, transport: str, status: int) -> None:
    """A form of another site logs its visitor in as nobody: there is no cookie afterwards, whatever it asks for."""
    with proxied() as port:
        tab.goto(f"http://other.localhost:{port}/")
        fields = f'<input name="username" value="mallory"><input name="transport" value="{transport}">'
        form = f'<form method="post" action="http://app.localhost:{port}/auth/login">{fields}<button>Go</button></form>'
        tab.evaluate("(form) => { document.body.innerHTML = form }", form)
        with tab.expect_navigation() as navigation:
            tab.click("button")
        assert navigation.value.status == status
        assert tab.context.cookies() == []


STRIPPING = AS_ASKED + "location /api/ { proxy_pass http://APP/; proxy_set_header Host $http_host; }"


def with_client(page: Page, root: str) -> None:
    """The page has the browser client, which knows who is logged in."""
    script = """(root) => import(`${root}/asgi-jwt.js`).then(({ createAuth }) => {
        window.auth = createAuth({ base: root });
        return auth.ready;
    })"""
    page.evaluate(script, root)


def test_a_stripped_prefix(proxied: Proxied, tab: Page, caplog: pytest.LogCaptureFixture) -> None:
    """Where nginx strips a prefix, the client's login has the log say why the session does not come back, and how."""
    with proxied(STRIPPING) as port:
        for prefix, told in (("", 0), ("/api", 1)):
            tab.goto(f"http://localhost:{port}/")
            with_client(tab, f"{prefix}/auth")
            tab.evaluate("auth.login({ username: 'alice' })")
            assert len(warnings(caplog)) == told
        assert "ASGI_JWT_COOKIE_PATH" in warnings(caplog)[0]
        tab.evaluate("auth.logout()")
    caplog.clear()
    with proxied(STRIPPING, cookie_path="/api/auth") as port:
        tab.goto(f"http://localhost:{port}/")
        with_client(tab, "/api/auth")
        tab.evaluate("auth.login({ username: 'alice' })")
        tab.reload()
        with_client(tab, "/api/auth")
        assert tab.evaluate("auth.session.subject") == "alice"
        assert warnings(caplog) == []


def test_a_stripped_prefix_without_the_client(proxied: Proxied, tab: Page, caplog: pytest.LogCaptureFixture) -> None:
    """A page without the client logs in and refreshes: the refresh that lacks the cookie is told."""
    with proxied(STRIPPING) as port:
        tab.goto(f"http://localhost:{port}/")
        assert ask(tab, "/api/auth/refresh")[0] == 401
        assert (login(tab, "/api/auth")[0], warnings(caplog)) == (200, [])
        for _ in range(2):
            assert ask(tab, "/api/auth/refresh")[0] == 401
            (told,) = warnings(caplog)
            assert "ASGI_JWT_COOKIE_PATH" in told


@pytest.mark.parametrize("host", ["proxy_set_header Host $host;", ""])
def test_a_host_without_its_port(proxied: Proxied, tab: Page, caplog: pytest.LogCaptureFixture, host: str) -> None:
    """Where nginx sends its own Host, or one without the port, a login over plain http is refused and told."""
    with proxied(f"location / {{ proxy_pass http://APP; {host} }}") as port:
        tab.goto(f"http://app.example:{port}/")
        for _ in range(2):
            assert login(tab)[0] == 403
            (told,) = warnings(caplog)
            assert "proxy_set_header Host $http_host" in told


def test_plain_http(proxied: Proxied, tab: Page, caplog: pytest.LogCaptureFixture) -> None:
    """Over plain http Chromium drops the Secure cookie of a host that is not localhost, and the log says so."""
    with proxied() as port:
        tab.goto(f"http://app.example:{port}/")
        assert (login(tab)[0], kept(tab.context)) == (200, set())
        assert ask(tab, "/auth/refresh")[0] == 401
        (told,) = warnings(caplog)
        assert "ASGI_JWT_COOKIE_SECURE=false" in told
    caplog.clear()
    with proxied(cookie_secure=False) as port:
        tab.goto(f"http://app.example:{port}/")
        assert (login(tab)[0], kept(tab.context)) == (200, {"refresh_token"})
        assert (ask(tab, "/auth/refresh")[0], warnings(caplog)) == (200, [])


class Late:
    """An app that is made when its address is known."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.app(scope, receive, send)


def test_a_prefix_that_is_stripped_and_proofs(tmp_path: Path) -> None:
    """With `DPOP_BASES` a client behind a proxy that strips a prefix signs the URLs that it sees, and no others."""
    holder = Holder(time.time)
    with ExitStack() as stack:
        late = Late()
        served = stack.enter_context(uvicorn_serving(late))
        strip = f"location /api/ {{ proxy_pass http://{served}/; }}"
        outside = f"http://localhost:{stack.enter_context(nginx(tmp_path, strip))}"
        settings = Settings(
            issuer="i", audience="a", secret="s" * 32, refresh_secret="r" * 32, dpop_bases=f"{outside}/api"
        )
        auth = Auth(settings, store=MemoryStore())
        routes = [Mount("/auth", AuthApp(auth, authenticate)), Route("/me", me)]
        late.app = JWTMiddleware(Starlette(routes=routes), auth, public="/auth/*")
        client = stack.enter_context(httpx2.Client(base_url=f"{outside}/api/"))
        proof = {"dpop": holder.proof(f"{outside}/api/auth/login", "POST")}
        login = client.post("auth/login", json={"username": "alice"}, headers=proof)
        access = login.json()["access_token"]
        for url, status in ((f"{outside}/api/me", 200), (f"{outside}/me", 401), (f"http://{served}/me", 401)):
            assert client.get("me", headers=dict(holder.headers(url, "GET", access))).status_code == status
