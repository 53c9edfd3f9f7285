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
from support.app import CONNECT, Answer, Guarded, authorization, exchange, http_scope, make_auth, websocket_scope

from asgi_jwt import JWTMiddleware
from asgi_jwt.errors import ExpiredToken

pytestmark = pytest.mark.anyio


async def through(app: ASGIApp, *incoming: Message) -> Answer:
    """Alice's request to an app behind the middleware."""
    auth = make_auth()
    return await exchange(JWTMiddleware(app, auth), http_scope(headers=authorization(auth)), *incoming)


@pytest.mark.parametrize("token_sources", ["header", "header,subprotocol,cookie:token"])
async def test_the_same_objects(token_sources: str) -> None:
    """The lifespan, a request, and a socket that no token let in talk to the server with nothing between, and nothing
    is added to the lifespan's scope."""
    guarded = Guarded(make_auth(token_sources=token_sources), public=["/public"])

    async def receive() -> Message:
        return CONNECT

    async def send(message: Message) -> None:
        sent.append(message)

    sent: list[Message] = []
    headers = authorization(guarded.auth)
    lifespan: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
    public = [http_scope("/public"), websocket_scope("/public", headers=headers)]
    for scope in (lifespan, http_scope(headers=headers), *public):
        await guarded.middleware(scope, receive, send)
        called, *ends = guarded.app.calls[-1]
        assert (called is scope, ends) == (True, [receive, send])
    assert (lifespan, len(sent)) == ({"type": "lifespan", "asgi": {"version": "3.0"}}, 5)


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
    app = JWTMiddleware(Starlette(routes=[Route("/orders/{number}", endpoint)]), auth)
    scope = http_scope("/orders/1", headers=authorization(auth))
    await exchange(app, scope)
    assert (scope["endpoint"], scope["path_params"], scope["claims"].subject) == (endpoint, {"number": "1"}, "alice")


def test_cors_outside() -> None:
    """`CORSMiddleware` outside gives a 401 its headers, and answers preflights, which bear no token."""
    guarded, site = Guarded(), "https://app.example"
    client = TestClient(CORSMiddleware(guarded.middleware, allow_origins=[site], allow_headers=["authorization"]))
    origin = {"origin": site}
    asked = {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}
    answers = [client.get("/", headers=origin), client.options("/", headers={**origin, **asked})]
    answers.append(client.get("/", headers={**origin, **authorization(guarded.auth)}))
    assert [answer.status_code for answer in answers] == [401, 200, 200]
    assert {answer.headers["access-control-allow-origin"] for answer in answers} == {site}
    assert len(guarded.app.calls) == 1


async def test_streaming() -> None:
    """A response streams: each part is out before the app makes the next, and a background task runs after it, with
    the claims still in its scope."""
    order: list[str] = []

    async def parts() -> AsyncIterator[bytes]:
        for number in (b"0", b"1"):
            order.append("made")
            yield number

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        task = BackgroundTask(lambda: order.append(f"task of {scope['claims'].subject}"))
        await StreamingResponse(parts(), background=task)(scope, receive, send)

    async def send(message: Message) -> None:
        order.append(message.get("body", b"start").decode() or "end")

    async def receive() -> Message:
        raise AssertionError

    auth = make_auth()
    await JWTMiddleware(app, auth)(http_scope(headers=authorization(auth)), receive, send)
    assert order == ["start", "made", "0", "made", "1", "end", "task of alice"]


async def test_request_body_streams() -> None:
    """The request's body is the app's: not one message of it is read before."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = b"".join([part async for part in Request(scope, receive).stream()])
        await PlainTextResponse(body)(scope, receive, send)

    parts: list[Message] = [
        {"type": "http.request", "body": b"one ", "more_body": True},
        {"type": "http.request", "body": b"two", "more_body": False},
    ]
    assert (await through(app, *parts)).body == b"one two"


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


@pytest.mark.parametrize("error", [LookupError(), ExpiredToken()])
async def test_exceptions(error: Exception) -> None:
    """The app's own exception comes out as it is, an `AuthError` too: only the middleware's own become answers."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await through(app)
    assert caught.value is error


async def test_cancellation() -> None:
    """A cancelled request is cancelled in the app."""
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    started = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(through, app)
        await started.wait()
        tasks.cancel_scope.cancel()
    assert ended == ["cancelled"]
