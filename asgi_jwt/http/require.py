"""`require` and `RequireMiddleware`: check scopes, roles and the login. RFC 6750 section 3.1, RFC 9470 section 3."""

import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache, update_wrapper
from inspect import Signature
from typing import Annotated, Any, NoReturn, Protocol, overload

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Message, Scope

from asgi_jwt.errors import AuthError, InsufficientRole, InsufficientScope, MissingToken
from asgi_jwt.events import TokenRefused
from asgi_jwt.http.asgi import AnyASGIApp, check_scope_type, in_event_loop, refuse_start
from asgi_jwt.http.bearer import Challenge, close_code, deny
from asgi_jwt.http.middleware import GUARD, Guard
from asgi_jwt.http.step_up import StepUp
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.identity import kind, names

SOCKET_REFUSAL = "asgi_jwt.refusal"
"""Where a framework's scope holds the `AuthError` for which it will close a WebSocket."""


class HasScope(Protocol):
    """A request or a WebSocket of any framework that keeps the ASGI scope in `scope`."""

    @property
    def scope(self) -> Any: ...


class SecurityScopes(Protocol):
    """The shape of FastAPI's `SecurityScopes`: the scopes of every `Security(..., scopes=[...])` above a dependency."""

    @property
    def scopes(self) -> Sequence[str]: ...


class Require:
    """Called with a connection, returns its `Claims` if they have all the scopes and at least one of the roles.

    Otherwise it raises an exception that is the `AuthError` (`MissingToken`: 401, `InsufficientScope`: 403,
    `InsufficientAuthentication`: 401) and Starlette's `HTTPException` with the challenge; `answer` makes its response.
    It raises `RuntimeError` if the app is not inside a `JWTMiddleware`. The call makes the check; its result may also
    be awaited.
    """

    def __init__(
        self,
        scopes: str | Iterable[str],
        roles: str | Iterable[str],
        acr: str | Iterable[str] | None = None,
        max_age: int | None = None,
    ) -> None:
        named = scopes if isinstance(scopes, str) else " ".join(names(scopes))
        self._scopes = _wanted(named, "scopes", given=scopes != ())
        self._roles = frozenset(_wanted((roles,) if isinstance(roles, str) else roles, "roles", given=roles != ()))
        self._step_up = StepUp.of(acr, max_age)
        self._asked = (type(self), frozenset(self._scopes), self._roles, self._step_up)
        self._hash = hash(self._asked)

    def __eq__(self, other: object) -> bool:
        """Whether both ask for the same, in any order: FastAPI finds a dependency's override by it."""
        return isinstance(other, Require) and self._asked == other._asked

    def __hash__(self) -> int:
        return self._hash

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes that are asked for."""
        return self._scopes

    @property
    def __signature__(self) -> Signature:
        """The parameters that FastAPI reads. Raises `AttributeError` while FastAPI is not loaded."""
        if "fastapi" not in sys.modules:
            raise AttributeError("__signature__")
        from asgi_jwt.fastapi import require_signature

        return require_signature(self._scopes)

    @overload
    def __call__(
        self, connection: HasScope, *, security_scopes: SecurityScopes | None = None, shown: None = None
    ) -> Claims: ...

    @overload
    def __call__(self, connection: HasScope, handler: object, /) -> None:
        """As a guard of Litestar."""

    def __call__(
        self,
        connection: HasScope,
        handler: object = None,
        *,
        security_scopes: SecurityScopes | None = None,
        shown: None = None,
    ) -> Claims | None:
        try:
            return self.check(connection.scope, *(security_scopes.scopes if security_scopes else ()))
        except AuthError as error:
            raise _as_http_exception(error, guard_of(connection.scope).challenge) from None

    def check(self, scope: Scope, *more: str) -> Claims:
        """The claims in the ASGI scope, if they have all scopes, those in `more` too, and at least one of the roles.

        Raises `MissingToken`, `InsufficientScope`, `InsufficientRole` or `InsufficientAuthentication`, `ValueError` if
        `more` has only empty names, and `RuntimeError` if the app is not inside a `JWTMiddleware`.
        """
        guard = guard_of(scope)
        claims: Claims | None = scope["claims"]
        if claims is None:
            raise MissingToken
        wanted = _with_more(self._scopes, more) if more else self._scopes
        granted = claims.credentials.scopes
        for name in wanted:
            if name not in granted:
                raise InsufficientScope(scope=" ".join(wanted))
        if self._roles and self._roles.isdisjoint(claims.roles):
            raise InsufficientRole
        if self._step_up is not None:
            self._step_up.check(claims, now=guard.auth.clock(), leeway=guard.auth.verifier.leeway_of(claims))
        return claims


async def _awaited(
    require: Require, connection: HTTPConnection, *, security_scopes: SecurityScopes | None = None
) -> None: ...


def _scopes_type() -> type[SecurityScopes]:
    """FastAPI's `SecurityScopes`, where FastAPI is loaded."""
    if "fastapi" not in sys.modules:
        return SecurityScopes
    from asgi_jwt import fastapi

    return fastapi.SecurityScopes


