"""The line that wraps an app of each framework, as a user's type checker sees it."""

from typing import Annotated, Any

import falcon.asgi
import litestar
import quart
import sanic
from fastapi import Depends, FastAPI, Security
from hypercorn.typing import ASGIFramework
from litestar.middleware import DefineMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from asgi_jwt import Auth, AuthApp, AuthError, Claims, Identity, JWTMiddleware, RequireMiddleware, answer, require
from asgi_jwt.fastapi import document
from asgi_jwt.litestar import JWTPlugin
from asgi_jwt.quart import current_claims, requires

READS = require("orders:read", roles=["clerk"])


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    claims = READS.check(scope)
    await JSONResponse({"subject": claims.subject})(scope, receive, send)


async def untyped(scope: dict[str, Any], receive: Any, send: Any) -> None:
    raise NotImplementedError


async def orders(request: Request) -> Response:
    user: Claims = require("orders:read")(request)
    scopes: frozenset[str] = user.scopes
    return JSONResponse(sorted(scopes))


async def feed(websocket: WebSocket) -> None:
    user = READS(websocket)
    await websocket.accept()
    await websocket.send_text(user.subject)


def wrapped(auth: Auth, served: ASGIFramework) -> list[ASGIApp]:
    """Each framework types scopes and messages in its own way; Starlette's servers take what comes out."""
    starlette = Starlette(
        routes=[
            Mount("/auth", AuthApp(auth, lambda credentials, request: Identity(credentials["username"]))),
            Route("/orders", orders, middleware=[Middleware(RequireMiddleware, scopes="orders:read")]),
        ],
        middleware=[Middleware(JWTMiddleware, auth=auth, public=["/auth/*"])],
    )
    apps: list[ASGIApp] = [
        JWTMiddleware(bare, auth),
        JWTMiddleware(untyped, auth),
        JWTMiddleware(served, auth),
        JWTMiddleware(starlette, auth, validate=lambda claims, scope: True),
        JWTMiddleware(FastAPI(), auth),
        JWTMiddleware(litestar.Litestar(), auth),
        JWTMiddleware(quart.Quart(__name__), auth),
        JWTMiddleware(falcon.asgi.App(), auth),
        JWTMiddleware(sanic.Sanic("orders"), auth),
        RequireMiddleware(litestar.Litestar(), scopes=["orders:read"]),
    ]
    return [*apps, starlette]


def fastapi_app(auth: Auth) -> FastAPI:
    app = FastAPI(dependencies=[Depends(require()), Security(require(), scopes=["orders:read"])])
    app.add_middleware(RequireMiddleware, scopes=["orders:read"])
    app.add_middleware(JWTMiddleware, auth=auth, public=["/health"], optional=True)
    app.dependency_overrides[require("orders:read")] = lambda: None

    @app.get("/orders")
    async def orders_of(user: Annotated[Claims, Depends(READS)]) -> str | None:
        return user.session_id

    document(app, auth, path="/auth")
    return app


def litestar_app(auth: Auth) -> litestar.Litestar:
    @litestar.get("/orders", guards=[READS, require("orders:write")])
    async def orders_of(request: litestar.Request[Claims, Any, Any]) -> str:
        return request.user.subject

    plugin = JWTPlugin(auth, lambda credentials, request: None, public="/health", optional=True)
    middleware = [DefineMiddleware(JWTMiddleware, auth=auth)]
    mounted = litestar.asgi("/auth", is_mount=True)(AuthApp(auth, lambda credentials, request: None))
    return litestar.Litestar([orders_of, mounted], plugins=[plugin], middleware=middleware, guards=[require()])


def quart_app() -> quart.Quart:
    app = quart.Quart(__name__)

    @app.get("/orders")
    @requires("orders:read", roles=["clerk"])
    async def orders_of() -> str:
        return current_claims.subject

    return app


def answered(error: AuthError, scope: Scope) -> Response:
    return answer(error, scope)
