"""The document of a FastAPI app, and the answers that it promises."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security
from fastapi.openapi.models import OpenAPI
from fastapi.security import APIKeyHeader, OAuth2PasswordBearer
from fastapi.testclient import TestClient
from frameworks.fastapi_app import create_app
from starlette.responses import JSONResponse
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect
from support.app import (
    CONNECT,
    NO_TOKEN,
    REFRESH_SECRET,
    authorization,
    bearer_challenge,
    exchange,
    make_auth,
    websocket_scope,
)
from support.tables import tables_of

from asgi_jwt import Auth, AuthApp, AuthError, Claims, ConfigurationError, JWTMiddleware, MemoryStore, Settings, require
from asgi_jwt.events import Event, TokenRefused
from asgi_jwt.fastapi import document

LACKING = {"error": "insufficient_scope", "error_description": "The access token lacks a required scope"}
Dependency = Callable[..., Any]


@pytest.fixture
def heard() -> list[Event]:
    return []


@pytest.fixture
def auth(heard: list[Event]) -> Auth:
    return make_auth(store=MemoryStore(), refresh_secret=REFRESH_SECRET, on_event=heard.append)


def add_routes(app: FastAPI, read: Any, write: Any, both: Any) -> None:
    async def needs_reading(user: Annotated[Any, read]) -> Any:
        return user

    @app.get("/in-the-route")
    async def in_the_route(user: Annotated[Any, write]) -> None: ...

    @app.get("/nested")
    async def nested(user: Annotated[Any, Security(needs_reading, scopes=["more"])]) -> None: ...

    @app.get("/beside", dependencies=[both])
    async def beside(user: Annotated[Any, read]) -> None: ...

    @app.get("/open")
    async def open_to_all() -> None: ...

    router = APIRouter(prefix="/router", dependencies=[write])

    @router.get("/orders")
    async def orders() -> None: ...

    app.include_router(router)


@pytest.mark.parametrize("first", [True, False])
def test_the_document_is_like_that_of_fastapis_own_security(auth: Auth, first: bool) -> None:
    """Schemes and the scopes of each route are those that FastAPI shows of its own `OAuth2PasswordBearer`."""
    app, peer = FastAPI(), FastAPI()
    if first:
        document(app, auth)
    add_routes(app, Security(require(), scopes=["read"]), Depends(require("write")), Depends(require("write", "read")))
    if not first:
        document(app, auth)
    own = OAuth2PasswordBearer("auth/login", "Bearer", scopes=dict.fromkeys(["more", "read", "write"], ""))
    add_routes(peer, *(Security(own, scopes=scopes) for scopes in (["read"], ["write"], ["write", "read"])))
    made, expected = app.openapi(), peer.openapi()
    assert made["components"]["securitySchemes"] == expected["components"]["securitySchemes"]
    for path, operations in expected["paths"].items():
        security = operations["get"].get("security")
        assert made["paths"][path]["get"].get("security") == security
        assert set(made["paths"][path]["get"]["responses"]) == ({"200", "401", "403"} if security else {"200"})
    assert app.openapi() == made


def test_without_the_call_the_document_has_scheme_and_scopes() -> None:
    """The routes of an app that only asks by `require` show a Bearer token and their scopes."""
    app = FastAPI()
    add_routes(app, Depends(require("read")), Depends(require("write")), Depends(require(roles="clerk")))
    made = app.openapi()
    scheme = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    assert made["components"]["securitySchemes"] == {"Bearer": scheme}
    assert made["paths"]["/in-the-route"]["get"]["security"] == [{"Bearer": ["write"]}]


def test_where_nobody_logs_in(auth: Auth) -> None:
    """Of a service that only verifies tokens, the document has the responses, no login and no routes of AuthApp."""
    app = FastAPI()
    add_routes(app, Depends(require("read")), Depends(require("write")), Depends(require("write")))
    shown = set(app.openapi()["paths"])
    document(app, make_auth())
    made = app.openapi()
    assert set(made["paths"]) == shown
    assert made["components"]["securitySchemes"]["Bearer"]["type"] == "http"
    assert set(made["paths"]["/nested"]["get"]["responses"]) == {"200", "401", "403"}


def test_the_document_is_valid(auth: Auth) -> None:
    """FastAPI's own model of OpenAPI takes the document, and each operation has an id of its own."""
    made = create_app(auth).openapi()
    OpenAPI.model_validate(made)
    operations = [operation for path in made["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def test_what_the_host_describes_stays(auth: Auth) -> None:
    """A route's own 401, a path of the host's, and a route with another scheme are left as they are."""
    app = FastAPI()
    document(app, auth)

    @app.get("/orders", responses={401: {"description": "Mine"}})
    async def orders(user: Annotated[Claims, Depends(require())]) -> None: ...

    @app.post("/auth/login", summary="Mine")
    async def login() -> None: ...

    @app.get("/by-key", dependencies=[Security(APIKeyHeader(name="key"))])
    async def by_key() -> None: ...

    made = app.openapi()
    assert set(made["paths"]["/by-key"]["get"]["responses"]) == {"200"}
    assert set(made["components"]["securitySchemes"]) == {"Bearer", "APIKeyHeader"}
    assert made["paths"]["/orders"]["get"]["responses"]["401"]["description"] == "Mine"
    assert made["paths"]["/auth/login"]["post"]["summary"] == "Mine"


@pytest.mark.parametrize("settings", [{}, {"logout_audience": "shop"}])
def test_each_route_of_auth_app_is_in_the_document(settings: dict[str, Any]) -> None:
    """All of AuthApp's routes are shown with their methods, and each answers."""
    auth = make_auth(store=MemoryStore(), refresh_secret=REFRESH_SECRET, **settings)
    mounted = AuthApp(auth, lambda credentials, request: None)
    app = FastAPI()
    app.mount("/auth", mounted)
    document(app, auth)
    shown = {(path, method.upper()) for path, methods in app.openapi()["paths"].items() for method in methods}
    routes: Any = mounted._app
    assert shown == {
        (f"/auth{route.path}", method) for route in routes.app.routes for method in route.methods - {"HEAD"}
    }


@pytest.mark.parametrize(
    ("docs_url", "path", "token_url"),
    tables_of(__file__)["the_page_logs_in_at_auth_app"],
)
def test_the_page_logs_in_at_auth_app(auth: Auth, docs_url: str | None, path: str, token_url: str) -> None:
    """The URL to log in at is relative to the page, so that it holds below any prefix."""
    app = FastAPI(docs_url=docs_url)
    document(app, auth, path=path)
    made = app.openapi()
    assert made["components"]["securitySchemes"]["Bearer"]["flows"]["password"]["tokenUrl"] == token_url
    assert f"/{path.strip('/')}/login".replace("//", "/") in made["paths"]


def test_an_app_as_the_docs_have_it(auth: Auth) -> None:
    """Users log in as the document says, and pass each route whose scopes their tokens have."""
    with TestClient(create_app(auth)) as client:
        assert client.get("/health").json() == "ok"
        form = {"grant_type": "password", "username": "bob", "password": "wonderland"}
        token = client.post("/auth/login", data=form).json()["access_token"]
        bob, alice = {"Authorization": f"Bearer {token}"}, authorization(auth, scopes="orders:read orders:write")
        for method, path, enough in [
            ("GET", "/orders", [bob, alice]),
            ("POST", "/orders", [alice]),
            ("GET", "/orders/7", [alice]),
            ("GET", "/reports/", [alice]),
        ]:
            assert client.request(method, path).status_code == 401
            assert client.request(method, path, headers={"Authorization": "Bearer x"}).status_code == 401
            for headers in (bob, alice):
                expected = (200, 201) if headers in enough else (403,)
                assert client.request(method, path, headers=headers).status_code in expected
        with client.websocket_connect("/feed", headers=bob) as session:
            assert session.receive_text() == "bob"
        for headers, status in (({}, 401), ({"Authorization": "Bearer x"}, 401), (authorization(auth), 403)):
            with pytest.raises(WebSocketDenialResponse) as denied:
                client.websocket_connect("/feed", headers=headers).__enter__()
            assert denied.value.status_code == status


@pytest.fixture
def guarded(auth: Auth) -> JWTMiddleware:
    app = FastAPI()
    document(app, auth)

    @app.get("/orders", dependencies=[Depends(require("orders:read"))])
    async def orders() -> None: ...

    @app.websocket("/feed")
    async def feed(websocket: WebSocket, user: Annotated[Claims, Depends(require("orders:read"))]) -> None: ...

    @app.websocket("/late")
    async def late(websocket: WebSocket) -> None:
        await websocket.accept()
        require("orders:read")(websocket)

    return JWTMiddleware(app, auth, optional=True)


def test_refusals_have_the_shape_of_the_middlewares(auth: Auth, guarded: JWTMiddleware, heard: list[Event]) -> None:
    """With `document`, what `require` refuses has challenge, JSON and event of what the middleware refuses."""
    client = TestClient(guarded)
    nobody = client.get("/orders")
    assert (nobody.status_code, nobody.json(), bearer_challenge(nobody.headers["www-authenticate"])) == (
        401,
        NO_TOKEN,
        'Bearer realm="api"',
    )
    lacking = client.get("/orders", headers=authorization(auth))
    assert (lacking.status_code, lacking.json(), lacking.headers["cache-control"]) == (403, LACKING, "no-store")
    with pytest.raises(WebSocketDenialResponse) as denied:
        client.websocket_connect("/feed", headers=authorization(auth)).__enter__()
    assert (denied.value.status_code, denied.value.json()) == (403, LACKING)
    lacks = [TokenRefused("scope_insufficient", 403, transport) for transport in ("http", "websocket")]
    assert heard == [TokenRefused("token_missing", 401, "http"), *lacks]


@pytest.mark.anyio
async def test_a_server_that_can_not_deny_sockets_closes_them(auth: Auth, guarded: JWTMiddleware) -> None:
    """A refused WebSocket is closed with the code of the refusal where the server sends no HTTP answer to it."""
    scope = websocket_scope("/feed", headers=authorization(auth), denial=False)
    closed = await exchange(guarded, scope, CONNECT)
    assert closed.messages == [{"type": "websocket.close", "code": 3003, "reason": ""}]


def test_a_socket_that_is_open_is_closed(auth: Auth, guarded: JWTMiddleware) -> None:
    """A WebSocket that asks `require` after it was accepted is closed with the code of the refusal."""
    session = TestClient(guarded).websocket_connect("/late", headers=authorization(auth))
    with session, pytest.raises(WebSocketDisconnect) as ended:
        session.receive_text()
    assert ended.value.code == 3003


def test_what_is_no_auth_is_named() -> None:
    """Settings in the place of an `Auth` raise where the call stands."""
    settings: Any = Settings(issuer="i", audience="a", secret="s" * 32)
    with pytest.raises(ConfigurationError, match=r"document\(app, auth\) takes an Auth"):
        document(FastAPI(), settings)


@pytest.mark.parametrize("first", [True, False])
def test_the_hosts_own_handler_stays(auth: Auth, first: bool) -> None:
    """A handler of the app's own for `AuthError` answers, whether it was added before or after the call."""
    app = FastAPI(dependencies=[Depends(require("write"))])

    async def own(request: Any, error: Exception) -> JSONResponse:
        return JSONResponse("own", 403)

    if first:
        app.add_exception_handler(AuthError, own)
    document(app, auth)
    if not first:
        app.add_exception_handler(AuthError, own)

    @app.get("/orders")
    async def orders() -> None: ...

    app.add_middleware(JWTMiddleware, auth=auth)
    assert TestClient(app).get("/orders", headers=authorization(auth)).json() == "own"
