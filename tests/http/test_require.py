"""Scopes and roles: who may do what."""

import re
import threading
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient as FastAPIClient
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Message, Scope
from starlette.websockets import WebSocket
from support.app import NO_TOKEN, Recorder, authorization, exchange, http_scope, make_auth, make_token, websocket_scope

from asgi_jwt import Auth, Claims, JWTMiddleware, RequireMiddleware, require
from asgi_jwt.errors import InsufficientRole, InsufficientScope, MissingToken
from asgi_jwt.http.require import Require

pytestmark = pytest.mark.anyio

LACKING = 'error="insufficient_scope", error_description="The access token lacks a required scope"'


async def scope_of(auth: Auth, **identity: Any) -> Scope:
    """The scope that the app gets of a request by alice; without an identity, by nobody."""
    scope = http_scope(headers=authorization(auth, **identity) if identity else {})
    await exchange(JWTMiddleware(Recorder(), auth, optional=True), scope)
    return scope


@pytest.mark.parametrize(
    ("required", "granted", "enough"),
    [
        ((), "", True),
        (("a",), "a", True),
        (("a",), "a b", True),
        (("a", "b"), "b a c", True),
        (("a", "b"), "a", False),
        (("a",), "", False),
        (("a",), "ab", False),
        (("orders",), "orders:read", False),
        (("a",), "A", False),
    ],
)
async def test_scopes(required: tuple[str, ...], granted: str, enough: bool) -> None:
    """All of the scopes are needed, each as it is spelled."""
    scope = await scope_of(make_auth(), scopes=granted)
    if enough:
        assert require(*required).check(scope) is scope["claims"]
    else:
        with pytest.raises(InsufficientScope) as refused:
            require(*required).check(scope)
        assert refused.value.scope == " ".join(required)


@pytest.mark.parametrize(
    ("required", "granted", "enough"),
    [
        ((), [], True),
        (("admin", "clerk"), ["clerk"], True),
        ("admin", ["admin"], True),
        (("admin", "clerk"), ["reader"], False),
        ("admin", ["a"], False),
        ("admin", [], False),
    ],
)
async def test_roles(required: str | tuple[str, ...], granted: list[str], enough: bool) -> None:
    """Any of the roles is enough; a string is one role."""
    scope = await scope_of(make_auth(), roles=granted)
    if enough:
        assert require(roles=required).check(scope) is scope["claims"]
    else:
        with pytest.raises(InsufficientRole):
            require(roles=required).check(scope)


async def test_scopes_and_roles() -> None:
    """Where both are required, both are needed."""
    required = require("a", roles=["admin"])
    auth = make_auth()
    assert required.check(await scope_of(auth, scopes="a", roles=["admin"]))
    with pytest.raises(InsufficientScope):
        required.check(await scope_of(auth, roles=["admin"]))
    with pytest.raises(InsufficientRole):
        required.check(await scope_of(auth, scopes="a"))


async def test_nobody() -> None:
    """Nobody meets no requirement, not even that of no scopes and roles."""
    with pytest.raises(MissingToken):
        require().check(await scope_of(make_auth()))


async def test_called_with_a_connection() -> None:
    """Called, it gives the claims or raises Starlette's exception with the challenge."""
    auth = make_auth()
    scope = await scope_of(auth, scopes="a")
    assert require("a")(HTTPConnection(scope)) is scope["claims"]
    with pytest.raises(HTTPException) as refused:
        require("a", "b")(HTTPConnection(scope))
    assert (refused.value.status_code, refused.value.detail) == (403, "The access token lacks a required scope")
    assert refused.value.headers == {
        "WWW-Authenticate": f'Bearer realm="api", {LACKING}, scope="a b"',
        "Cache-Control": "no-store",
    }
    with pytest.raises(HTTPException) as refused:
        require("a")(HTTPConnection(await scope_of(auth)))
    assert refused.value.status_code == 401
    assert refused.value.headers == {"WWW-Authenticate": 'Bearer realm="api"', "Cache-Control": "no-store"}


@pytest.mark.parametrize("forged", [{}, {"claims": {"scope": "a"}, "user": "alice"}])
async def test_without_the_middleware(forged: dict[str, Any]) -> None:
    """Where no middleware verified anything, nothing is let in: it is an error, whatever the scope says."""
    with pytest.raises(RuntimeError, match="require needs JWTMiddleware around the app"):
        require()(HTTPConnection(http_scope(**forged)))
    app = Recorder()
    for scope in (http_scope(**forged), websocket_scope(**forged)):
        with pytest.raises(RuntimeError, match="require needs JWTMiddleware around the app"):
            await exchange(RequireMiddleware(app), scope)
    assert app.calls == []


