"""What the app finds in the scope, and that no request can change what another finds."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.authentication import UnauthenticatedUser, requires
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from support.app import Guarded, Recorder, authorization, exchange, http_scope, make_auth, make_token, websocket_scope

from asgi_jwt import Claims, JWTMiddleware

pytestmark = pytest.mark.anyio


async def test_scope_of_a_user() -> None:
    """The claims, the user, who are the same, and the credentials are set in the very scope that was handed in."""
    guarded = Guarded()
    for scope in (
        http_scope(headers=authorization(guarded.auth, scopes="a b")),
        websocket_scope(headers=authorization(guarded.auth)),
    ):
        await exchange(guarded.middleware, scope)
        assert guarded.app.calls[-1][0] is scope
        assert type(scope["claims"]) is Claims
        assert scope["user"] is scope["claims"]
        assert scope["auth"] is scope["claims"].credentials
        connection = HTTPConnection(scope)
        assert (connection.user.is_authenticated, connection.user.identity) == (True, "alice")
        assert connection.auth.scopes == tuple(connection.user.credentials.scopes)


@pytest.mark.parametrize("forged", [{}, {"claims": {"sub": "admin"}, "user": "admin", "auth": "admin"}])
async def test_scope_of_nobody(forged: dict[str, Any]) -> None:
    """Nobody has no claims, is Starlette's unauthenticated user, one for each request, and has no scopes. What stood in
    the scope before is overwritten, for users and for nobody."""
    guarded = Guarded(optional=True)
    users = []
    for scope in (http_scope(**forged), websocket_scope(**forged)):
        await exchange(guarded.middleware, scope)
        assert (scope["claims"], type(scope["user"]), scope["auth"].scopes) == (None, UnauthenticatedUser, ())
        users.append(scope["user"])
    assert users[0] is not users[1]
    scope = http_scope(headers=authorization(guarded.auth), **forged)
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
    headers = authorization(guarded.auth, **identity)
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


async def test_what_a_handler_may_change_stays_its_own() -> None:
    """What a handler changes in its own copy, in the scope's keys, or on its request's nobody is not there for the
    next one."""
    guarded = Guarded(optional=True)
    headers = authorization(guarded.auth, roles=["reader"])
    first, second, nobody, next_one = [http_scope(headers=each) for each in (headers, headers, {}, {})]
    await exchange(guarded.middleware, first)
    first["claims"].to_dict()["roles"].append("admin")
    first["claims"] = first["user"] = first["auth"] = "admin"
    await exchange(guarded.middleware, second)
    assert (second["claims"].roles, second["user"].identity) == ({"reader"}, "alice")
    await exchange(guarded.middleware, nobody)
    nobody["user"].is_admin = True
    with pytest.raises(AttributeError):
        nobody["auth"].scopes = ("admin",)
    await exchange(guarded.middleware, next_one)
    assert (hasattr(next_one["user"], "is_admin"), next_one["auth"].scopes) == (False, ())


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
    reader = authorization(auth, scopes="orders:read", claims={"name": "Alice"})
    for path in ("/read", "/deep/read"):
        assert client.get(path, headers=reader).text == "Alice"
        assert client.get(path, headers=authorization(auth)).status_code == 403
        assert client.get(path).status_code == 403
    assert client.get("/deep/write", headers=reader).status_code == 404


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
    assert (await exchange(nested, http_scope(headers=authorization(outer)))).status == 401
    both = make_auth(audience="https://api.example,https://inner.example")
    assert (await exchange(nested, http_scope(headers=authorization(both, "bob")))).status == 200
    assert app.subject == "bob"
