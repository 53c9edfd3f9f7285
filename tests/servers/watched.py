"""An app whose WebSockets are watched over, for servers in processes of their own: `servers.watched:app`.

A WebSocket gets back what it sends. Over HTTP, `/revoke/<subject>` revokes, `/down` and `/up` take the log of
revocations away and bring it back, and `/counts` tells how often it was read, what tasks of ours there are, and how
connections ended for the app.
"""

import asyncio
from typing import Any

import trio
from anyio.lowlevel import current_token
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from support.app import CONNECT, WatchedStore

from asgi_jwt import Auth, JWTMiddleware, MemoryStore, Settings

INTERVAL = 0.5
SETTINGS = Settings(
    issuer="https://issuer.example",
    audience="https://api.example",
    secret="a secret of more than thirty-two bytes, for HS256",
    leeway=0,
    access_ttl=3600,
    revocation_interval=INTERVAL,
    revocation_max_staleness=8,  # a busy machine reads no log for a while
)

store = WatchedStore(MemoryStore())
auth = Auth(SETTINGS, store=store)
ends: list[Any] = []


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert await receive() == CONNECT
    await send({"type": "websocket.accept"})
    message = await receive()
    while message["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message["text"]})
        message = await receive()
    ends.append(message["code"])
    await send({"type": "websocket.send", "text": "too late"})


async def revoke(request: Request) -> Response:
    await auth.revoke_subject(request.path_params["subject"])
    return Response()


async def down(request: Request) -> Response:
    store.down = {"read_revocations"}
    return Response()


async def up(request: Request) -> Response:
    store.down = set()
    return Response()


async def counts(request: Request) -> Response:
    return JSONResponse({"reads": store.calls["read_revocations"], "tasks": our_tasks(), "ends": ends})


def our_tasks() -> list[str]:
    """Those that outlive a request: everyone else's are of the server and of the app."""
    loop: Any = current_token().native_token
    if isinstance(loop, asyncio.AbstractEventLoop):
        named = [str(task.get_coro().__qualname__) for task in asyncio.all_tasks()]  # type: ignore[union-attr]
    else:
        named, nurseries = [], [*trio.lowlevel.current_root_task().child_nurseries]  # type: ignore[union-attr]
        for nursery in nurseries:
            named += [task.name for task in nursery.child_tasks]
            nurseries += [each for task in nursery.child_tasks for each in task.child_nurseries]
    return [name for name in named if name.rpartition(".")[2] == "_logged"]


http = Starlette(
    routes=[
        Route("/revoke/{subject}", revoke),
        Route("/down", down),
        Route("/up", up),
        Route("/counts", counts),
    ]
)


async def served(scope: Scope, receive: Receive, send: Send) -> None:
    await (echo if scope["type"] == "websocket" else http)(scope, receive, send)


PUBLIC = ["/revoke/*", "/down", "/up", "/counts"]
app = JWTMiddleware(served, auth, public=PUBLIC)
