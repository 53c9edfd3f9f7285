"""The small app that the demo puts behind the middleware."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route

from asgi_jwt.auth import Auth
from asgi_jwt.http.app import AuthApp
from asgi_jwt.http.bodies import Credentials
from asgi_jwt.http.middleware import JWTMiddleware
from asgi_jwt.tokens.identity import Identity

_WELCOME = """\
This page is public. /api/me is not: it wants an access token.

The terminal that runs the demo shows one, and what to try with it. To begin with:

curl -i {base}api/me
"""


async def welcome(request: Request) -> PlainTextResponse:
    """What to do here."""
    return PlainTextResponse(_WELCOME.format(base=request.base_url))


async def me(request: Request) -> JSONResponse:
    """Whom the middleware let in."""
    claims = request.user
    return JSONResponse(
        {
            "subject": claims.subject,
            "scopes": list(request.auth.scopes),
            "issuer": claims.issuer,
            "expires_at": claims.expires_at,
        }
    )


def build_app(auth: Auth, passwords: Mapping[str, str]) -> Starlette:
    """`/` for everyone, `/auth` for the users in `passwords`, `/api/me` for those with a token that `auth` accepts."""

    def authenticate(credentials: Credentials, request: Request) -> Identity | None:
        username = credentials["username"]
        # A real app keeps hashes, and compares with one also where there is no such user.
        if not secrets.compare_digest(credentials["password"].encode(), passwords.get(username, "").encode()):
            return None
        return Identity(username, scopes="profile:read") if username in passwords else None

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with auth:
            yield

    return Starlette(
        routes=[Route("/", welcome), Route("/api/me", me), Mount("/auth", AuthApp(auth, authenticate))],
        middleware=[Middleware(JWTMiddleware, auth=auth, public=["/", "/auth/*"])],
        lifespan=lifespan,
    )
