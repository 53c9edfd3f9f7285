"""build_app: the demo's small app, with its page, inside `JWTMiddleware`."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from asgi_jwt.auth import Auth
from asgi_jwt.demo.attempts import Attempt
from asgi_jwt.demo.faults import SlowNetwork, Thief
from asgi_jwt.demo.feed import Feed
from asgi_jwt.demo.page import PageHeaders, page_routes
from asgi_jwt.errors import AuthError
from asgi_jwt.http.app import AuthApp
from asgi_jwt.http.bearer import NO_STORE, error_body
from asgi_jwt.http.bodies import Credentials
from asgi_jwt.http.cross_site import check_cross_site
from asgi_jwt.http.middleware import JWTMiddleware
from asgi_jwt.stores.records import Client
from asgi_jwt.tokens.identity import Identity

Endpoint = Callable[[Request], Awaitable[Response]]

HOSTS = ("127.0.0.1", "localhost")
DEVICES = ("Phone", "Tablet", "Television", "Watch")

_NUMBER = re.compile(r"[0-9]{1,15}")


async def me(request: Request) -> JSONResponse:
    """Answers with the user whose token the middleware verified."""
    claims = request.user
    return JSONResponse(
        {
            "subject": claims.subject,
            "scopes": list(request.auth.scopes),
            "expires_at": claims.expires_at,
            "claims": claims.to_dict(),
        },
        headers=NO_STORE,
    )


def build_app(auth: Auth, passwords: Mapping[str, str], feed: Feed, attempts: Iterable[Attempt] = ()) -> Starlette:
    """The demo's app: the page at `/`, logins of the users in `passwords` at `/auth`, and `/api/me` for their tokens.

    The page shows the events of `feed`, and sends the `attempts` that are refused. The app answers only requests for
    this machine's names, against DNS rebinding. The routes of the demo itself answer only its own page.
    """
    # pwdlib may not be installed, and the other commands don't need it.
    from pwdlib import PasswordHash

    hasher = PasswordHash.recommended()
    hashes = {user: hasher.hash(password) for user, password in passwords.items()}
    no_hash = hasher.hash("nobody's")
    thief = Thief(auth, feed)
    names = cycle(DEVICES)
    setup = {
        "users": [{"name": user, "password": password} for user, password in passwords.items()],
        "grace": auth.settings.grace,
        "access_life": auth.settings.access_ttl,
        "refused": [
            {"title": attempt.title, "adjective": attempt.adjective, "token": attempt.token}
            for attempt in attempts
            if attempt.status != 200
        ],
    }

    def authenticate(credentials: Credentials, request: Request) -> Identity | None:
        username, password = credentials["username"], credentials["password"]
        # For an unknown user a password is hashed, too. Otherwise the time of an answer would show who has an account.
        if not hasher.verify(password, hashes.get(username, no_hash)) or username not in hashes:
            return None
        return Identity(username, scopes="profile:read")

    async def about(request: Request) -> Response:
        """Answers with the setup of this demo, which the terminal shows, too, and the number of the newest event."""
        return JSONResponse({**setup, "newest": feed.newest}, headers=NO_STORE)

    async def events(request: Request) -> Response:
        """Streams the events after the number `after`, or after the last event of a broken stream."""
        after = request.headers.get("last-event-id", request.query_params.get("after", ""))
        number = int(after) if _NUMBER.fullmatch(after) else 0
        return StreamingResponse(feed.read(number), media_type="text/event-stream", headers=NO_STORE)

    async def log_in_elsewhere(request: Request) -> Response:
        """Opens a session of the user on another device. Its tokens are thrown away."""
        identity = Identity(request.user.subject, scopes=request.auth.scopes)
        await auth.sessions.open(identity, Client(user_agent=next(names), address="192.0.2.7"))
        return Response(status_code=204, headers=NO_STORE)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with auth:
            yield

    return Starlette(
        routes=[
            *page_routes(),
            Route("/demo/about", _own_page(about)),
            Route("/demo/events", _own_page(events)),
            Route("/auth/demo/steal", _own_page(thief.steal), methods=["POST"]),
            Route("/auth/demo/replay", _own_page(thief.replay), methods=["POST"]),
            Route("/auth/demo/lose", _own_page(thief.lose), methods=["POST"]),
            Mount("/auth", SlowNetwork(AuthApp(auth, authenticate))),
            Route("/api/me", me),
            Route("/api/devices", log_in_elsewhere, methods=["POST"]),
        ],
        middleware=[
            Middleware(PageHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS),
            Middleware(JWTMiddleware, auth=auth, public=["/", "/demo/*", "/auth/*"]),
        ],
        exception_handlers={AuthError: _refused},
        lifespan=lifespan,
    )


def _own_page(endpoint: Endpoint) -> Endpoint:
    async def checked(request: Request) -> Response:
        check_cross_site(request.scope, ())
        return await endpoint(request)

    return checked


async def _refused(request: Request, error: Any) -> Response:
    return JSONResponse(error_body(error), status_code=error.status, headers=NO_STORE)
