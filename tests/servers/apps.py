"""One app in six ways, each behind `JWTMiddleware`.

`/me` and the WebSocket `/ws` say who asks, `/health` is public, `/stream` sends `first`, and `second` when the gate
opens: a client that holds the first part while the gate is shut proves that nothing gathers the response.
"""

import json
from collections.abc import AsyncIterator, Callable
from threading import Event
from typing import Annotated, Any

import anyio
import litestar
import quart
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from litestar.response import Stream
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from support.django_project import set_up

from asgi_jwt import Auth, Claims, JWTMiddleware, require

PUBLIC = ["/health"]


def told(claims: Claims | None) -> dict[str, Any]:
    """What every app answers."""
    return {"subject": claims and claims.subject, "scopes": sorted(claims.scopes) if claims else []}


async def two_parts(gate: Event) -> AsyncIterator[bytes]:
    yield b"first"
    opened = await anyio.to_thread.run_sync(gate.wait, 10)
    yield b"second" if opened else b"too late"


def bare(auth: Auth, gate: Event) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] in ("http", "websocket"), "servers live without lifespan"
        if scope["type"] == "websocket":
            await answer_websocket(scope, receive, send)
            return
        parts = two_parts(gate) if scope["path"] == "/stream" else _one_part(json.dumps(told(scope["claims"])))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return JWTMiddleware(app, auth, public=PUBLIC)


async def _one_part(text: str) -> AsyncIterator[bytes]:
    yield text.encode()


async def answer_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps(told(scope["claims"]))})
    # The client closes: in its trio worker, hypercorn 0.18 can fail as a whole where the app does.
    assert (await receive())["type"] == "websocket.disconnect"


def starlette(auth: Auth, gate: Event) -> ASGIApp:
    async def me(request: Request) -> JSONResponse:
        return JSONResponse(told(request.scope["claims"]))

    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(two_parts(gate))

    async def ws(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json(told(websocket.scope["claims"]))
        assert (await websocket.receive())["type"] == "websocket.disconnect"

    return Starlette(
        routes=[Route("/me", me), Route("/health", me), Route("/stream", stream), WebSocketRoute("/ws", ws)],
        middleware=[Middleware(JWTMiddleware, auth=auth, public=PUBLIC)],
    )


def fastapi(auth: Auth, gate: Event) -> ASGIApp:
    app = FastAPI()
    app.add_middleware(JWTMiddleware, auth=auth, public=PUBLIC)

    @app.get("/me")
    async def me(user: Annotated[Claims, Depends(require())]) -> dict[str, Any]:
        return told(user)

    @app.get("/health")
    async def health(request: Request) -> dict[str, Any]:
        return told(request.scope["claims"])

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(two_parts(gate))

    @app.websocket("/ws")
    async def ws(websocket: WebSocket, user: Annotated[Claims, Depends(require())]) -> None:
        await websocket.accept()
        await websocket.send_json(told(user))
        await websocket.close()

    return app


def litestar_app(auth: Auth, gate: Event) -> ASGIApp:
    @litestar.get(["/me", "/health"])
    async def me(scope: litestar.types.Scope) -> dict[str, Any]:
        return told(_claims(scope))

    @litestar.get("/stream")
    async def stream() -> Stream:
        return Stream(two_parts(gate))

    @litestar.websocket("/ws")
    async def ws(socket: litestar.WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.send_json(told(_claims(socket.scope)))
        await socket.close()

    app: Any = litestar.Litestar([me, stream, ws])
    return JWTMiddleware(app, auth, public=PUBLIC)


def quart_app(auth: Auth, gate: Event) -> ASGIApp:
    app = quart.Quart(__name__)

    @app.get("/me")
    @app.get("/health")
    async def me() -> dict[str, Any]:
        return told(_claims(quart.request.scope))

    @app.get("/stream")
    async def stream() -> AsyncIterator[bytes]:
        return two_parts(gate)

    @app.websocket("/ws")
    async def ws() -> None:
        await quart.websocket.accept()
        await quart.websocket.send_json(told(_claims(quart.websocket.scope)))

    wrapped: Any = app
    wrapped.asgi_app = JWTMiddleware(wrapped.asgi_app, auth, public=PUBLIC)
    asgi: ASGIApp = wrapped
    return asgi


def django_app(auth: Auth, gate: Event) -> ASGIApp:
    """Django serves HTTP alone and raises on everything else: its WebSockets are a function beside it."""

    async def me(request: ASGIRequest) -> JsonResponse:
        return JsonResponse(told(_claims(request.scope)))

    async def stream(request: HttpRequest) -> StreamingHttpResponse:
        return StreamingHttpResponse(two_parts(gate))

    set_up()
    settings.ROOT_URLCONF = (path("me", me), path("health", me), path("stream", stream))
    http: Any = get_asgi_application()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (answer_websocket if scope["type"] == "websocket" else http)(scope, receive, send)

    return JWTMiddleware(app, auth, public=PUBLIC)


def _claims(scope: Any) -> Claims | None:
    claims: Claims | None = scope["claims"]
    return claims


APPS: dict[str, Callable[[Auth, Event], ASGIApp]] = {
    "bare": bare,
    "starlette": starlette,
    "fastapi": fastapi,
    "litestar": litestar_app,
    "quart": quart_app,
    "django": django_app,
}
