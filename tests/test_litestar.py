"""Litestar: an app as its documentation writes it, asked by its own test clients."""

import threading
from typing import Any
from urllib.parse import quote

import pytest
from frameworks.accounts import authenticate
from frameworks.litestar_app import create_app
from litestar import Litestar, Response, Router, WebSocket, asgi, get, websocket
from litestar.config.cors import CORSConfig
from litestar.exceptions import WebSocketDisconnect
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme, Server
from litestar.security.jwt import JWTAuth, OAuth2PasswordBearerAuth
from litestar.testing import AsyncTestClient, TestClient
from starlette.applications import Starlette
from starlette.routing import Mount
from support.app import (
    COOKIE,
    NO_TOKEN,
    REFRESH_SECRET,
    authorization,
    bearer_challenge,
    exchange,
    http_scope,
    make_auth,
    websocket_scope,
)

from asgi_jwt import Auth, AuthApp, AuthError, Claims, ConfigurationError, JWTMiddleware, MemoryStore, Settings, require
from asgi_jwt.events import Event, TokenRefused
from asgi_jwt.litestar import JWTPlugin

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:litestar")

LACKING = {"error": "insufficient_scope", "error_description": "The access token lacks a required scope"}


@pytest.fixture
def auth() -> Auth:
    return make_auth(store=MemoryStore(), refresh_secret=REFRESH_SECRET)


@get("/orders")
async def orders() -> str:
    return "orders"


def test_an_app_as_the_docs_have_it(auth: Auth) -> None:
    """Users log in, and pass each route whose guards their tokens satisfy; a path without a route is a 404."""
    with TestClient(create_app(auth)) as client:
        assert client.get("/health").text == "ok"
        assert client.get("/nowhere").status_code == 404
        assert client.get("/schema/openapi.json").status_code == 401
        token = client.post("/auth/login", json={"username": "bob", "password": "wonderland"}).json()["access_token"]
        bob = {"Authorization": f"Bearer {token}"}
        assert client.get("/me", headers=bob).json()["sub"] == "bob"
        assert client.get("/orders", headers=bob).json() == ["bob's order"]
        refused = client.post("/orders", headers=bob)
        assert (refused.status_code, refused.json(), refused.headers["cache-control"]) == (403, LACKING, "no-store")
        assert bearer_challenge(refused.headers["www-authenticate"]).endswith('scope="orders:write"')
        alice = authorization(auth, scopes="orders:read orders:write")
        assert client.post("/orders", headers=alice).text == "alice"
        for headers in ({}, {"Authorization": "Bearer x"}):
            assert client.get("/orders", headers=headers).status_code == 401
        with client.websocket_connect("/feed", headers=bob) as session:
            assert session.receive_text() == "bob"
        for headers, code in (({}, 3000), ({"Authorization": "Bearer x"}, 3000), (authorization(auth), 3003)):
            with pytest.raises(WebSocketDisconnect) as closed:
                client.websocket_connect("/feed", headers=headers).__enter__()
            assert closed.value.code == code


@pytest.mark.anyio
async def test_the_asynchronous_test_client(auth: Auth) -> None:
    """Litestar's `AsyncTestClient` logs in, refreshes by cookie and logs out."""
    async with AsyncTestClient(create_app(auth), base_url="https://testserver.local") as client:
        login = await client.post("/auth/login", data={"username": "alice", "password": "wonderland"})
        bearer = {"Authorization": f"Bearer {login.json()['access_token']}"}
        assert (await client.post("/auth/refresh")).status_code == 200
        assert (await client.get("/me", headers=bearer)).status_code == 200
        assert (await client.post("/auth/logout")).status_code == 204
        assert (await client.get("/me", headers=bearer)).status_code == 401


def below_starlette(app: Any) -> Starlette:
    return Starlette(routes=[Mount("/star", app)])


MOUNTS: list[tuple[Any, str, str]] = [
    (lambda mount: Litestar([mount]), "", "/auth"),
    (lambda mount: Litestar([mount], path="/api"), "", "/api/auth"),
    (lambda mount: Litestar([Router("/v1", route_handlers=[mount])]), "", "/v1/auth"),
    (lambda mount: below_starlette(Litestar([mount])), "", "/star/auth"),
    (lambda mount: Litestar([asgi("/lite", is_mount=True, copy_scope=True)(Litestar([mount]))]), "", "/lite/auth"),
    (
        lambda mount: Litestar(
            [asgi("/lite", is_mount=True, copy_scope=True)(Starlette(routes=[Mount("/auth", mount.fn)]))]
        ),
        "",
        "/lite/auth",
    ),
    (lambda mount: Litestar([mount]), "/root", "/root/auth"),
]


