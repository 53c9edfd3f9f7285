"""What the app finds in the scope, and that the middleware is otherwise not there."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from driver import CONNECT, Guarded, Recorder, bearer, exchange, http_scope, make_auth, make_token, websocket_scope
from starlette.applications import Starlette
from starlette.authentication import UnauthenticatedUser, requires
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asgi_jwt import Claims, JWTMiddleware
from asgi_jwt.errors import ExpiredToken

pytestmark = pytest.mark.anyio


async def test_scope_of_a_user() -> None:
    """The claims, the user, who are the same, and the credentials are set in the very scope that was handed in."""
    guarded = Guarded()
    for scope in (
        http_scope(headers=bearer(guarded.auth, scopes="a b")),
        websocket_scope(headers=bearer(guarded.auth)),
    ):
        await exchange(guarded.middleware, scope)
        assert guarded.app.calls[-1][0] is scope
        assert type(scope["claims"]) is Claims
        assert scope["user"] is scope["claims"]
        assert scope["auth"] is scope["claims"].credentials
        connection = HTTPConnection(scope)
        assert (connection.user.is_authenticated, connection.user.identity) == (True, "alice")
        assert connection.auth.scopes == tuple(connection.user.credentials.scopes)


async def test_scope_of_nobody() -> None:
    """Nobody has no claims, is Starlette's unauthenticated user, one for each request, and has no scopes."""
    guarded = Guarded(optional=True)
    users = []
    for scope in (http_scope(), websocket_scope()):
        await exchange(guarded.middleware, scope)
        assert scope["claims"] is None
        assert type(scope["user"]) is UnauthenticatedUser
        assert scope["auth"].scopes == ()
        users.append(scope["user"])
    assert users[0] is not users[1]


async def test_scope_of_an_impostor() -> None:
    """What stood in the scope before is overwritten, for users and for nobody."""
    guarded = Guarded(optional=True)
    forged: dict[str, Any] = {"claims": {"sub": "admin"}, "user": "admin", "auth": "admin"}
    scope = http_scope(**forged)
    await exchange(guarded.middleware, scope)
    assert (scope["claims"], scope["user"].is_authenticated, scope["auth"].scopes) == (None, False, ())
    scope = http_scope(headers=bearer(guarded.auth), **forged)
    await exchange(guarded.middleware, scope)
    assert (scope["claims"].subject, scope["user"].identity, scope["auth"].scopes) == ("alice", "alice", ())


