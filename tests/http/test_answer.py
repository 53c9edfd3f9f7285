"""`answer` in the error handlers of frameworks that have no module of their own, asked by their own test clients."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, NamedTuple

import falcon.asgi
import falcon.testing
import httpx
import pytest
import quart
import sanic
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send
from support.app import NO_TOKEN, authorization, make_auth

from asgi_jwt import Auth, AuthError, JWTMiddleware, answer, require
from asgi_jwt.errors import InsufficientScope

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

_names = count()
READ = require("orders:read")
LACKING = (
    'Bearer realm="api", error="insufficient_scope", error_description="The access token lacks a required scope",'
    ' scope="orders:read"'
)


class Told(NamedTuple):
    status: int
    challenge: str | None
    body: Any


Get = Callable[[dict[str, str]], Awaitable[Told]]


@asynccontextmanager
async def bare_app(auth: Auth) -> AsyncIterator[Get]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            told = json.dumps(READ(HTTPConnection(scope)).subject)
        except AuthError as error:
            await answer(error, scope)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": told.encode()})

    client = TestClient(JWTMiddleware(app, auth))

    async def get(headers: dict[str, str]) -> Told:
        told = client.get("/", headers=headers)
        return Told(told.status_code, told.headers.get("www-authenticate"), told.json())

    yield get


@asynccontextmanager
async def falcon_app(auth: Auth) -> AsyncIterator[Get]:
    class Orders:
        async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
            resp.media = READ(req).subject

    async def refused(
        req: falcon.asgi.Request, resp: falcon.asgi.Response, error: AuthError, params: dict[str, Any]
    ) -> None:
        response = answer(error, req.scope)
        resp.status, resp.data = response.status_code, bytes(response.body)
        resp.set_headers(response.headers.items())

    app: Any = falcon.asgi.App()
    app.add_route("/", Orders())
    app.add_error_handler(AuthError, refused)

    async with falcon.testing.ASGIConductor(JWTMiddleware(app, auth)) as client:

        async def get(headers: dict[str, str]) -> Told:
            told = await client.simulate_get("/", headers=headers)
            return Told(told.status_code, told.headers.get("www-authenticate"), told.json)

        yield get


@asynccontextmanager
async def sanic_app(auth: Auth) -> AsyncIterator[Get]:
    app: Any = sanic.Sanic(f"orders{next(_names)}")  # Sanic knows an app by its name

    async def orders(request: Any) -> Any:
        return sanic.json(READ(request.transport).subject)

    async def refused(request: Any, error: AuthError) -> sanic.HTTPResponse:
        response = answer(error, request.transport.scope)
        return sanic.HTTPResponse(response.body, response.status_code, dict(response.headers))

    app.get("/")(orders)
    app.exception(AuthError)(refused)

    client = app.asgi_client
    client._transport = httpx.ASGITransport(JWTMiddleware(app, auth))

    async def get(headers: dict[str, str]) -> Told:
        _, told = await client.get("/", headers=headers)
        return Told(told.status_code, told.headers.get("www-authenticate"), told.json)

    yield get


@asynccontextmanager
async def quart_app(auth: Auth) -> AsyncIterator[Get]:
    app: Any = quart.Quart("orders")

    async def orders() -> Any:
        return quart.jsonify(READ(quart.request).subject)

    async def refused(error: AuthError) -> Any:
        response = answer(error, quart.request.scope)
        return bytes(response.body), response.status_code, dict(response.headers)

    app.get("/")(orders)
    app.errorhandler(AuthError)(refused)

    app.asgi_app = JWTMiddleware(app.asgi_app, auth)

    async def get(headers: dict[str, str]) -> Told:
        told = await app.test_client().get("/", headers=headers)
        return Told(told.status_code, told.headers.get("www-authenticate"), await told.json)

    yield get


@pytest.mark.filterwarnings("ignore:websockets.legacy is deprecated:DeprecationWarning")  # of Sanic's test client
@pytest.mark.parametrize("framework", [bare_app, falcon_app, quart_app, sanic_app])
async def test_in_an_error_handler(framework: Any) -> None:
    """In each framework one handler gives `require`'s refusals the middleware's shape: status, challenge and body."""
    auth = make_auth(dpop="off")
    async with framework(auth) as get:
        assert await get(authorization(auth, scopes="orders:read")) == (200, None, "alice")
        assert await get({}) == (401, 'Bearer realm="api"', NO_TOKEN)
        assert (await get({"authorization": "Bearer a.b.c"}))[0] == 401
        lacking = {"error": "insufficient_scope", "error_description": "The access token lacks a required scope"}
        assert await get(authorization(auth)) == (403, LACKING, lacking)


async def test_one_exception() -> None:
    """What `require` raises is the `AuthError` that it is about, and Starlette's exception with the challenge."""
    auth = make_auth(dpop="off")
    refused: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(InsufficientScope) as raised:
            READ(HTTPConnection(scope))
        refused.append(raised.value)
        await answer(raised.value, scope)(scope, receive, send)

    asgi: ASGIApp = JWTMiddleware(app, auth)
    TestClient(asgi).get("/", headers=authorization(auth))
    (error,) = refused
    assert HTTPException in type(error).__mro__
    assert (error.status_code, error.detail) == (403, "The access token lacks a required scope")
    assert (error.status, error.reason, error.scope) == (403, "scope_insufficient", "orders:read")
    assert error.headers == {"Cache-Control": "no-store", "WWW-Authenticate": LACKING}
