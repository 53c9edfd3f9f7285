"""A process that serves AuthApp and an app behind the middleware, and may die or wait at a point of its first refresh.

    python serving_process.py SOCKET STORE NOW [POINT ACT]

`SOCKET` is the number of an inherited listening socket, `STORE` a URL, `NOW` what its clock stands at; 0: it goes, and
refresh tokens rotate so quickly that a test need not wait. `POINT` is one of `POINTS`, `ACT` is `die`, or `wait` for a
line of input. Each event is written as a line. Below `/auth` is AuthApp, `/me` is for whoever has a token, and `POST
/ban/{subject}` has everything of the subject revoked.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from support.app import WatchedStore
from support.logins import an_app, an_auth

from asgi_jwt import Auth, JWTMiddleware
from asgi_jwt.events import Event, Refreshed
from asgi_jwt.stores.base import Change, Outcome, SessionStore
from asgi_jwt.stores.records import Session, SessionKey
from asgi_jwt.stores.urls import open_store

T = TypeVar("T")

GRACE = 0.2
POINTS = (
    "before the read",
    "after the read",
    "before the change",
    "within it",
    "after the commit",
    "before the answer",
)


def write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait() -> None:
    write("waits")
    sys.stdin.readline()


class Interruption:
    """Acts once, when its point is reached."""

    def __init__(self, point: str | None, act: Callable[[], None]) -> None:
        self.point = point
        self.act = act

    def reach(self, point: str) -> None:
        if point == self.point:
            self.point = None
            self.act()


class InterruptedStore(WatchedStore):
    """A store that reaches the points on its way."""

    def __init__(self, store: SessionStore, interruption: Interruption) -> None:
        super().__init__(store)
        self.reach = interruption.reach

    async def get(self, key: SessionKey) -> Session | None:
        self.reach("before the read")
        found = await super().get(key)
        self.reach("after the read")
        return found

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        def interrupted(stored: Session | None) -> Outcome[T]:
            changed = change(stored)
            self.reach("within it")
            return changed

        self.reach("before the change")
        result = await super().update(key, interrupted)
        self.reach("after the commit")
        return result


def guarded(auth: Auth, interruption: Interruption) -> Starlette:
    async def me(request: Request) -> Response:
        return JSONResponse({"subject": request.user.subject})

    async def ban(request: Request) -> Response:
        await auth.revoke_subject(request.path_params["subject"])
        return Response(status_code=204)

    mounted = Mount("/auth", interrupted_answers(an_app(auth), interruption))
    routes = [Route("/me", me), Route("/ban/{subject}", ban, methods=["POST"]), mounted]
    return Starlette(routes=routes, middleware=[Middleware(JWTMiddleware, auth=auth, public=["/auth/*", "/ban/*"])])


def interrupted_answers(app: ASGIApp, interruption: Interruption) -> ASGIApp:
    async def interrupted(scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            interruption.reach("before the answer")
            await send(message)

        await app(scope, receive, answer)

    return interrupted


def main(number: str, url: str, now: str, point: str | None = None, act: str = "die") -> None:
    def tell(event: Event) -> None:
        write(event.verdict if isinstance(event, Refreshed) else event.name)

    interruption = Interruption(point, {"die": die, "wait": wait}[act])
    clock, settings = ((lambda: float(now)), {}) if float(now) else (time.time, {"grace": GRACE})
    auth = an_auth(InterruptedStore(open_store(url), interruption), clock, tell, **settings)
    config = uvicorn.Config(guarded(auth, interruption), log_level="error", lifespan="off")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(number))])


if __name__ == "__main__":
    main(*sys.argv[1:])
