"""Scopes and roles: RFC 6750 section 3.1, `insufficient_scope`."""

import asyncio
import inspect
from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from asgi_jwt.errors import AuthError, InsufficientRole, InsufficientScope, MissingToken
from asgi_jwt.events import TokenRefused
from asgi_jwt.http.bearer import deny
from asgi_jwt.http.middleware import GUARD, Guard
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.identity import names


class Require:
    """Called with a connection, returns its `Claims` if they have all the scopes and any of the roles.

    Else raises Starlette's `HTTPException` with the challenge: 401 for nobody, 403 for too little. Raises
    `RuntimeError` where no `JWTMiddleware` is around the app.
    """

    def __init__(self, scopes: str | Iterable[str], roles: str | Iterable[str]) -> None:
        self._scopes = _wanted(scopes if isinstance(scopes, str) else " ".join(scopes), given=scopes != ())
        self._roles = frozenset(_wanted((roles,) if isinstance(roles, str) else roles, given=roles != ()))

    def __call__(self, connection: HTTPConnection) -> Claims:
        try:
            return self.check(connection.scope)
        except AuthError as error:
            headers = guard_of(connection.scope).challenge.headers(error)
            raise HTTPException(error.status, error.description, headers) from error

    def check(self, scope: Scope) -> Claims:
        """The same with the ASGI scope; raises `MissingToken`, `InsufficientScope` or `InsufficientRole`."""
        guard_of(scope)
        claims: Claims | None = scope["claims"]
        if claims is None:
            raise MissingToken
        granted = claims.credentials.scopes
        if not all(scope in granted for scope in self._scopes):
            raise InsufficientScope(scope=" ".join(self._scopes))
        if self._roles and self._roles.isdisjoint(claims.roles):
            raise InsufficientRole
        return claims


# FastAPI hands a plain function to a thread, which costs more than all else here and waits for a free one. It awaits
# what is marked as a coroutine function, and the claims may be awaited. Python 3.11 has the mark in asyncio alone.
getattr(
    inspect,
    "markcoroutinefunction",
    lambda function: function.__dict__.update(_is_coroutine=vars(asyncio.coroutines)["_is_coroutine"]),
)(Require.__call__)


def _wanted(listed: str | Iterable[str], *, given: bool) -> tuple[str, ...]:
    wanted = names(listed)
    if given and not wanted:
        raise ValueError("scopes or roles were given, and none of them has a name: that would let everyone in")
    return wanted


def guard_of(scope: Scope) -> Guard:
    """What the `JWTMiddleware` around left. Raises `RuntimeError` where there is none: nothing is let in."""
    guard: Guard | None = scope.get(GUARD)
    if guard is None:
        raise RuntimeError("require needs JWTMiddleware around the app: it is what verifies the token")
    return guard


def require(*scopes: str, roles: str | Iterable[str] = ()) -> Require:
    """What a route asks of a user: all of `scopes`, any of `roles`. Raises `ValueError` where all are empty.

    In FastAPI `Annotated[Claims, Depends(require("orders:write"))]`; elsewhere `require("orders:write")(request)`.
    """
    return Require(scopes, roles)


class RequireMiddleware:
    """The same around any ASGI app or Starlette route: `Route(..., middleware=[Middleware(RequireMiddleware, ...)])`.

    It answers itself, 401 or 403 with the challenge, HTTP and WebSocket alike.
    """

    def __init__(self, app: ASGIApp, *, scopes: str | Iterable[str] = (), roles: str | Iterable[str] = ()) -> None:
        self.app = app
        self._require = Require(scopes, roles)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            try:
                self._require.check(scope)
            except AuthError as error:
                guard = guard_of(scope)
                await guard.events.emit(TokenRefused(error.reason, error.status, scope["type"]))
                await deny(guard.challenge.response(error), scope, receive, send)
                return
        await self.app(scope, receive, send)
