"""Scopes and roles: who may do what."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Scope
from starlette.websockets import WebSocket
from support.app import NO_TOKEN, Recorder, authorization, exchange, http_scope, make_auth, make_token, websocket_scope

from asgi_jwt import Auth, AuthError, JWTMiddleware, RequireMiddleware, require
from asgi_jwt.errors import InsufficientRole, InsufficientScope, MissingToken
from asgi_jwt.http.require import Require

pytestmark = pytest.mark.anyio

LACKING = 'error="insufficient_scope", error_description="The access token lacks a required scope"'


async def scope_of(auth: Auth, **identity: Any) -> Scope:
    """The scope that the app gets of a request by alice; without an identity, by nobody."""
    scope = http_scope(headers=authorization(auth, **identity) if identity else {})
    await exchange(JWTMiddleware(Recorder(), auth, optional=True), scope)
    return scope


# What is required, the scopes and the roles that the token has, and the error of a lack.
REQUIRED: list[tuple[Require, str, list[str], type[AuthError] | None]] = [
    (require(), "", [], None),
    (require("a"), "a", [], None),
    (require("a"), "a b", [], None),
    (require("a", "b"), "b a c", [], None),
    (require("a b"), "b a", [], None),
    (require("a", "b"), "a", [], InsufficientScope),
    (require("a b"), "a", [], InsufficientScope),
    (require("a"), "", [], InsufficientScope),
    (require("a"), "ab", [], InsufficientScope),
    (require("orders"), "orders:read", [], InsufficientScope),
    (require("a"), "A", [], InsufficientScope),
    (require(roles=("admin", "clerk")), "", ["clerk"], None),
    (require(roles="admin"), "", ["admin"], None),
    (require(roles=("admin", "clerk")), "", ["reader"], InsufficientRole),
    (require(roles="admin"), "", ["a"], InsufficientRole),
    (require(roles="admin"), "", [], InsufficientRole),
    (require("a", roles=["admin"]), "a", ["admin"], None),
    (require("a", roles=["admin"]), "", ["admin"], InsufficientScope),
    (require("a", roles=["admin"]), "a", [], InsufficientRole),
]


@pytest.mark.parametrize(("required", "scopes", "roles", "lack"), REQUIRED)
async def test_scopes_and_roles(required: Require, scopes: str, roles: list[str], lack: type[AuthError] | None) -> None:
    """All of the scopes are needed, each as it is spelled, and any of the roles; several scopes may stand in one
    string, and a string is one role. Where both are required, both are needed."""
    scope = await scope_of(make_auth(), scopes=scopes, roles=roles)
    if lack is None:
        assert required.check(scope) is scope["claims"]
    else:
        with pytest.raises(lack):
            required.check(scope)


async def test_nobody() -> None:
    """Nobody meets no requirement, not even that of no scopes and roles."""
    with pytest.raises(MissingToken):
        require().check(await scope_of(make_auth()))


async def test_called_with_a_connection() -> None:
    """Called, it gives the claims or raises Starlette's exception with the challenge."""
    auth = make_auth(dpop="off")
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
    auth = make_auth()
    guarded = JWTMiddleware(RequireMiddleware(Recorder(), roles=["admin"]), auth)
    answer = await exchange(guarded, http_scope(headers=authorization(auth)))
    assert (answer.status, "admin" in f"{answer.body!r}{answer.challenge}") == (403, False)
    assert (await exchange(guarded, http_scope(headers=authorization(auth, roles=["admin"])))).status == 200


@pytest.mark.parametrize("options", [{"public": ["/"]}, {"optional": True}])
async def test_middleware_and_nobody(options: dict[str, Any]) -> None:
    """Nobody, on a public path or where a token is optional, gets a 401 without an error code; the app is not called,
    and the refusal is an event, as is one of too little."""
    events: list[Any] = []
    auth, app = Auth(make_auth().settings, on_event=events.append), Recorder()
    guarded = JWTMiddleware(RequireMiddleware(app, scopes="admin"), auth, **options)
    answer = await exchange(guarded, http_scope())
    assert (answer.status, answer.challenge, answer.json()) == (401, 'Bearer realm="api"', NO_TOKEN)
    await exchange(guarded, http_scope("/orders", headers=authorization(auth)))
    assert [event.reason for event in events] == ["token_missing", "scope_insufficient"]
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


async def test_what_require_returns_may_be_awaited() -> None:
    """A caller that awaits the answer, as FastAPI does, gets the same claims."""
    auth = make_auth()
    claims: Any = require("a")(HTTPConnection(await scope_of(auth, scopes="a")))
    assert await claims is claims
    assert claims.subject == "alice"


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
    (lambda: require(roles=""), "would let everyone in"),
    (lambda: RequireMiddleware(Recorder(), scopes="  "), "would let everyone in"),
    (lambda: RequireMiddleware(Recorder(), scopes=[""]), "would let everyone in"),
    (lambda: RequireMiddleware(Recorder(), scopes=None), "scopes are a string or a list of strings, not None"),  # type: ignore[arg-type]
    (lambda: RequireMiddleware(Recorder(), scopes=[1]), "and one in the list is int"),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("make", "told"), WRONG)
def test_the_error_names_what_was_given(make: Callable[[], object], told: str) -> None:
    """Arguments that name no scopes or roles, as from an empty setting, open no route: they raise where
    the check is made, with what was given and what to give."""
    with pytest.raises((TypeError, ValueError), match=re.escape(told)):
        make()
