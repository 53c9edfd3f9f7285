"""One app in two ways, each behind `JWTMiddleware`.

`/me` and the WebSocket `/ws` say who asks, `/health` is public, `/stream` sends `first`, and `second` when the gate
opens: a client that holds the first part while the gate is shut proves that nothing gathers the response.
"""

import json
from collections.abc import AsyncIterator, Callable
from threading import Event
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from asgi_jwt import Auth, Claims, JWTMiddleware

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


APPS: dict[str, Callable[[Auth, Event], ASGIApp]] = {"bare": bare, "starlette": starlette}