# By this FastAPI takes `require(...)` for a coroutine function, and runs it in the event loop. For a plain function it
# would use a thread, which costs more than the check and may not be free. FastAPI awaits the result, so
# `Claims.__await__` returns the claims themselves.
# FastAPI evaluates the annotation's text when it reads the signature of `require(...).__call__`.
_awaited.__annotations__["security_scopes"] = "_scopes_type()"
update_wrapper(Require.__call__, _awaited, assigned=())


@lru_cache(1024)
def _with_more(scopes: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return names((*scopes, *(name for listed in more for name in _wanted(listed, "scopes", given=True))))


def _wanted(listed: str | Iterable[str], what: str, *, given: bool) -> tuple[str, ...]:
    """The names in `listed`. Raises `ValueError` if they were `given` and are all empty; `what` is for its text."""
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


def answer(error: AuthError, scope: Mapping[str, object]) -> Response:
    """The response to `error`, for a framework's own error handler: status, challenge and JSON (RFC 6750 section 3).

    `scope` is the request's ASGI scope. Raises `RuntimeError` where no `JWTMiddleware` is around the app.
    """
    return guard_of(scope).challenge.response(error)


async def refusal(error: AuthError, scope: Scope) -> Response:
    """The same, for those that answer by themselves: the event is emitted."""
    await guard_of(scope).auth.events.emit(TokenRefused(error.reason, error.status, scope["type"]))
    return answer(error, scope)


def guard_of(scope: Mapping[str, Any]) -> Guard:
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


def require(
    *scopes: Annotated[str, _NotCalled],
    roles: str | Iterable[str] = (),
    acr: str | Iterable[str] | None = None,
    max_age: int | None = None,
) -> Require:
    """Requires of a route's user all of `scopes` and at least one of `roles`.

    With `acr` the login was of one of these kinds. With `max_age` it was at most so many seconds ago, plus `LEEWAY`.
    For any other login the answer asks the client to log in anew (RFC 9470).

    In FastAPI: `Annotated[Claims, Depends(require("orders:write"))]` or `Security(require(), scopes=["orders:write"])`.
    Elsewhere: `require("orders:write")(request)`. Raises `TypeError` for a scope, role or `acr` that is no string, and
    `ValueError` if all names are empty or `max_age` is negative.
    """
    for scope in scopes:
        if isinstance(scope, (HTTPConnection, Mapping)):
            raise TypeError(f"require was given a {kind(scope)}: require(...) makes the check, as require()(request)")
        if not isinstance(scope, str):
            raise TypeError(f"require takes each scope as a string, as require('a', 'b'), and was given {kind(scope)}")
    return Require(scopes, roles, acr, max_age)


class RequireMiddleware:
    """Requires scopes, roles and a login around an ASGI app or a Starlette route. The arguments are those of `require`.

    For a route: `Route(..., middleware=[Middleware(RequireMiddleware, scopes="orders:write")])`. It refuses HTTP
    requests and WebSockets itself, with the challenge. Built while an event loop runs, as Starlette's `add_middleware`
    does, it raises the error when it is called, and so ends the server's start. When called it raises `RuntimeError` if
    it is not inside a `JWTMiddleware`.
    """

    def __init__(
        self,
        app: AnyASGIApp,
        *,
        scopes: str | Iterable[str] = (),
        roles: str | Iterable[str] = (),
        acr: str | Iterable[str] | None = None,
        max_age: int | None = None,
    ) -> None:
        self.app = app
        self._fault: Exception | None = None
        try:
            self._require = Require(scopes, roles, acr, max_age)
        except (TypeError, ValueError) as fault:
            if not in_event_loop():
                raise
            # A server takes an exception from the lifespan for an app without lifespan, and would start all the same.
            self._fault = fault

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._fault is not None:
            await refuse_start(scope, receive, send, self._fault)
        check_scope_type(scope)
        if scope["type"] != "lifespan":
            try:
                self._require.check(scope)
            except AuthError as error:
                await deny(await refusal(error, scope), scope, receive, send)
                return
        await self.app(scope, receive, send)


def denying_sockets(app: AnyASGIApp) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """`app`, whose close of a WebSocket is the answer to the error in `scope[SOCKET_REFUSAL]`, where there is one."""

    async def denying(scope: Any, receive: Any, send: Any) -> None:
        accepted = False

        async def deny_or_send(message: Message) -> None:
            nonlocal accepted
            accepted = accepted or message["type"] == "websocket.accept"
            error: AuthError | None = scope.get(SOCKET_REFUSAL) if message["type"] == "websocket.close" else None
            if error is None:
                await send(message)
            elif accepted:
                await send({**message, "code": close_code(error.status), "reason": ""})
            else:
                await deny(answer(error, scope), scope, receive, send)

        await app(scope, receive, deny_or_send if scope["type"] == "websocket" else send)

    return denying