ATTACKS: dict[str, Callable[[Scope], object]] = {
    "claims item": lambda scope: scope["claims"].__setitem__("sub", "admin"),
    "claims attribute": lambda scope: setattr(scope["claims"], "is_admin", True),
    "claims subject": lambda scope: setattr(scope["claims"], "subject", "admin"),
    "claims members": lambda scope: setattr(scope["claims"], "_members", {"sub": "admin"}),
    "claims deletion": lambda scope: delattr(scope["claims"], "credentials"),
    "claims list": lambda scope: scope["claims"]["roles"].append("admin"),
    "claims list item": lambda scope: scope["claims"]["roles"].__setitem__(0, "admin"),
    "claims object": lambda scope: scope["claims"]["org"].__setitem__("owner", True),
    "claims deep list": lambda scope: scope["claims"]["org"]["teams"].append("admin"),
    "claims deep object": lambda scope: scope["claims"]["org"]["teams"][0].__setitem__("lead", True),
    "claims roles": lambda scope: scope["claims"].roles.add("admin"),
    "claims scopes": lambda scope: scope["claims"].scopes.add("admin"),
    "user attribute": lambda scope: setattr(scope["user"], "is_authenticated", False),
    "user name": lambda scope: setattr(scope["user"], "display_name", "admin"),
    "user dict": lambda scope: scope["user"].__dict__.update(is_admin=True),
    "user credentials": lambda scope: setattr(scope["user"], "credentials", "admin"),
    "auth append": lambda scope: scope["auth"].scopes.append("admin"),
    "auth item": lambda scope: scope["auth"].scopes.__setitem__(0, "admin"),
    "auth scopes": lambda scope: setattr(scope["auth"], "scopes", ("admin",)),
    "auth attribute": lambda scope: setattr(scope["auth"], "admin", True),
    "auth dict": lambda scope: scope["auth"].__dict__.update(scopes=("admin",)),
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_shared_by_requests_and_changed_by_none(name: str) -> None:
    """Requests with one token share one object, and no handler can change what the next of them sees."""
    guarded = Guarded()
    identity: dict[str, Any] = {
        "scopes": "orders:read",
        "roles": ["reader"],
        "claims": {"org": {"owner": False, "teams": [{"lead": False}]}},
    }
    headers = bearer(guarded.auth, **identity)
    first, second = http_scope(headers=headers), http_scope(headers=headers)
    await exchange(guarded.middleware, first)
    before = first["claims"].to_dict()
    with pytest.raises((AttributeError, TypeError)):
        ATTACKS[name](first)
    await exchange(guarded.middleware, second)
    assert second["claims"] is first["claims"]
    assert second["claims"].to_dict() == before
    assert (second["user"].identity, second["user"].roles) == ("alice", {"reader"})
    assert (second["user"].is_authenticated, second["auth"].scopes) == (True, ("orders:read",))


async def test_a_copy_to_change() -> None:
    """What a handler changes in its own copy, or in the scope's keys, stays its own."""
    guarded = Guarded()
    headers = bearer(guarded.auth, roles=["reader"])
    first, second = http_scope(headers=headers), http_scope(headers=headers)
    await exchange(guarded.middleware, first)
    first["claims"].to_dict()["roles"].append("admin")
    first["claims"] = first["user"] = first["auth"] = "admin"
    await exchange(guarded.middleware, second)
    assert second["claims"].roles == {"reader"}
    assert second["user"].identity == "alice"


async def test_nobody_can_be_changed_into_somebody() -> None:
    """An attribute put on one request's nobody is not there on the next one's."""
    guarded = Guarded(optional=True)
    first, second = http_scope(), http_scope()
    await exchange(guarded.middleware, first)
    first["user"].is_admin = True
    with pytest.raises(AttributeError):
        first["auth"].scopes = ("admin",)
    await exchange(guarded.middleware, second)
    assert not hasattr(second["user"], "is_admin")
    assert second["auth"].scopes == ()


@pytest.mark.parametrize("kind", ["lifespan", "webtransport", "http.disconnect", "HTTP", ""])
async def test_other_scopes_pass_untouched(kind: str) -> None:
    """Lifespan and unknown scope types reach the app with the very same objects, nothing added."""
    guarded = Guarded(optional=True, public=["/*"])
    scope: Scope = {"type": kind, "asgi": {"version": "3.0"}, "path": "/"}

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    await guarded.middleware(scope, receive, send)
    ((called, receives, sends),) = guarded.app.calls
    assert called is scope
    assert (receives, sends) == (receive, send)
    assert scope == {"type": kind, "asgi": {"version": "3.0"}, "path": "/"}


@pytest.mark.parametrize("token_sources", ["header", "header,subprotocol,cookie:token"])
async def test_the_same_receive_and_send(token_sources: str) -> None:
    """A request's app, and a socket's that offers no `bearer`, talk to the server with nothing between."""
    guarded = Guarded(make_auth(token_sources=token_sources), public=["/public"])

    async def receive() -> Message:
        return CONNECT

    async def send(message: Message) -> None:
        sent.append(message)

    sent: list[Message] = []
    headers = bearer(guarded.auth)
    for scope in (http_scope(headers=headers), http_scope("/public"), websocket_scope(headers=headers)):
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
        assert client.get("/", headers=bearer(auth)).text == "here"
        assert client.get("/").status_code == 401
    assert told == ["up", "down"]


def test_requires_of_starlette() -> None:
    """Starlette's own `@requires` works on the scopes, for requests inside and outside of mounts."""

    @requires("orders:read")
    async def read(request: Request) -> Response:
        return PlainTextResponse(request.user.display_name)

    @requires(["authenticated", "orders:write"], status_code=404)
    def write(request: Request) -> Response:
        raise AssertionError

    auth = make_auth()
    routes = [Route("/read", read), Mount("/deep", routes=[Route("/read", read), Route("/write", write)])]
    app = Starlette(routes=routes, middleware=[Middleware(JWTMiddleware, auth=auth, optional=True)])
    client = TestClient(app)
    reader = bearer(auth, scopes="orders:read", claims={"name": "Alice"})
    for path in ("/read", "/deep/read"):
        assert client.get(path, headers=reader).text == "Alice"
        assert client.get(path, headers=bearer(auth)).status_code == 403
        assert client.get(path).status_code == 403
    assert client.get("/deep/write", headers=reader).status_code == 404


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
    await exchange(app, http_scope("/orders/1", headers=bearer(auth)))
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
    assert client.get("/", headers={"origin": "https://app.example", **bearer(auth)}).status_code == 200


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

    await JWTMiddleware(app, auth)(http_scope(headers=bearer(auth)), receive, send)
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
    answer = await exchange(JWTMiddleware(app, auth), http_scope(method="POST", headers=bearer(auth)), *parts)
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

    await JWTMiddleware(app, auth)(http_scope(headers=bearer(auth)), receive, send)
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
    headers = bearer(auth)
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
            await exchange(JWTMiddleware(app, auth), http_scope(headers=bearer(auth)))
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
        tasks.start_soon(exchange, JWTMiddleware(app, auth), http_scope(headers=bearer(auth)))
        await started.wait()
        tasks.cancel_scope.cancel()
    assert ended == ["cancelled"]


async def test_racing_requests() -> None:
    """Users at the same time, with tokens old and new, each find themselves in their scope."""
    auth = make_auth()
    gate = anyio.Event()
    found: dict[str, str] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        found[scope["path"]] = scope["claims"].subject
        await JSONResponse({})(scope, receive, send)

    middleware = JWTMiddleware(app, auth)
    tokens = {f"user{number}": make_token(auth, f"user{number}") for number in range(8)}
    async with anyio.create_task_group() as tasks:
        for turn in range(3):
            for name, token in tokens.items():
                scope = http_scope(f"/{turn}/{name}", headers={"authorization": f"Bearer {token}"})
                tasks.start_soon(exchange, middleware, scope)
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert len(found) == 24
    assert all(path.endswith(f"/{name}") for path, name in found.items())


async def test_two_middlewares() -> None:
    """Nested, the inner one decides for what it wraps: its own audience, its own scope."""
    outer, inner = make_auth(), make_auth(audience="https://inner.example")
    app = Recorder()
    nested = JWTMiddleware(JWTMiddleware(app, inner), outer, optional=True)
    assert (await exchange(nested, http_scope(headers=bearer(outer)))).status == 401
    both = make_auth(audience="https://api.example,https://inner.example")
    assert (await exchange(nested, http_scope(headers=bearer(both, "bob")))).status == 200
    assert app.subject == "bob"