def test_fastapi() -> None:
    """In FastAPI it is a dependency, for requests and for sockets."""
    auth = make_auth()
    app = FastAPI()
    app.add_middleware(JWTMiddleware, auth=auth, public=["/public"])

    @app.get("/orders")
    async def orders(user: Annotated[Claims, Depends(require("orders:read"))]) -> str:
        return user.subject

    @app.get("/public", dependencies=[Depends(require())])
    async def public() -> None:
        raise AssertionError

    @app.websocket("/feed")
    async def feed(websocket: WebSocket, user: Annotated[Claims, Depends(require("orders:read"))]) -> None:
        await websocket.accept()
        await websocket.send_text(user.subject)
        await websocket.close()

    client = FastAPIClient(app)
    reader = authorization(auth, scopes="orders:read")
    assert client.get("/orders", headers=reader).json() == "alice"
    refused = client.get("/orders", headers=authorization(auth))
    assert (refused.status_code, refused.headers["www-authenticate"]) == (
        403,
        f'Bearer realm="api", {LACKING}, scope="orders:read"',
    )
    nobody = client.get("/public")
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, 'Bearer realm="api"')
    with client.websocket_connect("/feed", headers=reader) as session:
        assert session.receive_text() == "alice"
    with pytest.raises(WebSocketDenialResponse) as denied:
        client.websocket_connect("/feed", headers=authorization(auth)).__enter__()
    assert denied.value.status_code == 403


def test_openapi_of_fastapi() -> None:
    """FastAPI makes its document of an app with requirements: they add no parameters to it."""
    app = FastAPI()

    @app.get("/orders")
    async def orders(user: Annotated[Claims, Depends(require("orders:read"))]) -> None: ...

    assert "parameters" not in app.openapi()["paths"]["/orders"]["get"]


@pytest.mark.parametrize("scopes", ["orders:write admin", ["orders:write", "admin"]])
async def test_middleware(scopes: str | list[str]) -> None:
    """Around any app it answers itself: 403 with the scopes that are needed, in the challenge and in the body."""
    auth, app = make_auth(), Recorder()
    guarded = JWTMiddleware(RequireMiddleware(app, scopes=scopes), auth)
    for scope in (http_scope(headers=authorization(auth)), websocket_scope(headers=authorization(auth))):
        answer = await exchange(guarded, scope)
        assert answer.status == 403
        assert answer.challenge == f'Bearer realm="api", {LACKING}, scope="orders:write admin"'
        assert answer.json()["error"] == "insufficient_scope"
        assert answer.headers["cache-control"] == "no-store"
    closed = await exchange(guarded, websocket_scope(headers=authorization(auth), denial=False))
    assert closed.messages == [{"type": "websocket.close", "code": 3003, "reason": ""}]
    assert app.calls == []
    assert (await exchange(guarded, http_scope(headers=authorization(auth, scopes="admin orders:write")))).status == 200


async def test_middleware_with_roles() -> None:
    """Roles are answered alike, and named to nobody."""
    auth, app = make_auth(), Recorder()
    guarded = JWTMiddleware(RequireMiddleware(app, roles=["admin"]), auth)
    answer = await exchange(guarded, http_scope(headers=authorization(auth)))
    assert answer.status == 403
    assert b"admin" not in answer.body
    assert answer.challenge is not None
    assert "admin" not in answer.challenge
    assert (await exchange(guarded, http_scope(headers=authorization(auth, roles=["admin"])))).status == 200


async def test_middleware_and_nobody() -> None:
    """Nobody, on a public path or where a token is optional, gets a 401 without an error code."""
    auth, app = make_auth(), Recorder()
    for options in ({"public": ["/"]}, {"optional": True}):
        guarded = JWTMiddleware(RequireMiddleware(app), auth, **options)
        answer = await exchange(guarded, http_scope())
        assert (answer.status, answer.challenge, answer.json()) == (401, 'Bearer realm="api"', NO_TOKEN)
    assert app.calls == []


async def test_middleware_and_lifespan() -> None:
    """The lifespan passes."""
    app = Recorder()
    scope: Scope = {"type": "lifespan"}
    await exchange(RequireMiddleware(app, scopes="a"), scope)
    assert app.calls[0][0] is scope


def test_middleware_of_a_route() -> None:
    """Around one route of Starlette it guards that one alone."""

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(request.user.identity)

    async def feed(websocket: WebSocket) -> None:
        raise AssertionError

    auth = make_auth()
    guard = [Middleware(RequireMiddleware, scopes="admin")]
    routes = [Route("/open", endpoint), Route("/shut", endpoint, middleware=guard)]
    app = Starlette(routes=[*routes, WebSocketRoute("/feed", feed, middleware=guard)])
    app.add_middleware(JWTMiddleware, auth=auth)
    client = TestClient(app)
    headers = {"authorization": f"Bearer {make_token(auth)}"}
    assert client.get("/open", headers=headers).text == "alice"
    assert client.get("/shut", headers=headers).status_code == 403
    assert client.get("/shut", headers=authorization(auth, scopes="admin")).text == "alice"
    with pytest.raises(WebSocketDenialResponse) as denied:
        client.websocket_connect("/feed", headers=headers).__enter__()
    assert denied.value.status_code == 403


