"""Scopes and roles: RFC 6750 section 3.1, `insufficient_scope`."""

from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from asgi_jwt.errors import AuthError, InsufficientRole, InsufficientScope, MissingToken
from asgi_jwt.http.bearer import Challenge, deny
from asgi_jwt.http.middleware import CHALLENGE
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.identity import names


class Require:
    """Called with a connection, returns its `Claims` if they have all the scopes and any of the roles.

    Else raises Starlette's `HTTPException` with the challenge: 401 for nobody, 403 for too little. Raises
    `RuntimeError` where no `JWTMiddleware` is around the app.
    """

    def __init__(self, scopes: Iterable[str], roles: str | Iterable[str]) -> None:
        self._scopes = names(scopes)
        self._roles = frozenset((roles,) if isinstance(roles, str) else roles)

    def __call__(self, connection: HTTPConnection) -> Claims:
        try:
            return self.check(connection.scope)
        except AuthError as error:
            headers = challenge_of(connection.scope).headers(error)
            raise HTTPException(error.status, error.description, headers) from error

    def check(self, scope: Scope) -> Claims:
        """The same with the ASGI scope; raises `MissingToken`, `InsufficientScope` or `InsufficientRole`."""
        challenge_of(scope)
        claims: Claims | None = scope["claims"]
        if claims is None:
            raise MissingToken
        granted = claims.credentials.scopes
        if not all(scope in granted for scope in self._scopes):
            raise InsufficientScope(scope=" ".join(self._scopes))
        if self._roles and self._roles.isdisjoint(claims.roles):
            raise InsufficientRole
        return claims


def challenge_of(scope: Scope) -> Challenge:
    """The challenge of the `JWTMiddleware` around. Raises `RuntimeError` where there is none: nothing is let in."""
    challenge: Challenge | None = scope.get(CHALLENGE)
    if challenge is None:
        raise RuntimeError("require needs JWTMiddleware around the app: it is what verifies the token")
    return challenge


def require(*scopes: str, roles: str | Iterable[str] = ()) -> Require:
    """What a route asks of a user: all of `scopes`, any of `roles`.

    In FastAPI `Annotated[Claims, Depends(require("orders:write"))]`; elsewhere `require("orders:write")(request)`.
    """
    return Require(scopes, roles)


class RequireMiddleware:
    """The same around any ASGI app or Starlette route: `Route(..., middleware=[Middleware(RequireMiddleware, ...)])`.

    It answers itself, 401 or 403 with the challenge, HTTP and WebSocket alike.
    """

    def __init__(self, app: ASGIApp, *, scopes: str | Iterable[str] = (), roles: str | Iterable[str] = ()) -> None:
        self.app = app
        self._require = Require(names(scopes), roles)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            try:
                self._require.check(scope)
            except AuthError as error:
                await deny(challenge_of(scope).response(error), scope, receive, send)
                return
        await self.app(scope, receive, send)
