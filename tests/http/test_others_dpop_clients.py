"""OAuth clients of others that bind their sessions to a key: oauth4webapi and openid-client, by their own handles."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp
from support.outside import answer_of, npm_package
from support.serving import serving_made

from asgi_jwt import Auth, AuthApp, Identity, JWTMiddleware, MemoryStore, Settings

pytestmark = pytest.mark.outside


async def me(request: Request) -> JSONResponse:
    return JSONResponse(request.user["cnf"])


def app_at(address: str) -> ASGIApp:
    """A resource at `/me`, and `AuthApp` beside it."""
    issuer = f"http://{address}"
    settings = Settings(issuer=issuer, audience="api", secret="a" * 32, refresh_secret="r" * 32, dpop="required")
    auth = Auth(settings, store=MemoryStore())
    auth_app = AuthApp(auth, lambda credentials, request: Identity(credentials["username"]))
    public = ["/login", "/token", "/.well-known/*"]
    return JWTMiddleware(Starlette(routes=[Route("/me", me), Mount("/", auth_app)]), auth, public=public)


def test_libraries_of_npm() -> None:
    """Each logs in, refreshes and asks the resource with its key. Without it, or with another, each is refused."""
    for library in ("oauth4webapi", "openid-client"):
        npm_package(library)
    with serving_made(app_at) as address:
        told = answer_of("dpop.mjs", {"issuer": f"http://{address}", "username": "alice", "password": "secret"})
    assert len(told) == 6
    for name, outcome in told.items():
        assert outcome == {
            "algorithms": True,
            "token_type": "dpop",  # as both libraries write it
            "got": [200, {"jkt": outcome["jkt"]}],
            "jkt": outcome["jkt"],
            "refused": [[401, "invalid_dpop_proof"]] * 2,
            "thief": [400, "invalid_dpop_proof"],
        }, name
