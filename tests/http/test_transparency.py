"""But for what it sets in the scope, the middleware is not there."""

import contextlib
from collections.abc import AsyncIterator
from contextvars import ContextVar

import anyio
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from support.app import CONNECT, Guarded, authorization, exchange, http_scope, make_auth, websocket_scope

from asgi_jwt import JWTMiddleware
from asgi_jwt.errors import ExpiredToken

pytestmark = pytest.mark.anyio


async def test_lifespan_passes_untouched() -> None:
    """The lifespan reaches the app with the very same objects, nothing added."""
    guarded = Guarded(optional=True, public=["/*"])
    scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}}

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    await guarded.middleware(scope, receive, send)
    ((called, receives, sends),) = guarded.app.calls
    assert called is scope
    assert (receives, sends) == (receive, send)
    assert scope == {"type": "lifespan", "asgi": {"version": "3.0"}}


@pytest.mark.parametrize("token_sources", ["header", "header,subprotocol,cookie:token"])
async def test_the_same_receive_and_send(token_sources: str) -> None:
    """A request's app, and a socket's that no token let in, talk to the server with nothing between."""
    guarded = Guarded(make_auth(token_sources=token_sources), public=["/public"])

    async def receive() -> Message:
        return CONNECT

    async def send(message: Message) -> None:
        sent.append(message)

    sent: list[Message] = []
    headers = authorization(guarded.auth)
    for scope in (http_scope(headers=headers), http_scope("/public"), websocket_scope("/public", headers=headers)):
        await guarded.middleware(scope, receive, send)
        assert guarded.app.calls[-1] == (scope, receive, send)
    assert len(sent) == 5


def test_lifespan_of_starlette() -> None:
    """Startup and shutdown run behind the middleware as without it, and its state arrives."""
    told: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
        told.append("up")
        yield {"database": "here"}
        told.append("down")

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(request.state.database)

    auth = make_auth()
    app = JWTMiddleware(Starlette(routes=[Route("/", endpoint)], lifespan=lifespan), auth)
    with TestClient(app) as client:
        assert client.get("/", headers=authorization(auth)).text == "here"
        assert client.get("/").status_code == 401
    assert told == ["up", "down"]


async def test_tracer_outside_sees_the_route() -> None:
    """`route` and `endpoint`, which the router sets, are there for a tracer outside, and so are the claims."""

    async def endpoint(request: Request) -> Response:
        return Response()

    auth = make_auth()
    seen: list[Scope] = []

    def tracing(app: ASGIApp) -> ASGIApp:
        async def tracer(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, send)
            seen.append(scope)

        return tracer

    app = tracing(JWTMiddleware(Starlette(routes=[Route("/orders/{number}", endpoint)]), auth))
    await exchange(app, http_scope("/orders/1", headers=authorization(auth)))
    (scope,) = seen
    assert scope["endpoint"] is endpoint
    assert scope["path_params"] == {"number": "1"}
    assert scope["claims"].subject == "alice"


def test_cors_outside() -> None:
    """`CORSMiddleware` outside gives a 401 its headers, and answers preflights, which bear no token."""
    auth = make_auth()
    guarded = Guarded(auth)
    app = CORSMiddleware(guarded.middleware, allow_origins=["https://app.example"], allow_headers=["authorization"])
    client = TestClient(app)
    refused = client.get("/", headers={"origin": "https://app.example"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://app.example")
    asked = {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}
    preflight = client.options("/", headers={"origin": "https://app.example", **asked})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "https://app.example")
    assert guarded.app.calls == []
    assert client.get("/", headers={"origin": "https://app.example", **authorization(auth)}).status_code == 200


async def test_streaming() -> None:
    """A response streams: each part is out before the app makes the next."""
    auth = make_auth()
    sent: list[bytes] = []
    made: list[int] = []

    async def parts() -> AsyncIterator[bytes]:
        for number in range(3):
            made.append(len(sent))
            yield b"%d" % number

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(parts())(scope, receive, send)

    async def send(message: Message) -> None:
        if message.get("body"):
            sent.append(message["body"])

    async def receive() -> Message:
        raise AssertionError

    await JWTMiddleware(app, auth)(http_scope(headers=authorization(auth)), receive, send)
    assert (sent, made) == ([b"0", b"1", b"2"], [0, 1, 2])


async def test_request_body_streams() -> None:
    """The request's body is the app's: not one message of it is read before."""
    auth = make_auth()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = b"".join([part async for part in Request(scope, receive).stream()])
        await PlainTextResponse(body)(scope, receive, send)

    parts: list[Message] = [
        {"type": "http.request", "body": b"one ", "more_body": True},
        {"type": "http.request", "body": b"two", "more_body": False},
    ]
    answer = await exchange(JWTMiddleware(app, auth), http_scope(method="POST", headers=authorization(auth)), *parts)
    assert answer.body == b"one two"


async def test_background_tasks() -> None:
    """A background task runs after the response is out, with the claims still in its scope."""
    auth = make_auth()
    order: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        task = BackgroundTask(lambda: order.append(f"task of {scope['claims'].subject}"))
        await PlainTextResponse("", background=task)(scope, receive, send)

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        order.append(message["type"])

    await JWTMiddleware(app, auth)(http_scope(headers=authorization(auth)), receive, send)
    assert order == ["http.response.start", "http.response.body", "task of alice"]


_tenant: ContextVar[str] = ContextVar("_tenant", default="none")


async def test_context_variables() -> None:
    """Context variables pass inwards and outwards, with a token to verify and with one seen before."""
    auth = make_auth()
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(_tenant.get())
        _tenant.set("inside")

    middleware = JWTMiddleware(app, auth)
    headers = authorization(auth)
    for outside in ("first", "second"):
        _tenant.set(outside)
        await exchange(middleware, http_scope(headers=headers))
        assert _tenant.get() == "inside"
    assert seen == ["first", "second"]


async def test_exceptions() -> None:
    """The app's own exception comes out as it is, an `AuthError` too: only the middleware's own become answers."""
    auth = make_auth()

    class Boom(Exception):
        pass

    for error in (Boom(), ExpiredToken()):

        async def app(scope: Scope, receive: Receive, send: Send, error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            await exchange(JWTMiddleware(app, auth), http_scope(headers=authorization(auth)))
        assert caught.value is error


async def test_cancellation() -> None:
    """A cancelled request is cancelled in the app."""
    auth = make_auth()
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    started = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange, JWTMiddleware(app, auth), http_scope(headers=authorization(auth)))
        await started.wait()
        tasks.cancel_scope.cancel()
    assert ended == ["cancelled"]
