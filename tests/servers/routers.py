"""Routers behind one middleware, for a server in a process of its own: `servers.routers:app`.

A request names its router in the query string. Each router serves `/auth/*`, which is public, and `/orders/*`, which
is not, and answers with the path that it took the request for.
"""

from typing import Any

import litestar
import quart
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from asgi_jwt import Auth, JWTMiddleware


async def answer(kind: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await PlainTextResponse(kind)(scope, receive, send)
        return
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": kind})
    await send({"type": "websocket.close"})


def served(path: str) -> str:
    """What a router that takes the request for one to this path serves."""
    return next((kind for kind in ("orders", "auth") if f"/{path.lstrip('/')}/".startswith(f"/{kind}/")), "nothing")


async def ignoring(scope: Scope, receive: Receive, send: Send) -> None:
    """As Falcon does: the root path is no part of it."""
    await answer(served(scope["path"]), scope, receive, send)


async def joining(scope: Scope, receive: Receive, send: Send) -> None:
    """As Sanic does: the root path is put in front."""
    await answer(served(scope["root_path"] + scope["path"]), scope, receive, send)


async def endpoint(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.scope["route"].path.strip("/").split("/")[0])


def starlette_app() -> ASGIApp:
    return Starlette(routes=[Route("/auth/{rest:path}", endpoint), Route("/orders/{rest:path}", endpoint)])


def mounting_app() -> ASGIApp:
    async def kind(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(scope["root_path"].rpartition("/")[2], scope, receive, send)

    return Starlette(routes=[Mount("/auth", kind), Mount("/orders", kind)])


def litestar_app() -> ASGIApp:
    @litestar.get("/auth/{rest:path}")
    async def auth_route() -> str:
        return "auth"

    @litestar.get("/orders/{rest:path}")
    async def orders_route() -> str:
        return "orders"

    app: Any = litestar.Litestar([auth_route, orders_route], openapi_config=None)
    asgi: ASGIApp = app
    return asgi


def quart_app() -> ASGIApp:
    app = quart.Quart(__name__)

    @app.get("/auth/<path:rest>")
    async def auth_route(rest: str) -> str:
        return "auth"

    @app.get("/orders/<path:rest>")
    async def orders_route(rest: str) -> str:
        return "orders"

    wrapped: Any = app
    asgi: ASGIApp = wrapped
    return asgi


ROUTERS: dict[str, ASGIApp] = {
    "ignoring": ignoring,
    "joining": joining,
    "starlette": starlette_app(),
    "mounting": mounting_app(),
    "litestar": litestar_app(),
    "quart": quart_app(),
}


async def routed(scope: Scope, receive: Receive, send: Send) -> None:
    await ROUTERS[scope["query_string"].decode()](scope, receive, send)


app = JWTMiddleware(routed, Auth.from_env(), public=["/auth/*"])
