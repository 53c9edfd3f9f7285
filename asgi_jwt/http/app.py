"""AuthApp: the mountable sub-app with the routes for login, refresh and sessions."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette._utils import get_route_path
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from asgi_jwt.auth import Auth
from asgi_jwt.errors import AuthError, ConfigurationError, CookieTooLarge, CrossSite, InvalidGrant, InvalidRequest
from asgi_jwt.events import LoginRefused, TokenRefused, logger
from asgi_jwt.http.asgi import check_scope_type, checked_auth, list_headers, with_more_body
from asgi_jwt.http.backchannel_logout import BackchannelLogout, OnLogout
from asgi_jwt.http.bearer import Challenge, check_header_count, error_body, error_response
from asgi_jwt.http.browser_client import MODULES, BrowserClient
from asgi_jwt.http.cookies import TokenCookies
from asgi_jwt.http.cross_site import check_cross_site
from asgi_jwt.http.dpop import DPoP
from asgi_jwt.http.hints import HINTS, Hints
from asgi_jwt.http.host_objects import HostResponse, scope_of
from asgi_jwt.http.login import Authenticate, Login
from asgi_jwt.http.middleware import GUARD
from asgi_jwt.http.paths import RootPath, with_whole_path
from asgi_jwt.http.published_keys import PublishedKeys
from asgi_jwt.http.refresh import TOKEN_HEADERS, Refresh
from asgi_jwt.http.server_metadata import ServerMetadata
from asgi_jwt.http.session_endpoints import SessionEndpoints
from asgi_jwt.sessions.pairs import TokenPair
from asgi_jwt.sessions.sessions import LoadIdentity, OnReuse
from asgi_jwt.tokens.identity import Identity, kind

Endpoint = Callable[[Request], Awaitable[Response]]


class AuthApp:
    """Logs users in, rotates refresh tokens, lists and ends sessions. It is an ASGI app, to be mounted.

    `authenticate(credentials, request)` returns the `Identity` of the user with these credentials, or None if there is
    no such user. It may raise `TooManyAttempts`. `load_identity(subject, session)` is called at each refresh and
    returns the user's present `Identity`, or None to end the session. `on_logout(claims)` is that of
    `BackchannelLogout`. `on_reuse(session)` is called once for each session that ends because its refresh token was
    stolen; the answer waits for it 1 s at most. All may be sync or async.

    Raises `ConfigurationError` for arguments of other types, and if `REFRESH_SECRET`, a store or a signing key is
    missing.
    """

    def __init__(
        self,
        auth: Auth,
        authenticate: Authenticate,
        *,
        load_identity: LoadIdentity | None = None,
        on_logout: OnLogout | None = None,
        on_reuse: OnReuse | None = None,
    ) -> None:
        checked_auth(auth, "AuthApp(auth, authenticate)")
        if not callable(authenticate):
            raise ConfigurationError(f"AuthApp(auth, authenticate) calls authenticate: not {kind(authenticate)}")
        auth.require_sessions()
        self._auth = auth
        self._trusted = auth.settings.trusted_origins
        self._root_path = RootPath(auth.settings.root_path)
        self._dpop = dpop = DPoP(auth)
        schemes = {b"bearer": "Bearer", b"dpop": "DPoP"}
        settings = auth.settings
        self._challenges = {
            scheme: Challenge(settings.realm, dpop=settings.dpop, scheme=name) for scheme, name in schemes.items()
        }
        self._cookies = TokenCookies(auth.settings)
        self._hints = Hints(auth.clock)
        self._login = login = Login(auth, dpop, authenticate, self._cookies)
        refresh = Refresh(auth, dpop, self._cookies, load_identity, on_reuse)
        sessions = SessionEndpoints(auth, dpop, self._cookies)
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
            *(Route(f"/{name}", BrowserClient(name).get, methods=["GET"]) for name in MODULES),
        ]
        if auth.settings.logout_audience:
            routes.append(Route("/backchannel-logout", BackchannelLogout(auth, on_logout).post, methods=["POST"]))
        router = Router(routes, redirect_slashes=False)
        self._app = ExceptionMiddleware(router, {AuthError: self._refused, HTTPException: _http_error})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        check_scope_type(scope)
        if scope["type"] != "lifespan" and get_route_path(scope) == scope["path"]:
            # The path is not below the root path, so a client may have chosen the root path, which is the cookie's.
            self._root_path.apply(scope)
        scope = with_whole_path(scope)
        guard = scope.get(GUARD)
        scope[HINTS] = hints = self._hints if guard is None else guard.hints
        hints.auth_app_is_reached()
        # With an app in the scope, Starlette's router raises its 404 and 405, which are then answered as JSON here.
        scope.setdefault("app", self)
        send = with_more_body(send)
        respond: ASGIApp = self._app
        if scope["type"] == "http":
            list_headers(scope)
            try:
                check_header_count(scope["headers"])
            except InvalidRequest as error:
                respond = await self._refused(Request(scope), error)
        await respond(scope, receive, send)

    async def start_session(self, request: Any, response: Any, identity: Identity) -> TokenPair:
        """Open a session for a user whom the host has authenticated, and set its cookies on `response`.

        It is for a login by other means than `POST /login`, as by the callback of OpenID Connect. The host checks that
        the request is its user's. A session that the request's cookie belongs to ends. Returns the first tokens, whose
        refresh token has to stay in the cookie.

        `request`: an ASGI scope, or a request of Starlette, FastAPI, Litestar, Quart or Django.
        `response`: a response of one of them, or any other whose `headers` take `append(name, value)`.

        Raises `ConfigurationError` without `COOKIE_PATH`, because the mount is not known here. Raises `TypeError` for
        arguments of other types, `InvalidGrantProof` for an invalid proof of a key, `CookieTooLarge` and `Unavailable`.
        The response has no cookie then.
        """
        if self._auth.settings.cookie_path is None:
            raise ConfigurationError(
                "ASGI_JWT_COOKIE_PATH is missing: start_session needs the path where browsers see AuthApp, as /auth"
            )
        if not isinstance(identity, Identity):
            raise TypeError(f"start_session takes the user's Identity, as Identity(str(user.id)), not {kind(identity)}")
        scope, settable = scope_of(request), HostResponse(response)
        guard = scope.get(GUARD)
        scope[HINTS] = self._hints if guard is None else guard.hints
        return await self._login.start(HTTPConnection({**scope, "type": "http"}), settable, identity)

    def _own_site(self, endpoint: Endpoint) -> Endpoint:
        """Wraps `endpoint`: another site's page may send no request that relies on a cookie (403 `cross_site`).

        The request is refused before its body is read.
        """

        async def checked(request: Request) -> Response:
            try:
                check_cross_site(request.scope, self._trusted)
            except CrossSite:
                # An app in a web view is another site. It sends a token in the header and no cookie.
                if self._cookies.are_in(request) or self._dpop.authorization_token(request.scope["headers"]) is None:
                    raise
            return await endpoint(request)

        return checked

    def _clearing(self, endpoint: Endpoint) -> Endpoint:
        """Wraps `endpoint`: if the session is over, the answer clears the cookies."""

        async def cleared(request: Request) -> Response:
            try:
                return await endpoint(request)
            except InvalidGrant as error:
                response = await self._refused(request, error)
                self._cookies.clear(response, request)
                return response

        return cleared

    def _as_oauth(self, endpoint: Endpoint) -> Endpoint:
        """Wraps `endpoint`: a refused request for tokens is a 400 without a challenge (RFC 6749 section 5.2)."""

        async def answered(request: Request) -> Response:
            try:
                return await endpoint(request)
            except (InvalidGrant, InvalidRequest) as error:
                await self._report(request, error, status=400)
                return JSONResponse(error_body(error), status_code=400, headers=TOKEN_HEADERS)

        return answered

    # Starlette would run a sync function in one of the host's threads, which may all be busy. So this one is async.
    async def _refused(self, request: Request, error: Any) -> Response:
        await self._report(request, error, status=error.status)
        response = self._challenge_for(request).response(error)
        if isinstance(error, InvalidGrant):
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    def _challenge_for(self, request: Request) -> Challenge:
        """The challenge whose error stands at the scheme of the request."""
        return self._challenges[b"dpop" if self._dpop.is_used(request.scope) else b"bearer"]

    async def _report(self, request: Request, error: AuthError, *, status: int) -> None:
        if isinstance(error, CookieTooLarge):
            logger.error("%s", error)
        request.scope[HINTS].refused(error, request.scope)
        login = get_route_path(request.scope) == "/login"
        event = LoginRefused(error.reason) if login else TokenRefused(error.reason, status, "http")
        await self._auth.events.emit(event)


async def _http_error(request: Request, error: Any) -> Response:
    description = error.detail if isinstance(error.detail, str) else "The request was refused"
    return error_response(error.status_code, description, error.headers)
