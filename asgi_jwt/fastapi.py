"""FastAPI's own idioms: the signature that it reads of `require`, and its OpenAPI document."""

from collections.abc import Sequence
from functools import partial
from inspect import Parameter, Signature
from posixpath import dirname, relpath
from typing import Any

from fastapi import FastAPI, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.requests import HTTPConnection
from fastapi.security import SecurityScopes as SecurityScopes
from fastapi.security.base import SecurityBase
from fastapi.websockets import WebSocket, WebSocketState

from asgi_jwt.auth import Auth
from asgi_jwt.errors import AuthError
from asgi_jwt.http.asgi import checked_auth
from asgi_jwt.http.bearer import close_code, deny
from asgi_jwt.http.openapi import REFUSAL_SCHEMA, SCHEME, auth_app_paths, refusal_schema, refusals, security_scheme
from asgi_jwt.http.require import refusal
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
    there. Where `auth` opens no sessions, that button takes a token. Routes with `require` get the responses 401 and
    403. A handler of the app's own for `AuthError` stays. May be called before and after the routes are added. Raises
    `ConfigurationError` where `auth` is no `Auth`.
    """
    settings = checked_auth(auth, "document(app, auth)").settings
    opens_sessions = bool(settings.refresh_secret)
    made = app.openapi
    mount = f"/{path.strip('/')}".rstrip("/")
    # Swagger UI takes the URL relative to its page, so that it holds below any prefix.
    token_url = relpath(f"{mount}/login", dirname(app.docs_url or "/")) if opens_sessions else None

    def openapi() -> dict[str, Any]:
        auth_app = auth_app_paths(mount, takes_logout_tokens=bool(settings.logout_audience))
        return _completed(made(), auth_app if opens_sessions else {}, token_url)

    vars(app)["openapi"] = openapi  # FastAPI's documented way to extend the document
    app.exception_handlers.setdefault(AuthError, _refused)


def _completed(document: dict[str, Any], auth_app: dict[str, Any], token_url: str | None) -> dict[str, Any]:
    """`document`, completed in place: FastAPI keeps it, and what is complete already stays as it is."""
    paths = document["paths"]
    operations = [each for path in paths if path not in auth_app for each in paths[path].values()]
    scopes: set[str] = set()
    for operation in operations:
        for needed in operation.get("security", []):
            if SCHEME in needed:
                scopes.update(needed[SCHEME])
                operation["responses"] = {**refusals(), **operation["responses"]}
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).setdefault(REFUSAL_SCHEMA, refusal_schema())
    components.setdefault("securitySchemes", {})[SCHEME] = security_scheme(token_url, sorted(scopes))
    document["paths"] = paths | {path: auth_app[path] for path in auth_app if path not in paths}
    return document


async def _refused(connection: HTTPConnection, error: Any) -> Any:
    """The answer, as an ASGI app: Starlette calls the return value. None for a WebSocket that was accepted already."""
    response = await refusal(error, connection.scope)
    if isinstance(connection, WebSocket) and connection.application_state is WebSocketState.CONNECTED:
        await connection.close(close_code(error.status))
        return None
    return partial(deny, response)
