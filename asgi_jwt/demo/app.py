"""The small app that the demo puts behind the middleware."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from asgi_jwt.auth import Auth
from asgi_jwt.http.middleware import JWTMiddleware

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


def build_app(auth: Auth) -> Starlette:
    """`/` for everyone, `/api/me` for those with a token that `auth` accepts."""
    return Starlette(
        routes=[Route("/", welcome), Route("/api/me", me)],
        middleware=[Middleware(JWTMiddleware, auth=auth, public=["/"])],
    )
