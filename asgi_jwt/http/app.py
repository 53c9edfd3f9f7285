"""AuthApp: the mountable sub-app."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette._utils import get_route_path
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from asgi_jwt.auth import Auth
from asgi_jwt.errors import AuthError, ConfigurationError, CookieTooLarge, CrossSite, InvalidGrant, InvalidRequest
from asgi_jwt.events import LoginRefused, TokenRefused, logger
from asgi_jwt.http.asgi import check_scope_type, checked_auth, list_headers, stating_the_end
from asgi_jwt.http.bearer import Challenge, bearer_token, check_count, error_body, error_response
from asgi_jwt.http.browser_client import BrowserClient
from asgi_jwt.http.cookies import TokenCookies
from asgi_jwt.http.cross_site import check_cross_site
from asgi_jwt.http.hints import HINTS, Hints
from asgi_jwt.http.login import Authenticate, Login
from asgi_jwt.http.middleware import GUARD
from asgi_jwt.http.paths import RootPath
from asgi_jwt.http.published_keys import PublishedKeys
from asgi_jwt.http.refresh import TOKEN_HEADERS, Refresh
from asgi_jwt.http.server_metadata import ServerMetadata
from asgi_jwt.http.session_endpoints import SessionEndpoints
from asgi_jwt.sessions.sessions import LoadIdentity
from asgi_jwt.tokens.identity import kind

Endpoint = Callable[[Request], Awaitable[Response]]


class AuthApp:
    """Logs users in, rotates refresh tokens, lists and ends sessions: an ASGI app, to mount.

    `authenticate(credentials, request)` gives the `Identity` that the credentials stand for, None for nobody; it may
    raise `TooManyAttempts`. `load_identity(subject, session)`, asked at each refresh, gives the user as they are now;
    None ends the session. Both sync or async.

    Raises `ConfigurationError` for arguments of other types, and when there is no `REFRESH_SECRET`, no store or no key
    to sign with.
    """

    def __init__(self, auth: Auth, authenticate: Authenticate, *, load_identity: LoadIdentity | None = None) -> None:
        checked_auth(auth, "AuthApp(auth, authenticate)")
        if not callable(authenticate):
            raise ConfigurationError(f"AuthApp(auth, authenticate) calls authenticate: not {kind(authenticate)}")
        auth.require_sessions()
        self._auth = auth
        self._trusted = auth.settings.trusted_origins
        self._root_path = RootPath(auth.settings.root_path)
        self._challenge = Challenge(auth.settings.realm)
        self._cookies = TokenCookies(auth.settings)
        self._hints = Hints(auth.clock)
        login = Login(auth, authenticate, self._cookies)
        refresh = Refresh(auth, self._cookies, load_identity)
        sessions = SessionEndpoints(auth, self._cookies)
        routes = [
            Route("/login", login.post, methods=["POST"]),
            Route("/refresh", self._own_site(self._clearing(refresh.by_cookie)), methods=["POST"]),
            Route("/token", self._as_oauth(refresh.by_body), methods=["POST"]),
            Route("/logout", self._own_site(sessions.logout), methods=["POST"]),
            Route("/logout-all", self._own_site(self._clearing(sessions.logout_all)), methods=["POST"]),
            Route("/sessions", sessions.list, methods=["GET"]),
            Route("/sessions/{sid}", self._own_site(sessions.end), methods=["DELETE"]),
            Route("/revoke", sessions.revoke, methods=["POST"]),
            Route("/.well-known/oauth-authorization-server", ServerMetadata(auth).answer, methods=["GET"]),
            Route("/.well-known/jwks.json", PublishedKeys(auth).get, methods=["GET"]),
            Route("/asgi-jwt.js", BrowserClient().get, methods=["GET"]),
        ]
        router = Router(routes, redirect_slashes=False)
        self._app = ExceptionMiddleware(router, {AuthError: self._refused, HTTPException: _http_error})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        check_scope_type(scope)
        if scope["type"] != "lifespan" and get_route_path(scope) == scope["path"]:
            # The path is not below the root path: a client may have named it, and the cookie's path is made of it.
            self._root_path.settle(scope)
        guard = scope.get(GUARD)
        scope[HINTS] = hints = self._hints if guard is None else guard.hints
        hints.auth_app_is_reached()
        # With an app in the scope, Starlette's router raises what else it would answer, and not in JSON.
        scope.setdefault("app", self)
        send = stating_the_end(send)
        respond: ASGIApp = self._app
        if scope["type"] == "http":
            list_headers(scope)
            try:
                check_count(scope["headers"])
            except InvalidRequest as error:
                respond = await self._refused(Request(scope), error)
        await respond(scope, receive, send)

    def _own_site(self, endpoint: Endpoint) -> Endpoint:
        """Another site's page may send no request that relies on a cookie: it is refused before its body is read."""

        async def checked(request: Request) -> Response:
            try:
                check_cross_site(request.scope, self._trusted)
            except CrossSite:
                # An app in a web view has a site of its own, and shows its token.
                if self._cookies.came(request) or bearer_token(request.scope["headers"]) is None:
                    raise
            return await endpoint(request)

        return checked

    def _clearing(self, endpoint: Endpoint) -> Endpoint:
        """A cookie whose session is over leaves the jar."""

        async def cleared(request: Request) -> Response:
            try:
                return await endpoint(request)
            except InvalidGrant as error:
                response = await self._refused(request, error)
                self._cookies.clear(response, request)
                return response

        return cleared

    def _as_oauth(self, endpoint: Endpoint) -> Endpoint:
        """A request for tokens that is refused is a 400 without a challenge: RFC 6749 section 5.2."""

        async def answered(request: Request) -> Response:
            try:
                return await endpoint(request)
            except (InvalidGrant, InvalidRequest) as error:
                await self._tell(request, error, status=400)
                return JSONResponse(error_body(error), status_code=400, headers=TOKEN_HEADERS)

        return answered

    # Async, for Starlette runs a sync one in a thread: refusals must not wait for the host's busy threads.
    async def _refused(self, request: Request, error: Any) -> Response:
        await self._tell(request, error, status=error.status)
        response = self._challenge.response(error)
        if isinstance(error, InvalidGrant):
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    async def _tell(self, request: Request, error: AuthError, *, status: int) -> None:
        if isinstance(error, CookieTooLarge):
            logger.error("%s", error)
        request.scope[HINTS].refused(error, request.scope)
        login = get_route_path(request.scope) == "/login"
        event = LoginRefused(error.reason) if login else TokenRefused(error.reason, status, "http")
        await self._auth.events.emit(event)


async def _http_error(request: Request, error: Any) -> Response:
    told = error.detail if isinstance(error.detail, str) else "The request was refused"
    return error_response(error.status_code, told, error.headers)