@pytest.mark.parametrize(("make", "root_path", "path"), MOUNTS)
@pytest.mark.parametrize("copy_scope", [None, True, False])
def test_litestars_own_mount(auth: Auth, make: Any, root_path: str, path: str, copy_scope: bool | None) -> None:
    """AuthApp answers below a mount of Litestar's, wherever that is, and its cookie is sent to the mount alone."""
    app = make(asgi("/auth", is_mount=True, copy_scope=copy_scope)(AuthApp(auth, authenticate)))
    with TestClient(JWTMiddleware(app, auth, public=["/*"]), root_path=root_path) as client:
        login = client.post(f"{path}/login", json={"username": "alice", "password": "wonderland"})
        assert login.status_code == 200
        (cookie,) = login.headers.get_list("set-cookie")
        assert f"Path={path};" in cookie
        bearer = {"Authorization": f"Bearer {login.json()['access_token']}"}
        (session,) = client.get(f"{path}/sessions?a=b", headers=bearer).json()["sessions"]
        assert client.delete(f"{path}/sessions/{quote('ä b/c', safe='')}", headers=bearer).status_code == 404
        assert client.delete(f"{path}/sessions/{session['sid']}", headers=bearer).status_code == 204
        for absent in ("/login/", "/", "", "/nowhere"):
            assert client.post(f"{path}{absent}", json={}).status_code == 404
        assert client.get(f"{path}/login").status_code == 405


@pytest.mark.parametrize("public", [["/orders", "/x/*"], "/x/*, /orders", "/orders"])
def test_public_paths(public: Any) -> None:
    """`public` takes what `JWTMiddleware` takes, and the paths of the settings count too."""
    routes = [orders, get("/health", name="health")(orders.fn), get("/other", name="other")(orders.fn)]
    plugin = JWTPlugin(make_auth(public_paths=["/health"]), public=public)
    with TestClient(Litestar(routes, plugins=[plugin])) as client:
        assert [client.get(path).status_code for path in ("/orders", "/health", "/other")] == [200, 200, 401]
    with pytest.raises(ConfigurationError, match="public: may hold paths"):
        Litestar(routes, plugins=[JWTPlugin(make_auth(), public="health")])


@pytest.mark.anyio
async def test_a_mount_behind_a_proxy_that_strips_the_prefix(auth: Auth) -> None:
    """The root path of the server that is no part of the path stands before the mount in the cookie's path."""
    app: Any = Litestar([asgi("/auth", is_mount=True, copy_scope=True)(AuthApp(auth, authenticate))])
    scope = http_scope("/auth/logout", method="POST", root_path="/api", client=("127.0.0.1", 1))
    answer = await exchange(app, scope)
    assert (answer.status, f"{COOKIE}=; Path=/api/auth;" in answer.headers["set-cookie"]) == (204, True)


@pytest.mark.anyio
async def test_a_mount_without_a_raw_path(auth: Auth) -> None:
    """Where the server gives no raw path, the mount is unknown and nothing is answered but 404."""
    app: Any = Litestar([asgi("/auth", is_mount=True, copy_scope=True)(AuthApp(auth, authenticate))])
    scope = http_scope("/auth/logout", method="POST")
    del scope["raw_path"]
    assert (await exchange(app, scope)).status == 404


def test_without_authenticate_nothing_is_mounted() -> None:
    """A service that only verifies tokens has no AuthApp, and its document a plain Bearer token."""
    with TestClient(Litestar([orders], plugins=[JWTPlugin(auth := make_auth())])) as client:
        assert client.post("/auth/login", json={}).status_code == 404
        assert client.get("/orders").json() == NO_TOKEN
        assert client.get("/orders", headers=authorization(auth)).text == "orders"


def test_below_a_path(auth: Auth) -> None:
    """An app with a path of its own has AuthApp below that, and `path` says where."""
    app = Litestar([orders], path="/api", plugins=[JWTPlugin(auth, authenticate, path="/login/here/")])
    with TestClient(app) as client:
        login = client.post("/api/login/here/login", json={"username": "bob", "password": "wonderland"})
        assert "Path=/api/login/here;" in login.headers["set-cookie"]
        assert client.get("/api/orders").status_code == 401
    flows: Any = app.openapi_schema.to_schema()["components"]["securitySchemes"]["Bearer"]["flows"]
    assert flows["password"]["tokenUrl"] == "/api/login/here/login"


