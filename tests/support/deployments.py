"""Deployments to drill: an app with logins and an API, whole or with a fault, and the checks made on them."""

import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from support.app import authenticate, credentials
from support.serving import uvicorn_serving
from support.tokens import SECRET

from asgi_jwt import Auth, AuthApp, JWTMiddleware, MemoryStore, Settings
from asgi_jwt.drill.checks_login import login
from asgi_jwt.drill.client import http_client
from asgi_jwt.drill.drill import Drill
from asgi_jwt.drill.outcome import Result
from asgi_jwt.drill.run import Check, run_check
from asgi_jwt.drill.target import Target
from asgi_jwt.stores.base import SessionStore

Headers = list[tuple[bytes, bytes]]
Work = Callable[[Drill], Awaitable[str]]

_SETTINGS = {
    "issuer": "https://issuer.example",
    "audience": "orders",
    "secret": SECRET,
    "refresh_secret": "r" * 32,
    "cookie_secure": False,
    "cookie_name": "refresh_token",
    "grace": 3,
}


def deployment(
    *,
    store: SessionStore | None = None,
    public: Sequence[str] = ("/auth/*",),
    clock: Callable[[], float] = time.time,
    api: dict[str, Any] | None = None,
    apart: bool = False,
    api_headers: dict[str, str] | None = None,
    **settings: Any,
) -> Starlette:
    """An `AuthApp` at `/auth` and an API at `/api/me`. `api`: settings of an `Auth` of the API's own, on the store.

    `apart`: the API has another store.
    """
    store = store or MemoryStore()
    auth = Auth(Settings(**{**_SETTINGS, **settings}), store=store, clock=clock)
    guard = auth
    if api is not None or apart:
        kept = MemoryStore() if apart else store
        guard = Auth(Settings(**{**_SETTINGS, **settings, **(api or {})}), store=kept, clock=clock)

    def me(request: Request) -> JSONResponse:
        return JSONResponse({"subject": getattr(request.user, "subject", None)}, headers=api_headers)

    return Starlette(
        routes=[Mount("/auth", AuthApp(auth, authenticate)), Route("/api/me", me)],
        middleware=[Middleware(JWTMiddleware, auth=guard, public=[*public])],
    )


def from_environment() -> Starlette:
    """A deployment in a process of its own, whose settings are the JSON of the variable `DEPLOYMENT`."""
    return deployment(**json.loads(os.environ["DEPLOYMENT"]))


def changed(
    app: ASGIApp,
    *,
    response: Callable[[Headers], Headers] = lambda headers: headers,
    request: Callable[[Headers], Headers] = lambda headers: headers,
    path: str = "/",
) -> ASGIApp:
    """The app behind a proxy that changes headers of requests and answers below `path`."""

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": response([*message["headers"]])}
            await send(message)

        if scope["type"] != "http" or not scope["path"].startswith(path):
            await app(scope, receive, send)
        else:
            await app({**scope, "headers": request([*scope["headers"]])}, receive, answer)

    return proxy


def answering(
    app: ASGIApp, path: str, status: int = 200, body: bytes = b"{}", *, method: str = "", **headers: str
) -> ASGIApp:
    """The app, but for the paths that begin with `path`: these get one answer."""

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(path) or method not in ("", scope["method"]):
            return await app(scope, receive, send)
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": named})
        return await send({"type": "http.response.body", "body": body})

    return proxy


def in_turn(*apps: ASGIApp) -> ASGIApp:
    """Processes behind one address: each request goes to the next one."""
    turns = [0]

    async def balancer(scope: Scope, receive: Receive, send: Send) -> None:
        turns[0] += scope["type"] == "http"
        await apps[turns[0] % len(apps)](scope, receive, send)

    return balancer


def caching(app: ASGIApp, path: str) -> ASGIApp:
    """The app behind a proxy that keeps the first good answer of a path for everyone."""
    kept: list[Message] = []

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        async def keep(message: Message) -> None:
            if kept or message.get("status") == 200:
                kept.append(message)
            await send(message)

        if scope["type"] != "http" or scope["path"] != path:
            await app(scope, receive, send)
        elif kept:
            for message in kept:
                await send(message)
        else:
            await app(scope, receive, keep)

    return proxy


def fault(result: Result, seen: str, mend: str) -> None:
    """The promise is broken: what was seen, and the mend."""
    assert result.holds is False
    assert seen in result.seen
    assert mend in result.mend


def untried(result: Result, seen: str) -> None:
    """The promise was not tried, for this reason."""
    assert result.holds is None
    assert seen in result.seen


class Site:
    """A server whose app each test chooses."""

    def __init__(self) -> None:
        self.app: ASGIApp = deployment()
        self.origin = ""
        self.hosts: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.hosts |= {value.decode() for name, value in scope["headers"] if name == b"host"}
            await self.app(scope, receive, send)

    def target(self, *, mount: str = "/auth", api: str = "/api/me", host: str = "127.0.0.1") -> Target:
        return Target(self.origin.replace("127.0.0.1", host), mount, api)

    def check(self, *works: Work, app: ASGIApp | None = None, **target: str) -> Result:
        """The result of the last of the checks, made in turn behind a login. The sessions are ended."""
        self.app = app or deployment()

        async def made() -> Result:
            async with http_client(False) as http:
                drill = Drill(self.target(**target), credentials(), time.time, anyio.current_time(), http)
                results = [await run_check(Check("", "", partial(work, drill))) for work in (login, *works)]
                await drill.devices.end_all()
                return results[-1]

        return anyio.run(made)


@contextmanager
def served_site() -> Iterator[Site]:
    site = Site()
    with uvicorn_serving(site) as address:
        site.origin = f"http://{address}"
        yield site
