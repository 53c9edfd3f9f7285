"""One small app in each framework, for servers in processes of their own: `servers.matrix_apps:bare`, and so on.

`/orders` over HTTP and the WebSocket `/feed` ask for the scope `orders:read`, each by the framework's own idiom.
"""

from typing import Annotated, Any

import fastapi as fastapi_package
import litestar as litestar_package
import quart as quart_package
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from support.django_project import set_up

from asgi_jwt import Auth, Claims, JWTMiddleware, RequireMiddleware, Settings, require
from asgi_jwt.fastapi import document
from asgi_jwt.litestar import JWTPlugin
from asgi_jwt.quart import current_claims, requires

SCOPE = "orders:read"
auth = Auth(Settings(issuer="https://issuer.example", audience="orders", secret="0123456789abcdef" * 2))


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """The bare app. It waits for the end of a WebSocket: some servers drop what a closing app has sent."""
    text: str = scope["claims"].subject
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})
    else:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": text})
        await receive()


async def without_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan here")
    await RequireMiddleware(answering, scopes=[SCOPE])(scope, receive, send)


bare: ASGIApp = JWTMiddleware(without_lifespan, auth)


async def _orders(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.user.subject)


async def _feed(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(websocket.user.subject)
    await websocket.receive()


_guarded = [Middleware(RequireMiddleware, scopes=[SCOPE])]
starlette: ASGIApp = Starlette(
    routes=[Route("/orders", _orders, middleware=_guarded), WebSocketRoute("/feed", _feed, middleware=_guarded)],
    middleware=[Middleware(JWTMiddleware, auth=auth)],
)

fastapi = fastapi_package.FastAPI()
fastapi.add_middleware(JWTMiddleware, auth=auth)
document(fastapi, auth)
Reader = Annotated[Claims, fastapi_package.Depends(require(SCOPE))]


@fastapi.get("/orders")
async def fastapi_orders(user: Reader) -> Any:
    return PlainTextResponse(user.subject)


@fastapi.websocket("/feed")
async def fastapi_feed(websocket: WebSocket, user: Reader) -> None:
    await _feed(websocket)


@litestar_package.get("/orders", guards=[require(SCOPE)], media_type="text/plain", sync_to_thread=False)
def litestar_orders(request: litestar_package.Request[Any, Any, Any]) -> str:
    subject: str = request.user.subject
    return subject


@litestar_package.websocket("/feed", guards=[require(SCOPE)])
async def litestar_feed(socket: litestar_package.WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_text(socket.user.subject)
    await socket.receive_text()


litestar: Any = litestar_package.Litestar([litestar_orders, litestar_feed], plugins=[JWTPlugin(auth)])

quart: Any = quart_package.Quart(__name__)
quart.asgi_app = JWTMiddleware(quart.asgi_app, auth)


@requires(SCOPE)
async def quart_orders() -> str:
    return current_claims.subject


@requires(SCOPE)
async def quart_feed() -> None:
    await quart_package.websocket.accept()
    await quart_package.websocket.send(current_claims.subject)
    await quart_package.websocket.receive()


quart.get("/orders")(quart_orders)
quart.websocket("/feed")(quart_feed)


def _django_orders(request: Any) -> HttpResponse:
    return HttpResponse(require(SCOPE)(request).subject)


def _django() -> ASGIApp:
    """Django serves HTTP alone: its WebSockets are a bare app beside it."""
    set_up()
    settings.MIDDLEWARE = ["asgi_jwt.django.TokenMiddleware"]
    settings.ASGI_JWT_AUTH = f"{__name__}.auth"
    settings.ROOT_URLCONF = (path("orders", _django_orders),)
    views: Any = get_asgi_application()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (bare if scope["type"] == "websocket" else views)(scope, receive, send)

    return app


django: ASGIApp = _django()