@pytest.mark.parametrize(("scopes", "roles"), [(("",), ()), ((" ",), ()), ((), []), ((), "")])
def test_what_would_ask_for_nothing_is_refused(scopes: tuple[str, ...], roles: Any) -> None:
    """Scopes or roles that were given but are empty, as from an empty setting, don't open the route."""
    with pytest.raises(ValueError, match="would let everyone in"):
        require(*scopes, roles=roles)
    with pytest.raises(ValueError, match="would let everyone in"):
        RequireMiddleware(Recorder(), scopes=list(scopes) or "  ")


async def test_several_scopes_in_one_string_are_several() -> None:
    """`require("a b")` asks for both, as an `Identity` of that scope has both."""
    auth = make_auth()
    with pytest.raises(InsufficientScope):
        require("a b").check(await scope_of(auth, scopes="a"))
    assert require("a b").check(await scope_of(auth, scopes="b a")).subject == "alice"


@pytest.mark.parametrize(("granted", "reason"), [("", "scope_insufficient"), (None, "token_missing")])
async def test_a_refusal_of_require_middleware_is_an_event(granted: str | None, reason: str) -> None:
    """`RequireMiddleware` tells of what it refuses as `JWTMiddleware` does."""
    events: list[Any] = []
    auth = Auth(make_auth().settings, on_event=events.append)
    guarded = JWTMiddleware(RequireMiddleware(Recorder(), scopes="admin"), auth, optional=True)
    await exchange(guarded, http_scope(headers={} if granted is None else authorization(auth, scopes=granted)))
    assert [event.reason for event in events] == [reason]


async def test_what_require_returns_may_be_awaited() -> None:
    """A caller that awaits the answer, as FastAPI does, gets the same claims."""
    auth = make_auth()
    claims: Any = require("a")(HTTPConnection(await scope_of(auth, scopes="a")))
    assert await claims is claims
    assert claims.subject == "alice"


def test_fastapi_runs_it_in_no_thread() -> None:
    """As a dependency it runs in the event loop's own thread: no request waits for one that is free."""
    threads: list[int] = []

    class Watching(Require):
        def check(self, scope: Scope, *more: str) -> Claims:
            threads.append(threading.get_ident())
            return super().check(scope, *more)

    app = FastAPI()

    @app.get("/")
    async def me(user: Annotated[Claims, Depends(Watching((), ()))]) -> str:
        threads.append(threading.get_ident())
        return user.subject

    auth = make_auth()
    with FastAPIClient(JWTMiddleware(app, auth)) as client:
        assert client.get("/", headers=authorization(auth)).json() == "alice"
    assert len(threads) == 2
    assert len(set(threads)) == 1


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: require(["a", "b"]), "as require('a', 'b'), and was given list"),  # type: ignore[arg-type]
    (lambda: require(None), "takes each scope as a string, as require('a', 'b'), and was given None"),  # type: ignore[arg-type]
    (lambda: require(Request(http_scope())), "was given a Request: require(...) makes the check"),  # type: ignore[arg-type]
    (lambda: require(http_scope()), "was given a dict: require(...) makes the check"),  # type: ignore[arg-type]
    (lambda: require(roles=None), "roles are a string or a list of strings, not None"),  # type: ignore[arg-type]
    (lambda: require(roles={"admin": False}), "roles are a string or a list of strings, not dict"),
    (lambda: require(roles=[]), "roles were given, and none of them has a name"),
    (lambda: require(roles=[" "]), "roles were given, and none of them has a name"),
    (lambda: require("", " "), "scopes were given, and none of them has a name"),
    (lambda: RequireMiddleware(Recorder(), scopes=None), "scopes are a string or a list of strings, not None"),  # type: ignore[arg-type]
    (lambda: RequireMiddleware(Recorder(), scopes=[1]), "and one in the list is int"),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("make", "told"), WRONG)
def test_the_error_names_what_was_given(make: Callable[[], object], told: str) -> None:
    """Arguments that name no scopes or roles raise where the check is made, with what was given and what to give."""
    with pytest.raises((TypeError, ValueError), match=re.escape(told)):
        make()


async def test_a_fault_that_shows_at_the_start_ends_it() -> None:
    """Starlette builds its middleware at the first event: the server hears that the start failed, and why."""
    recorder, sent = Recorder(), list[Message]()
    app = Starlette(routes=[Mount("/", recorder)])
    app.add_middleware(RequireMiddleware, scopes=" ")

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(ValueError, match="would let everyone in") as raised:
        await app({"type": "lifespan"}, receive, send)
    assert sent == [{"type": "lifespan.startup.failed", "message": str(raised.value)}]
    with pytest.raises(ValueError, match="would let everyone in"):
        await exchange(app, http_scope())
    assert recorder.calls == []
