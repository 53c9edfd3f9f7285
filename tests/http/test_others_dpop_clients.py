"""OAuth clients of others that bind their sessions to a key: oauth4webapi and openid-client, by their own handles."""

import json
import subprocess
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from support.outside import NPM, npm_package, program
from support.serving import uvicorn_serving
from support.waiting import PATIENCE

from asgi_jwt import Auth, AuthApp, Identity, JWTMiddleware, MemoryStore, Settings

pytestmark = pytest.mark.outside


async def me(request: Request) -> JSONResponse:
    return JSONResponse(request.user["cnf"])


def app_at(issuer: str) -> ASGIApp:
    """A resource at `/me`, and `AuthApp` beside it."""
    settings = Settings(issuer=issuer, audience="api", secret="a" * 32, refresh_secret="r" * 32, dpop="required")
    auth = Auth(settings, store=MemoryStore())
    auth_app = AuthApp(auth, lambda credentials, request: Identity(credentials["username"]))
    public = ["/login", "/token", "/.well-known/*"]
    return JWTMiddleware(Starlette(routes=[Route("/me", me), Mount("/", auth_app)]), auth, public=public)


def told_by(script: str, asked: dict[str, str]) -> Any:
    """What a script of `tests/npm` answers."""
    command = [program("node"), str(NPM / script)]
    ran = subprocess.run(
        command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True
    )
    return json.loads(ran.stdout)


def test_libraries_of_npm() -> None:
    """Each logs in, refreshes and asks the resource with its key. Without it, or with another, each is refused."""
    for library in ("oauth4webapi", "openid-client"):
        npm_package(library)
    made: list[ASGIApp] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "uvicorn goes on without a lifespan"
        await made[0](scope, receive, send)

    with uvicorn_serving(app) as address:
        issuer = f"http://{address}"
        made.append(app_at(issuer))
        told = told_by("dpop.mjs", {"issuer": issuer, "username": "alice", "password": "secret"})
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
