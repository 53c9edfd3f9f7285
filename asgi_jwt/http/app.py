"""AuthApp: the mountable sub-app."""

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from asgi_jwt.auth import Auth
from asgi_jwt.errors import AuthError, InvalidGrant
from asgi_jwt.http.bearer import Challenge
from asgi_jwt.http.cookies import TokenCookies
from asgi_jwt.http.cross_site import check_cross_site
from asgi_jwt.http.login import Authenticate, Login
from asgi_jwt.http.logout import SessionEndpoints
from asgi_jwt.http.token import Refresh
from asgi_jwt.sessions.sessions import LoadIdentity

_BY_COOKIE = frozenset({"/login", "/refresh", "/logout", "/logout-all"})


class AuthApp:
    """Logs users in, rotates refresh tokens, lists and ends sessions: an ASGI app, to mount.

    `authenticate(credentials, request)` gives the `Identity` that the credentials stand for, None for nobody; it may
    raise `TooManyAttempts`. `load_identity(subject, session)`, asked at each refresh, gives the user as they are now;
    None ends the session. Both sync or async.

    Raises `ConfigurationError` when there is no `REFRESH_SECRET`, no store or no key to sign with.
    """

    def __init__(self, auth: Auth, authenticate: Authenticate, *, load_identity: LoadIdentity | None = None) -> None:
        auth.sessions  # noqa: B018 - its faults show here, not at the first login
        self._trusted = auth.settings.trusted_origins
        self._challenge = Challenge(auth.settings.realm)
        self._cookies = TokenCookies(auth.settings)
        login = Login(auth, authenticate, self._cookies)
        refresh = Refresh(auth, self._cookies, load_identity)
        sessions = SessionEndpoints(auth, self._cookies)
        routes = [
            Route("/login", login.post, methods=["POST"]),
            Route("/refresh", refresh.by_cookie, methods=["POST"]),
            Route("/token", refresh.by_body, methods=["POST"]),
            Route("/logout", sessions.logout, methods=["POST"]),
            Route("/logout-all", sessions.logout_all, methods=["POST"]),
            Route("/sessions", sessions.list, methods=["GET"]),
            Route("/sessions/{sid}", sessions.end, methods=["DELETE"]),
            Route("/revoke", sessions.revoke, methods=["POST"]),
        ]
        self._router = Router(routes, redirect_slashes=False)
        self._app = ExceptionMiddleware(self._checked, {AuthError: self._refused, HTTPException: _no_route})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Starlette's routes raise for an app to answer: in JSON, here.
        scope.setdefault("app", self)
        await self._app(scope, receive, send)

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = Request(scope).scope["path"].removeprefix(scope.get("root_path", ""))
            if path in _BY_COOKIE or scope["method"] == "DELETE":
                check_cross_site(scope, self._trusted)
        await self._router(scope, receive, send)

    async def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, AuthError)
        response = self._challenge.response(error)
        if isinstance(error, InvalidGrant):
            response.headers["WWW-Authenticate"] = "Bearer"
            if request.scope["path"].endswith(("/refresh", "/logout-all")):
                self._cookies.clear(response, request)
        return response


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    name = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    body = {"error": name, "error_description": error.detail}
    return JSONResponse(
        body, status_code=error.status_code, headers={**(error.headers or {}), "Cache-Control": "no-store"}
    )
