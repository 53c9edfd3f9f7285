"""`require` and `RequireMiddleware`: check scopes and roles. RFC 6750 section 3.1, `insufficient_scope`."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import update_wrapper
from inspect import Signature
from typing import Annotated, NoReturn, Protocol

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from asgi_jwt.errors import AuthError, InsufficientRole, InsufficientScope, MissingToken
from asgi_jwt.events import TokenRefused
from asgi_jwt.http.asgi import check_scope_type
from asgi_jwt.http.bearer import deny
from asgi_jwt.http.middleware import GUARD, Guard
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.identity import kind, names


class SecurityScopes(Protocol):
    """The shape of FastAPI's `SecurityScopes`: the scopes of every `Security(..., scopes=[...])` above a dependency."""

    @property
    def scopes(self) -> Sequence[str]: ...


class Require:
    """Called with a connection, returns its `Claims` if they have all the scopes and at least one of the roles.

    Otherwise it raises Starlette's `HTTPException` with the challenge: 401 without a user, 403 without a scope or role.
    It raises `RuntimeError` if the app is not inside a `JWTMiddleware`. The call makes the check; its result may also
    be awaited.
    """

    def __init__(self, scopes: str | Iterable[str], roles: str | Iterable[str]) -> None:
        named = scopes if isinstance(scopes, str) else " ".join(names(scopes))
        self._scopes = _wanted(named, "scopes", given=scopes != ())
        self._roles = frozenset(_wanted((roles,) if isinstance(roles, str) else roles, "roles", given=roles != ()))

    @property
    def __signature__(self) -> Signature:
        """The parameters that FastAPI reads. Raises `AttributeError` while FastAPI is not loaded."""
        if "fastapi" not in sys.modules:
            raise AttributeError("__signature__")
        from asgi_jwt.fastapi import REQUIRE_SIGNATURE

        return REQUIRE_SIGNATURE

    def __call__(self, connection: HTTPConnection, *, security_scopes: SecurityScopes | None = None) -> Claims:
        try:
            return self.check(connection.scope, *(security_scopes.scopes if security_scopes else ()))
        except AuthError as error:
            headers = guard_of(connection.scope).challenge.headers(error)
            raise HTTPException(error.status, error.description, headers) from error

    def check(self, scope: Scope, *more: str) -> Claims:
        """The claims in the ASGI scope, if they have all scopes, those in `more` too, and at least one of the roles.

        Raises `MissingToken`, `InsufficientScope` or `InsufficientRole`, `ValueError` if `more` has only empty names,
        and `RuntimeError` if the app is not inside a `JWTMiddleware`.
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


# FastAPI calls a plain function in a thread, which costs more than the check and may wait for a free thread. It calls a
# function that wraps a coroutine function in the event loop, and awaits the result. So `Claims` can be awaited.
update_wrapper(Require.__call__, _awaited, assigned=())


def _wanted(listed: str | Iterable[str], what: str, *, given: bool) -> tuple[str, ...]:
    """The names in `listed`. Raises `ValueError` if they were `given` and are all empty; `what` is for its text."""
    wanted = names(listed, what)
    if given and not any(name.strip() for name in wanted):
        raise ValueError(f"{what} were given, and none of them has a name: that would let everyone in")
    return wanted


def guard_of(scope: Scope) -> Guard:
    """The `Guard` of the `JWTMiddleware` around the app. Raises `RuntimeError` if there is none."""
    guard: Guard | None = scope.get(GUARD)
    if guard is None:
        raise RuntimeError("require needs JWTMiddleware around the app: it is what verifies the token")
    return guard


class _NotCalled:
    """Explains the mistake `Depends(require)`: FastAPI then hands the parameters of `require` to pydantic."""

    @staticmethod
    def __get_pydantic_core_schema__(source: object, handler: object) -> NoReturn:
        raise TypeError("Depends(require) lacks the call: write Depends(require()), or Depends(require('orders:read'))")


def require(*scopes: Annotated[str, _NotCalled], roles: str | Iterable[str] = ()) -> Require:
    """Requires of a route's user all of `scopes` and at least one of `roles`.

    In FastAPI: `Annotated[Claims, Depends(require("orders:write"))]` or `Security(require(), scopes=["orders:write"])`.
    Elsewhere: `require("orders:write")(request)`. Raises `TypeError` for a scope or role that is no string, and
    `ValueError` if all names are empty.
    """
    for scope in scopes:
        if isinstance(scope, (HTTPConnection, Mapping)):
            raise TypeError(f"require was given a {kind(scope)}: require(...) makes the check, as require()(request)")
        if not isinstance(scope, str):
            raise TypeError(f"require takes each scope as a string, as require('a', 'b'), and was given {kind(scope)}")
    return Require(scopes, roles)


class RequireMiddleware:
    """Requires scopes and roles around an ASGI app or a Starlette route.

    For a route: `Route(..., middleware=[Middleware(RequireMiddleware, scopes="orders:write")])`. It refuses HTTP
    requests and WebSockets itself, with the challenge: 401 without a user, 403 without a scope or role.
    Raises `TypeError` and `ValueError` as `require` does, and when called `RuntimeError` if it is not inside a
    `JWTMiddleware`.
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
                guard = guard_of(scope)
                await guard.events.emit(TokenRefused(error.reason, error.status, scope["type"]))
                await deny(guard.challenge.response(error), scope, receive, send)
                return
        await self.app(scope, receive, send)