def test_optional() -> None:
    """With `optional`, nobody passes but for the guards; the guards of all layers are asked."""
    auth = make_auth()
    guarded = Router("/v1", route_handlers=[get("/", guards=[require("b")])(orders.fn)], guards=[require("a")])
    with TestClient(Litestar([orders, guarded], plugins=[JWTPlugin(auth, optional=True)])) as client:
        assert client.get("/orders").text == "orders"
        assert client.get("/orders", headers={"Authorization": "Bearer x"}).status_code == 401
        nobody = client.get("/v1")
        assert (nobody.status_code, nobody.json()) == (401, NO_TOKEN)
        for scopes, status in (("a", 403), ("b", 403), ("a b", 200)):
            assert client.get("/v1", headers=authorization(auth, scopes=scopes)).status_code == status


def test_guards_of_the_whole_app_let_users_log_in(auth: Auth) -> None:
    """A `require` that guards the app is asked at all routes but AuthApp's; other guards are asked there too."""
    calls: list[str] = []

    async def counting(connection: Any, handler: object) -> None:
        calls.append(connection.scope["path"])

    guards: Any = [require("orders:read"), counting]
    with TestClient(Litestar([orders], guards=guards, plugins=[JWTPlugin(auth, authenticate)])) as client:
        login = client.post("/auth/login", json={"username": "bob", "password": "wonderland"})
        assert client.get("/orders", headers=authorization(auth)).status_code == 403
        bob = {"Authorization": f"Bearer {login.json()['access_token']}"}
        assert client.get("/orders", headers=bob).status_code == 200
    assert calls == ["/login/", "/orders"]


def test_guards_run_in_no_thread() -> None:
    """A guard of `require` runs in the event loop's own thread; Litestar's other guards run as they are."""
    threads: set[int] = set()

    class Watched(dict[str, Any]):
        def get(self, name: str, default: Any = None) -> Any:
            if name == "asgi_jwt.guard":
                threads.add(threading.get_ident())
            return super().get(name, default)

    def plain(connection: object, handler: object) -> None:
        threads.add(-threading.get_ident())

    @get("/", guards=[require("a"), plain])
    async def route() -> None:
        threads.add(threading.get_ident())

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        await app(Watched(scope) if scope["type"] == "http" else scope, receive, send)

    auth = make_auth()
    app: Any = Litestar([route], plugins=[JWTPlugin(auth)])
    with TestClient(watched) as client:
        assert client.get("/", headers=authorization(auth, scopes="a")).status_code == 200
    assert len([thread for thread in threads if thread > 0]) == 1
    assert len(threads) == 2


