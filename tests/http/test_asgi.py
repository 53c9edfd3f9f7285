"""Scope types: what no rule here is for reaches no app."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from quart import Quart
from starlette.types import ASGIApp, Scope
from support.app import (
    NO_TOKEN,
    REFRESH_SECRET,
    Recorder,
    authorization,
    exchange,
    http_scope,
    make_auth,
    websocket_scope,
)

from asgi_jwt import Auth, AuthApp, ConfigurationError, JWTMiddleware, MemoryStore, RequireMiddleware

pytestmark = pytest.mark.anyio

APPS = ["JWTMiddleware", "JWTMiddleware, optional", "JWTMiddleware, public", "RequireMiddleware", "AuthApp"]

METADATA = "/.well-known/oauth-protected-resource"
PATHS = dict.fromkeys(["/login", "/refresh", "/logout"], "POST") | {"/token": "DELETE"}
PATHS |= dict.fromkeys(["/sessions", "/nothing", "/asgi-jwt.js", "/.well-known/jwks.json"], "GET")


def session_auth(**settings: Any) -> Auth:
    return make_auth(refresh_secret=REFRESH_SECRET, store=MemoryStore(), **settings)


def build(name: str, auth: Auth, app: ASGIApp) -> ASGIApp:
    options: dict[str, Any] = {"optional": {"optional": True}, "public": {"public": ["/*"]}}
    if name == "AuthApp":
        return AuthApp(auth, lambda credentials, request: None)
    if name == "RequireMiddleware":
        return RequireMiddleware(app)
    return JWTMiddleware(app, auth, **options.get(name.partition(", ")[2], {}))


@pytest.mark.parametrize("kind", ["webtransport", "http.disconnect", "HTTP", "Lifespan", "", None, 1, ["http"]])
@pytest.mark.parametrize("name", APPS)
async def test_an_unknown_scope_type_is_refused(name: str, kind: Any) -> None:
    """A scope of another type raises an error that names the type, and reaches no app, whatever its token."""
    app = Recorder()
    auth = session_auth()
    for headers in ({}, authorization(auth)):
        scope = http_scope(headers=headers, type=kind)
        with pytest.raises(RuntimeError, match="serves the scope types http, websocket, lifespan, and not") as raised:
            await exchange(build(name, auth, app), scope)
        assert str(raised.value).endswith(repr(kind))
    assert app.calls == []


async def test_every_answer_states_its_end() -> None:
    """Each last part has `more_body: False`, of HTTP and of denied WebSockets: Quart's test client needs it."""
    auth = session_auth(resource="https://host.example")
    app = AuthApp(auth, lambda credentials, request: None)
    asked: list[tuple[ASGIApp, Scope]] = [(app, http_scope(path, method=method)) for path, method in PATHS.items()]
    for guarded in (JWTMiddleware(Recorder(), auth), JWTMiddleware(RequireMiddleware(Recorder()), auth, optional=True)):
        asked += [(guarded, http_scope(METADATA)), (guarded, http_scope()), (guarded, websocket_scope())]
    for asgi, scope in asked:
        *_, last = (await exchange(asgi, scope)).messages
        assert last["more_body"] is False, scope["path"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_quarts_test_client_reads_the_answers() -> None:
    """Quart's test client reads a refusal."""
    app: Any = Quart(__name__)
    app.asgi_app = JWTMiddleware(app.asgi_app, make_auth())
    answer = await app.test_client().get("/")
    assert (answer.status_code, await answer.get_json()) == (401, NO_TOKEN)


Untyped: Any = JWTMiddleware
UntypedApp: Any = AuthApp
WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: Untyped(Recorder(), make_auth().settings), "not Settings: Auth(settings) makes one"),
    (lambda: Untyped(make_auth(), Recorder()), "JWTMiddleware(app, auth) takes an Auth as auth, not Recorder"),
    (lambda: UntypedApp(lambda *_: None, make_auth()), "(auth, authenticate) takes an Auth as auth, not function"),
    (lambda: UntypedApp(make_auth(), None), "AuthApp(auth, authenticate) calls authenticate: not None"),
]


@pytest.mark.parametrize(("make", "told"), WRONG)
def test_arguments_of_other_types(make: Callable[[], object], told: str) -> None:
    """Arguments that are swapped, or settings in the place of an Auth, are named with the call as it should be."""
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        make()
