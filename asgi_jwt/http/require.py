"""Scopes and roles: RFC 6750 section 3.1, `insufficient_scope`."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, update_wrapper
from inspect import Signature
from typing import Annotated, Any, NoReturn, Protocol

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from asgi_jwt.errors import AuthError, InsufficientRole, InsufficientScope, MissingToken
from asgi_jwt.events import TokenRefused
from asgi_jwt.http.asgi import check_scope_type
from asgi_jwt.http.bearer import Challenge, deny
from asgi_jwt.http.middleware import GUARD, Guard
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.identity import kind, names


class SecurityScopes(Protocol):
    """FastAPI's `SecurityScopes`: the scopes of each `Security(..., scopes=[...])` on the way to a dependency."""

    @property
    def scopes(self) -> Sequence[str]: ...


class Require:
    """Called with a connection, returns its `Claims` if they have all the scopes and any of the roles.

    Else raises an exception that is the `AuthError` (`MissingToken`: 401, `InsufficientScope`: 403) and Starlette's
    `HTTPException` with the challenge; `answer` gives its response. Raises `RuntimeError` where no `JWTMiddleware` is
    around the app. The check happens in the call; its result may be awaited.
    """

    def __init__(self, scopes: str | Iterable[str], roles: str | Iterable[str]) -> None:
        named = scopes if isinstance(scopes, str) else " ".join(names(scopes))
        self._scopes = _wanted(named, "scopes", given=scopes != ())
        self._roles = frozenset(_wanted((roles,) if isinstance(roles, str) else roles, "roles", given=roles != ()))

    @property
    def __signature__(self) -> Signature:
        """The parameters that FastAPI reads. Not there before FastAPI is loaded: `__call__` has its own."""
        if "fastapi" not in sys.modules:
            raise AttributeError("__signature__")
        from asgi_jwt.fastapi import REQUIRE_SIGNATURE

        return REQUIRE_SIGNATURE

    def __call__(self, connection: HTTPConnection, *, security_scopes: SecurityScopes | None = None) -> Claims:
        try:
            return self.check(connection.scope, *(security_scopes.scopes if security_scopes else ()))
        except AuthError as error:
            raise _as_http_exception(error, guard_of(connection.scope).challenge) from None

    def check(self, scope: Scope, *more: str) -> Claims:
        """The same with the ASGI scope, and with `more` scopes that are asked for beside those of the construction.

        Raises `MissingToken`, `InsufficientScope` or `InsufficientRole`; `ValueError` where `more` have no name.
        """
        guard_of(scope)
        claims: Claims | None = scope["claims"]
        if claims is None:
            raise MissingToken
        wanted = self._scopes
        if more:
            wanted = names((*wanted, *_wanted(" ".join(more), "scopes", given=True)))
        granted = claims.credentials.scopes
        if not all(name in granted for name in wanted):
            raise InsufficientScope(scope=" ".join(wanted))
        if self._roles and self._roles.isdisjoint(claims.roles):
            raise InsufficientRole
        return claims


async def _awaited(require: Require, connection: HTTPConnection) -> None: ...


# FastAPI runs a plain function in a thread, which costs more than the check and waits for a free one. A function that
# wraps a coroutine function is called in the event loop, and its result, the claims, is awaited.
update_wrapper(Require.__call__, _awaited, assigned=())


def _wanted(listed: str | Iterable[str], what: str, *, given: bool) -> tuple[str, ...]:
    wanted = names(listed, what)
    if given and not any(name.strip() for name in wanted):
        raise ValueError(f"{what} were given, and none of them has a name: that would let everyone in")
    return wanted


def _as_http_exception(error: AuthError, challenge: Challenge) -> AuthError:
    """`error`, as Starlette's `HTTPException` too: handlers of either class, and of the error's own, find it."""
    error_class: Any = type(error)
    kind = _http_exception(error_class)
    both: AuthError = kind.__new__(kind)
    vars(both).update(vars(error))
    kind.__init__(both, error.status, error.description, challenge.headers(error))
    return both


@cache
def _http_exception(kind: Any) -> Any:
    return type(kind.__name__, (kind, HTTPException), {"__init__": HTTPException.__init__})


def answer(error: AuthError, scope: Scope) -> Response:
    """The response to `error`, for a framework's own error handler: status, challenge and JSON (RFC 6750 section 3).

    `scope` is the request's ASGI scope. Raises `RuntimeError` where no `JWTMiddleware` is around the app.
    """
    return guard_of(scope).challenge.response(error)


async def refusal(error: AuthError, scope: Scope) -> Response:
    """The same, for those that answer by themselves: the event is emitted."""
    await guard_of(scope).events.emit(TokenRefused(error.reason, error.status, scope["type"]))
    return answer(error, scope)


def guard_of(scope: Scope) -> Guard:
    """What the `JWTMiddleware` around left. Raises `RuntimeError` where there is none: nothing is let in."""
    guard: Guard | None = scope.get(GUARD)
    if guard is None:
        raise RuntimeError("require needs JWTMiddleware around the app: it is what verifies the token")
    return guard


class _NotCalled:
    """Pydantic finds it in the annotation that FastAPI reads of `require` itself, in the place of its result."""

    @staticmethod
    def __get_pydantic_core_schema__(source: object, handler: object) -> NoReturn:
        raise TypeError("Depends(require) lacks the call: write Depends(require()), or Depends(require('orders:read'))")


def require(*scopes: Annotated[str, _NotCalled], roles: str | Iterable[str] = ()) -> Require:
    """What a route asks of a user: all of `scopes`, any of `roles`.

    In FastAPI `Annotated[Claims, Depends(require("orders:write"))]` or `Security(require(), scopes=["orders:write"])`;
    elsewhere `require("orders:write")(request)`. Raises `TypeError` for scopes and roles that are no strings, and
    `ValueError` where all are empty.
    """
    for scope in scopes:
        if isinstance(scope, (HTTPConnection, Mapping)):
            raise TypeError(f"require was given a {kind(scope)}: require(...) makes the check, as require()(request)")
        if not isinstance(scope, str):
            raise TypeError(f"require takes each scope as a string, as require('a', 'b'), and was given {kind(scope)}")
    return Require(scopes, roles)


class RequireMiddleware:
    """The same around any ASGI app or Starlette route: `Route(..., middleware=[Middleware(RequireMiddleware, ...)])`.

    It answers itself, 401 or 403 with the challenge, HTTP and WebSocket alike.
    """

    def __init__(self, app: ASGIApp, *, scopes: str | Iterable[str] = (), roles: str | Iterable[str] = ()) -> None:
        self.app = app
        self._require = Require(scopes, roles)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        check_scope_type(scope)
        if scope["type"] != "lifespan":
            try:
                self._require.check(scope)
            except AuthError as error:
                await deny(await refusal(error, scope), scope, receive, send)
                return
        await self.app(scope, receive, send)
