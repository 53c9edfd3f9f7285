"""Quart: `current_claims`, and `requires` for views of requests and of WebSockets."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from quart import current_app, has_websocket_context, request, websocket
from quart.wrappers import Response
from starlette.types import Scope
from werkzeug.local import LocalProxy

from asgi_jwt.errors import AuthError
from asgi_jwt.http.require import guard_of, refusal, require
from asgi_jwt.tokens.claims import Claims

P = ParamSpec("P")
T = TypeVar("T")


def _scope() -> Scope:
    """The ASGI scope of the current request or WebSocket."""
    scope: Any = (websocket if has_websocket_context() else request).scope
    return scope  # type: ignore[no-any-return]


def _claims() -> Claims | None:
    guard_of(_scope())
    claims: Claims | None = _scope()["claims"]
    return claims


current_claims: Claims = LocalProxy(_claims)  # type: ignore[assignment]
"""The `Claims` of the current request or WebSocket. It is false for an anonymous request.

Raises `RuntimeError` outside a request, and where no `JWTMiddleware` is around the app.
"""


def requires(
    *scopes: str, roles: str | Iterable[str] = (), acr: str | Iterable[str] | None = None, max_age: int | None = None
) -> Callable[[Callable[P, T]], Callable[P, Any]]:
    """A decorator of views: 401 or 403 with the challenge unless the token has what `require` asks for.

    It stands below `@app.get(...)` or `@app.websocket(...)`; a WebSocket is denied before it is accepted. Raises
    `TypeError` and `ValueError` as `require`.
    """
    required = require(*scopes, roles=roles, acr=acr, max_age=max_age)

    def decorate(view: Callable[P, T]) -> Callable[P, Any]:
        @wraps(view)
        async def checked(*arguments: P.args, **keywords: P.kwargs) -> Any:
            scope = _scope()
            try:
                required.check(scope)
            except AuthError as error:
                refused = await refusal(error, scope)
                return Response(bytes(refused.body), refused.status_code, dict(refused.headers))
            return await current_app.ensure_async(view)(*arguments, **keywords)

        return checked

    return decorate
