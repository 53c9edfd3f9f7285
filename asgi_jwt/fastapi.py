"""FastAPI's own idioms: the signature that it reads of `require`, and its OpenAPI document."""

from collections.abc import Iterator, Sequence
from functools import partial
from inspect import Parameter, Signature
from posixpath import dirname, relpath
from typing import Any

from fastapi import FastAPI, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.requests import HTTPConnection
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from asgi_jwt.auth import Auth
from asgi_jwt.errors import AuthError
from asgi_jwt.http.asgi import checked_auth
from asgi_jwt.http.bearer import close_code, deny
from asgi_jwt.http.openapi import REFUSAL, SCHEME, auth_app_paths, refusal_schema, refusals, security_scheme
from asgi_jwt.http.require import answer
from asgi_jwt.tokens.claims import Claims


class _BearerToken(SecurityBase):
    """The scheme that FastAPI's document shows. As a dependency it does nothing: `require` makes the check."""

    model = HTTPBearer(bearerFormat="JWT")
    scheme_name = SCHEME

    async def __call__(self) -> None:
        return None


_BEARER_TOKEN = _BearerToken()


def require_signature(scopes: Sequence[str]) -> Signature:
    """The signature of `require(*scopes)`: FastAPI injects by annotation, and shows the scopes in its document.

    FastAPI hands over the scopes of each `Security` on the way to the dependency as `security_scopes`.
    """
    return Signature(
        [
            Parameter("connection", Parameter.POSITIONAL_OR_KEYWORD, annotation=HTTPConnection),
            Parameter("security_scopes", Parameter.KEYWORD_ONLY, annotation=SecurityScopes),
            Parameter("shown", Parameter.KEYWORD_ONLY, default=Security(_BEARER_TOKEN, scopes=list(scopes))),
        ],
        return_annotation=Claims,
    )


def document(app: FastAPI, auth: Auth, path: str = "/auth") -> None:
    """Complete the OpenAPI document of `app`, and answer the refusals of `require` as `JWTMiddleware` answers.

    `path` is where the `AuthApp` of `auth` is mounted: its routes are added, and the page's button Authorize logs in
    there. Routes with `require` get the responses 401 and 403. May be called before and after the routes are added.
    Raises `ConfigurationError` where `auth` is no `Auth`.
    """
    checked_auth(auth, "document(app, auth)")
    made = app.openapi
    mount = f"/{path.strip('/')}".rstrip("/")
    # Swagger UI takes the URL relative to its page, so that it holds below any prefix.
    token_url = relpath(f"{mount}/login", dirname(app.docs_url or "/"))

    def openapi() -> dict[str, Any]:
        return _completed(made(), auth_app_paths(mount), token_url)

    vars(app)["openapi"] = openapi  # FastAPI's documented way to extend the document
    app.add_exception_handler(AuthError, _refused)


def _completed(document: dict[str, Any], auth_app: dict[str, Any], token_url: str) -> dict[str, Any]:
    """`document`, completed in place: FastAPI keeps it, so each step gives the same the next time."""
    scopes: set[str] = set()
    for operation in _operations(document, other_than=auth_app):
        for needed in operation.get("security", []):
            if SCHEME in needed:
                scopes.update(needed[SCHEME])
                operation["responses"] = {**refusals(), **operation["responses"]}
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).setdefault(REFUSAL, refusal_schema())
    components.setdefault("securitySchemes", {})[SCHEME] = security_scheme(token_url, sorted(scopes))
    document["paths"] = document["paths"] | {path: auth_app[path] for path in auth_app if path not in document["paths"]}
    return document


def _operations(document: dict[str, Any], *, other_than: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path, operations in document["paths"].items():
        if path not in other_than:
            yield from operations.values()


async def _refused(connection: HTTPConnection, error: Any) -> Response | None:
    if isinstance(connection, WebSocket) and connection.application_state is WebSocketState.CONNECTED:
        await connection.close(close_code(error.status))
        return None
    denial: Any = partial(deny, answer(error, connection.scope))
    return denial  # Starlette calls it as any ASGI app
