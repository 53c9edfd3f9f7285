"""A request's token, and an error's answer: RFC 6750, RFC 9728."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

from anyio import move_on_after
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from asgi_jwt.errors import (
    AmbiguousCredentials,
    AuthError,
    InsufficientScope,
    InvalidRequest,
    MalformedCredentials,
    MissingToken,
)
from asgi_jwt.http.asgi import stating_the_end

Headers = Sequence[tuple[bytes, bytes]]

NO_STORE = {"Cache-Control": "no-store"}
FOR_ALL = {"Access-Control-Allow-Origin": "*", "Cache-Control": "max-age=3600"}
"""For documents that any page of any site may read."""
"""The header of every answer that is about tokens, sessions or their refusal: RFC 9111 section 5.2.2.5."""

_MOST_HEADERS = 1000
# Browsers send 180 cookies of a domain at most, and a page offers a handful of subprotocols. Looking through 64 KB of
# any of these takes 2 ms.
_MOST_COOKIES = 1000
_MOST_SUBPROTOCOLS = 100
_CONNECT_WITHIN = 1.0
"""Seconds: servers have the `websocket.connect` there when they call an app."""


def bearer_token(headers: Headers) -> bytes | None:
    """The Bearer token of the Authorization header; None for another scheme and for no header (RFC 6750 section 2.1).

    Raises `AmbiguousCredentials` for two headers, `MalformedCredentials` for no or several credentials, and
    `InvalidRequest` for more than 1,000 headers of any name.
    """
    check_count(headers)
    found = None
    for name, value in headers:
        if name == b"authorization":
            if found is not None:
                raise AmbiguousCredentials
            found = value
    if found is None:
        return None
    scheme, _, credentials = found.strip(b" \t").partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    credentials = credentials.strip(b" ")
    if not credentials or b" " in credentials:
        raise MalformedCredentials
    return credentials


def check_count(headers: Headers) -> None:
    """Raises `InvalidRequest` for more than 1,000 headers: each is looked at several times."""
    if len(headers) > _MOST_HEADERS:
        raise InvalidRequest(f"more than {_MOST_HEADERS} headers")


def cookie_token(headers: Headers, cookie: bytes) -> bytes | None:
    """The value of the cookie.

    Raises `AmbiguousCredentials` for two of the name (a sibling domain can toss one), and `InvalidRequest` for more
    than 1,000 cookies.
    """
    # HTTP/2 may split the header (RFC 9113 section 8.2.3).
    given = b";".join([b"", *(value for name, value in headers if name == b"cookie")])
    if cookie not in given:
        return None
    if given.count(b";") > _MOST_COOKIES:
        raise InvalidRequest(f"more than {_MOST_COOKIES} cookies")
    found = [value.strip(b' \t"') for value in _values_of(cookie)(given)]
    if len(found) > 1:
        raise AmbiguousCredentials
    return found[0] if found and found[0] else None


@cache
def _values_of(cookie: bytes) -> Callable[[bytes], list[bytes]]:
    # One linear pass in C: taking 64 KB of semicolons apart one by one takes 30 ms before any token is seen.
    return re.compile(rb";[ \t]*+" + re.escape(cookie) + rb"[ \t]*+=([^;]*+)").findall


def subprotocol_token(scope: Scope) -> bytes | None:
    """The token behind `bearer` among a WebSocket's subprotocols.

    Raises `MalformedCredentials` where nothing follows `bearer`, `AmbiguousCredentials` where it is there twice, and
    `InvalidRequest` for more than 100 subprotocols.
    """
    offered = _subprotocols(scope)
    if len(offered) > _MOST_SUBPROTOCOLS:
        raise InvalidRequest(f"more than {_MOST_SUBPROTOCOLS} subprotocols")
    positions = [position for position, name in enumerate(offered) if name == "bearer"]
    if not positions:
        return None
    if len(positions) > 1:
        raise AmbiguousCredentials
    behind = positions[0] + 1
    if behind == len(offered):
        raise MalformedCredentials
    # Bytes outside ASCII are nothing a token has: the parser refuses them.
    return offered[behind].encode("utf-8", "replace")


def hide_subprotocol_token(scope: Scope) -> bool:
    """Whether the WebSocket offers `bearer`; the name behind it is then taken out of the scope's subprotocols.

    The app might select it, which would send the token back in the clear of a response header. Of more than 100
    subprotocols, none stays.
    """
    offered = _subprotocols(scope)
    if len(offered) > _MOST_SUBPROTOCOLS:
        scope["subprotocols"] = offered = []
    if "bearer" not in offered:
        return False
    scope["subprotocols"] = [name for before, name in zip(("", *offered), offered, strict=False) if before != "bearer"]
    return True


def _subprotocols(scope: Scope) -> Sequence[str]:
    offered: Sequence[str] = scope.get("subprotocols", ()) if scope["type"] == "websocket" else ()
    return offered


class Challenge:
    """How errors are answered: with the realm and the URL of the resource's metadata, if there is one.

    `scopes` are those that the challenge for no token names.
    """

    def __init__(self, realm: str, resource_metadata: str | None = None, scopes: Iterable[str] = ()) -> None:
        self._start = f'Bearer realm="{realm}"'
        if resource_metadata is not None:
            self._start += f', resource_metadata="{resource_metadata}"'
        self._scope = " ".join(scopes)

    def header(self, error: AuthError) -> str:
        """The value of `WWW-Authenticate`: RFC 6750 section 3, RFC 9728 section 5.1."""
        value = self._start
        if error.error is not None:
            value += f', error="{_quotable(error.error)}", error_description="{_quotable(error.description)}"'
        if isinstance(error, MissingToken) and self._scope:
            value += f', scope="{self._scope}"'
        if isinstance(error, InsufficientScope) and error.scope:
            value += f', scope="{_quotable(error.scope)}"'
        return value

    def headers(self, error: AuthError) -> dict[str, str]:
        """The headers of the answer."""
        headers = dict(NO_STORE)
        if error.challenges:
            headers["WWW-Authenticate"] = self.header(error)
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        return headers

    def response(self, error: AuthError) -> Response:
        """The answer: JSON."""
        return JSONResponse(error_body(error), status_code=error.status, headers=self.headers(error))


def error_body(error: AuthError) -> dict[str, str]:
    """`error` and `error_description` (RFC 6749 section 5.2).

    No `error` where RFC 6750 section 3.1 wants none: a person still reads what is missing.
    """
    named = {} if error.error is None else {"error": error.error}
    return {**named, "error_description": error.description}


def error_response(status: int, told: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """The answer for what is no `AuthError`, in the same shape. `told` None: the status's own phrase."""
    name = {404: "not_found", 405: "method_not_allowed"}.get(status, "invalid_request")
    body = {"error": name, "error_description": told or HTTPStatus(status).phrase}
    return JSONResponse(body, status_code=status, headers={**(headers or {}), **NO_STORE})


def _quotable(text: str) -> str:
    """What is safe and allowed in a quoted-string: RFC 6750 section 3."""
    return "".join(character if " " <= character <= "~" and character not in '"\\' else "?" for character in text)


def close_code(status: int) -> int:
    """The code to close a WebSocket with in the place of an HTTP status: those registered with IANA."""
    return {403: 3003, 503: 1013}.get(status, 3000)


async def deny(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with `response` instead of the app; a WebSocket is denied before it is accepted."""
    if scope["type"] == "websocket":
        message: Any = None
        with move_on_after(_CONNECT_WITHIN):  # Quart's test client sends no `websocket.connect`
            message = await receive()
        if message is not None and message["type"] != "websocket.connect":
            return
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": close_code(response.status_code), "reason": ""})
            return
    await response(scope, receive, stating_the_end(send))
