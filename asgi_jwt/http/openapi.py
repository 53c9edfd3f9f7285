"""The parts of an OpenAPI 3.1 document that are the same in every framework: the scheme, refusals, AuthApp's routes."""

from collections.abc import Iterable
from typing import Any

SCHEME = "Bearer"
"""The name of the security scheme."""

REFUSAL_SCHEMA = "AuthRefusal"
"""The name of the schema of a refusal's body."""

Part = dict[str, Any]

_CHALLENGE = {"description": "The challenge (RFC 6750 section 3)", "schema": {"type": "string"}}
_TEXT = {"type": "string"}
_PLAIN = {"type": "object"}
_TOKENS = {
    "type": "object",
    "properties": {
        "access_token": _TEXT,
        "token_type": _TEXT,
        "expires_in": {"type": "integer", "description": "Seconds"},
        "scope": _TEXT,
        "refresh_token": {"type": "string", "description": "Only where the refresh token travels in the body"},
    },
    "required": ["access_token", "token_type", "expires_in", "scope"],
}
_SESSION = {
    "type": "object",
    "properties": {
        "sid": _TEXT,
        "client": _PLAIN,
        "created_at": {"type": "integer", "description": "Seconds since 1970"},
        "used_at": {"type": "integer", "description": "Seconds since 1970"},
        "current": {"type": "boolean", "description": "Whether the access token is of this session"},
    },
}
_SESSIONS = {"type": "object", "properties": {"sessions": {"type": "array", "items": _SESSION}}}
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"


def security_scheme(token_url: str | None = None, scopes: Iterable[str] = ()) -> Part:
    """The scheme of a Bearer token. With a `token_url`, one that logs in there with a password (RFC 6749 section 4.3).

    `scopes` are those that a user may ask for.
    """
    if token_url is None:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    return {"type": "oauth2", "flows": {"password": {"tokenUrl": token_url, "scopes": dict.fromkeys(scopes, "")}}}


def refusal_schema() -> Part:
    """The body of each refusal: RFC 6749 section 5.2. A request without a token is answered without an `error`."""
    return {
        "type": "object",
        "title": REFUSAL_SCHEMA,
        "properties": {"error": _TEXT, "error_description": _TEXT},
        "required": ["error_description"],
    }


def refusals() -> Part:
    """The responses 401 and 403 of a route that asks for a token."""
    return {
        "401": _refusal("No valid access token", challenge=True),
        "403": _refusal("The access token grants too little", challenge=True),
    }


def auth_app_paths(mount: str, *, takes_logout_tokens: bool = False) -> Part:
    """The paths of an `AuthApp` that is mounted at `mount`."""
    operations = [*_operations(), *(_logout_tokens() if takes_logout_tokens else ())]
    return {mount + path: {method: _named(operation, mount, path)} for path, method, operation in operations}


def _operations() -> Iterable[tuple[str, str, Part]]:
    token: list[Part] = [{SCHEME: []}]
    cookie_or_token: list[Part] = [{SCHEME: []}, {}]
    login = _fields("username", "password", transport="body: the refresh token travels in the body, not as a cookie")
    yield "/login", "post", _operation("Log in", login, 200, _TOKENS, 400, 401, 403, 413, 415, 429, 503)
    yield "/refresh", "post", _operation("Exchange the refresh cookie", None, 200, _TOKENS, 400, 401, 403, 503)
    grant = _fields("grant_type", "refresh_token", client_id="", scope="")
    yield "/token", "post", _operation("Exchange a refresh token", grant, 200, _TOKENS, 400, 413, 415, 503)
    yield "/logout", "post", _operation("Log out", None, 204, None, 400, 403, 503, security=cookie_or_token)
    everywhere = _operation("Log out everywhere", None, 204, None, 400, 401, 403, 503, security=cookie_or_token)
    yield "/logout-all", "post", everywhere
    yield "/sessions", "get", _operation("List the sessions", None, 200, _SESSIONS, 400, 401, 503, security=token)
    end = _operation("End a session", None, 204, None, 400, 401, 403, 404, 503, security=token)
    yield "/sessions/{sid}", "delete", {**end, "parameters": [_path_parameter("sid")]}
    revoke = _fields("token", token_type_hint="")
    yield "/revoke", "post", _operation("Revoke a token", revoke, 200, _PLAIN, 400, 413, 415, 503)
    metadata = "/.well-known/oauth-authorization-server"
    yield metadata, "get", _operation("The authorization server's metadata", None, 200, _PLAIN, 404)
    yield "/.well-known/jwks.json", "get", _operation("The public keys", None, 200, _PLAIN)
    script = {"200": _answer("A module", _TEXT, "text/javascript")}
    yield "/asgi-jwt.js", "get", {"summary": "The browser client", "responses": script}
    yield "/asgi-jwt-dpop.js", "get", {"summary": "DPoP for the browser client", "responses": script}


def _logout_tokens() -> Iterable[tuple[str, str, Part]]:
    logout = _operation("Take an issuer's logout token", _fields("logout_token"), 200, None, 400, 413, 415, 503)
    yield "/backchannel-logout", "post", logout


def _named(operation: Part, mount: str, path: str) -> Part:
    identifier = "".join(character if character.isalnum() else "_" for character in f"{mount}{path}").strip("_")
    return {"tags": [mount.strip("/") or "auth"], "operationId": identifier, **operation}


def _operation(summary: str, body: Part | None, status: int, schema: Part | None, *refused: int, **more: Any) -> Part:
    answer = {"description": "Done"} if schema is None else _answer("Done", schema)
    refusals = {str(code): _refusal("Refused", challenge=code == 401) for code in refused}
    operation = {"summary": summary, "responses": {str(status): answer, **refusals}, **more}
    return operation if body is None else {**operation, "requestBody": body}


def _fields(*required: str, **optional: str) -> Part:
    described = {name: {"type": "string", "description": told} if told else _TEXT for name, told in optional.items()}
    properties = {**dict.fromkeys(required, _TEXT), **described}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"required": True, "content": {kind: {"schema": schema} for kind in (_FORM, _JSON)}}


def _path_parameter(name: str) -> Part:
    return {"name": name, "in": "path", "required": True, "schema": _TEXT}


def _refusal(description: str, *, challenge: bool) -> Part:
    answer = _answer(description, {"$ref": f"#/components/schemas/{REFUSAL_SCHEMA}"})
    return {**answer, "headers": {"WWW-Authenticate": _CHALLENGE}} if challenge else answer


def _answer(description: str, schema: Part, kind: str = _JSON) -> Part:
    return {"description": description, "content": {kind: {"schema": schema}}}