@websocket("/late")
async def late(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    require("a")(socket)


@websocket("/broken")
async def broken(socket: WebSocket[Any, Any, Any]) -> None:
    raise LookupError


@websocket("/feed", guards=[require("a")])
async def feed(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.close()


@pytest.mark.anyio
async def test_a_socket_is_denied_with_the_challenge() -> None:
    """A guard's refusal of a WebSocket has answer and event of the middleware's; other errors stay Litestar's."""
    heard: list[Event] = []
    auth = make_auth(on_event=heard.append)
    app: Any = Litestar([feed, late, broken], plugins=[JWTPlugin(auth)], openapi_config=None)
    denied = await exchange(app, websocket_scope("/feed", headers=authorization(auth)))
    assert (denied.status, denied.json()) == (403, LACKING)
    assert str(denied.challenge).endswith('scope="a"')
    assert heard == [TokenRefused("scope_insufficient", 403, "websocket")]
    with TestClient(app) as client:
        with pytest.raises(WebSocketDisconnect) as closed:
            client.websocket_connect("/broken", headers=authorization(auth)).__enter__()
        session = client.websocket_connect("/late", headers=authorization(auth))
        with session, pytest.raises(WebSocketDisconnect) as ended:
            session.receive_text()
    assert (closed.value.code, ended.value.code) == (4500, 3003)


@pytest.mark.parametrize("logs_in", [True, False])
def test_the_document_is_like_that_of_litestars_own_security(auth: Auth, logs_in: bool) -> None:
    """Scheme and requirement are those that Litestar shows of its own JWT backends, and routes name their scopes."""
    guarded = get("/guarded", guards=[require("read", "write"), require(roles="clerk")], name="guarded")(orders.fn)
    ours = Litestar([orders, guarded], plugins=[JWTPlugin(auth, authenticate if logs_in else None)])
    given: Any = {"retrieve_user_handler": authenticate, "token_secret": "x" * 32}
    backend: Any = OAuth2PasswordBearerAuth(**given, token_url="/auth/login") if logs_in else JWTAuth(**given)
    peers = Litestar([orders, guarded], on_app_init=[backend.on_app_init])
    made, expected = (app.openapi_schema.to_schema() for app in (ours, peers))
    (scheme,) = made["components"]["securitySchemes"].values()
    (peer,) = expected["components"]["securitySchemes"].values()
    if logs_in:
        flow, of_peer = scheme["flows"]["password"], peer["flows"]["password"]
        assert (scheme["type"], flow["tokenUrl"]) == (peer["type"], of_peer["tokenUrl"]) == ("oauth2", "/auth/login")
        assert flow["scopes"] == {"read": "", "write": ""}
    else:
        assert scheme == {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
        assert (peer["type"], peer["scheme"].lower(), peer["bearerFormat"]) == ("http", "bearer", "JWT")
    assert [list(needed.values()) for needed in made["security"]] == [[[]]]
    assert [list(needed.values()) for needed in expected["security"]] == [[[]]]
    assert set(made["paths"]) == set(expected["paths"])
    assert made["paths"]["/guarded"]["get"]["security"] == [{"Bearer": ["read", "write"]}]
    assert "security" not in made["paths"]["/orders"]["get"]


def test_the_hosts_own_configuration_stays(auth: Auth) -> None:
    """What the app's own document, handlers and encoders say is kept, and no object of the host's is changed."""
    other = Components(security_schemes={"Key": SecurityScheme(type="apiKey", name="key", security_scheme_in="header")})
    config = OpenAPIConfig(
        "t", "1", components=other, security=[{"Key": []}], servers=[Server("https://x.example/v1/")]
    )
    handlers: Any = {AuthError: lambda request, error: Response(error.reason, status_code=499)}
    app = Litestar(
        [get("/", guards=[require("a")])(orders.fn)],
        plugins=[JWTPlugin(auth, authenticate)],
        openapi_config=config,
        exception_handlers=handlers,
        type_encoders={Claims: str},
        cors_config=CORSConfig(allow_origins=["https://page.example"]),
    )
    made: Any = app.openapi_schema.to_schema()
    assert set(made["components"]["securitySchemes"]) == {"Key", "Bearer"}
    assert made["security"] == [{"Key": []}, {"Bearer": []}]
    flow = made["components"]["securitySchemes"]["Bearer"]["flows"]["password"]
    assert flow == {"tokenUrl": "https://x.example/v1/auth/login", "scopes": {"a": ""}}
    assert (config.security, config.components, len(handlers)) == ([{"Key": []}], other, 1)
    with TestClient(app) as client:
        assert client.get("/", headers=authorization(auth)).status_code == 499
        preflight = {"Origin": "https://page.example", "Access-Control-Request-Method": "GET"}
        assert client.options("/", headers=preflight).status_code == 204
        headers = {**authorization(auth, scopes="a"), "Origin": "https://page.example"}
        assert client.get("/", headers=headers).headers["access-control-allow-origin"] == "https://page.example"
    assert "security" not in Litestar([orders]).openapi_schema.to_schema()


def test_the_app_begins_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and revocations are asked for when the app starts; the store that the settings name closes at its end."""
    settings = Settings(issuer="i", audience="a", secret="s" * 32, refresh_secret="r" * 32, store="memory://")
    auth = Auth(settings)
    store, begun = auth.store, list[bool]()
    monkeypatch.setattr(auth, "warm_up", lambda: begun.append(True))
    with TestClient(Litestar([orders], plugins=[JWTPlugin(auth, authenticate)])) as client:
        assert begun == [True]
        assert client.get("/orders").status_code == 401
        assert auth.store is store
    assert auth.store is not store


def test_what_is_no_auth_is_named() -> None:
    """Settings in the place of an `Auth` raise where the plugin is made."""
    settings: Any = Settings(issuer="i", audience="a", secret="s" * 32)
    with pytest.raises(ConfigurationError, match=r"JWTPlugin\(auth\) takes an Auth"):
        JWTPlugin(settings)
