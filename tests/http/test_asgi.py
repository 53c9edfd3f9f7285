"""Scope types: what no rule here is for reaches no app."""

from typing import Any

import pytest
from driver import Recorder, bearer, exchange, http_scope, make_auth
from starlette.types import ASGIApp

from asgi_jwt import Auth, AuthApp, JWTMiddleware, MemoryStore, RequireMiddleware

pytestmark = pytest.mark.anyio

APPS = ["JWTMiddleware", "JWTMiddleware, optional", "JWTMiddleware, public", "RequireMiddleware", "AuthApp"]


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
    auth = make_auth(refresh_secret="another secret of thirty-two bytes or more", store=MemoryStore())
    for headers in ({}, bearer(auth)):
        scope = http_scope(headers=headers, type=kind)
        with pytest.raises(RuntimeError, match="serves the scope types http, websocket, lifespan, and not") as raised:
            await exchange(build(name, auth, app), scope)
        assert str(raised.value).endswith(repr(kind))
    assert app.calls == []
