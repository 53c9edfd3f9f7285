"""A process that serves AuthApp and an app behind the middleware: what the tests start several of.

    python guarded_process.py SOCKET STORE

`SOCKET` is the number of an inherited listening socket, `STORE` a URL. Below `/auth` is AuthApp, `/me` is for whoever
has a token, and `POST /ban/{subject}` has everything of the subject revoked. Refresh tokens rotate so quickly that a
test need not wait.
"""

import socket
import sys

import uvicorn
from logins import an_app
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from asgi_jwt import Auth, JWTMiddleware, Settings

GRACE = 0.2


def guarded(auth: Auth) -> Starlette:
    async def me(request: Request) -> Response:
        return JSONResponse({"subject": request.user.subject})

    async def ban(request: Request) -> Response:
        await auth.revoke_subject(request.path_params["subject"])
        return Response(status_code=204)

    routes = [Route("/me", me), Route("/ban/{subject}", ban, methods=["POST"]), Mount("/auth", an_app(auth))]
    return Starlette(routes=routes, middleware=[Middleware(JWTMiddleware, auth=auth, public=["/auth/*", "/ban/*"])])


def main(number: str, url: str) -> None:
    settings = Settings(
        issuer="https://issuer.example",
        audience="api",
        secret="a" * 32,
        refresh_secret="r" * 32,
        store=url,
        grace=GRACE,
    )
    config = uvicorn.Config(guarded(Auth(settings)), log_level="error")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(number))])


if __name__ == "__main__":
    main(*sys.argv[1:])
