"""Reads the token of a request, and builds the answer for an error: RFC 6750, RFC 9449, RFC 9728."""

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

from anyio import move_on_after
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from asgi_jwt.errors import (
    AmbiguousCredentials,
    AuthError,
    InvalidRequest,
    MalformedCredentials,
    MissingToken,
)
from asgi_jwt.http.asgi import with_more_body
from asgi_jwt.tokens.binding import Mode
from asgi_jwt.tokens.proof import PROOF_ALGORITHMS

Headers = Sequence[tuple[bytes, bytes]]

NO_STORE = {"Cache-Control": "no-store"}
"""For every answer about tokens, sessions or a refusal: no cache keeps it (RFC 9111 section 5.2.2.5)."""

FOR_ALL_SITES = {"Access-Control-Allow-Origin": "*", "Cache-Control": "max-age=3600"}
"""For a public document: a page of any site may read it."""

# A browser keeps 180 cookies of a domain, and a page offers a few subprotocols. Without these limits an anonymous
# request with 64 KB of them would take 2 ms.
MAX_HEADERS = 1000
_MAX_COOKIES = 1000
MAX_SUBPROTOCOLS = 100
_ALGS = f', algs="{" ".join(PROOF_ALGORITHMS)}"'
_ENDS: Mapping[Mode, Mapping[str, str]] = {
    "off": {"Bearer": ""},
    "on": {"Bearer": "", "DPoP": _ALGS},
    "required": {"DPoP": _ALGS},
}
"""The schemes that a challenge names by the setting `DPOP`, and the end of each."""

_CONNECT_WITHIN = 1.0
"""Seconds. A server has the message `websocket.connect` ready when it calls an app; Quart's test client sends none."""


Shown = tuple[bytes, bytes, list[bytes]]
"""The scheme of an Authorization header in lower case, its token, and the values of the `DPoP` headers.

A plain tuple costs each request with a proof 0.4 µs less than a named one.
"""


def authorization_token(headers: Headers, schemes: Container[bytes]) -> Shown | None:
    """The token of the Authorization header, with its scheme and the `DPoP` headers beside it.

    None: there is no Authorization header, or its scheme is none of `schemes`.

    Raises `AmbiguousCredentials` for two Authorization headers, `MalformedCredentials` for a scheme with no or several
    credentials, and `InvalidRequest` for more than 1,000 headers of any name (RFC 6750 section 2.1, RFC 9449 section
    7.1).
    """
    if len(headers) > MAX_HEADERS:  # inlined for speed, and the search for `DPoP` with it
        check_header_count(headers)
    found = None
    proofs = []
    for name, value in headers:
        if name == b"authorization":
            if found is not None:
                raise AmbiguousCredentials
            found = value
        elif name == b"dpop":
            proofs.append(value)
    if found is None:
        return None
    scheme, _, credentials = found.strip(b" \t").partition(b" ")
    scheme = scheme.lower()
    if scheme not in schemes:
        return None
    credentials = credentials.strip(b" ")
    if not credentials or b" " in credentials:
        raise MalformedCredentials
    return scheme, credentials, proofs


def header_token(headers: Headers, name: bytes) -> bytes | None:
    """The token in a gateway's header of this lower-case name, bare or behind `Bearer`. None: absent, or empty.

    Raises `AmbiguousCredentials` for two headers of the name, `MalformedCredentials` for any other blank within the
    value, and `InvalidRequest` for more than 1,000 headers of any name.
    """
    check_header_count(headers)
    found = [value.strip(b" \t") for each, value in headers if each == name]
    # WSGI, and some proxies, join headers of one name with a comma, which no token contains (RFC 9110 section 5.3).
    if len(found) > 1 or (found and b"," in found[0]):
        raise AmbiguousCredentials
    if not found or not found[0]:
        return None
    scheme, _, credentials = found[0].partition(b" ")
    token = credentials.strip(b" ") if scheme.lower() == b"bearer" else found[0]
    if not token or b" " in token or b"\t" in token:
        raise MalformedCredentials
    return token


def check_header_count(headers: Headers) -> None:
    """Raises `InvalidRequest` for more than 1,000 headers, because several functions search all of them."""
    if len(headers) > MAX_HEADERS:
        raise InvalidRequest(f"more than {MAX_HEADERS} headers")


def cookie_token(headers: Headers, cookie: bytes) -> bytes | None:
    """The value of the cookie. None: the request has no such cookie, or its value is empty.

    Raises `AmbiguousCredentials` for two cookies of this name, because a sibling domain may have set one of them.
    Raises `InvalidRequest` for more than 1,000 cookies.
    """
    # HTTP/2 may split the header (RFC 9113 section 8.2.3).
    given = b";".join([b"", *(value for name, value in headers if name == b"cookie")])
    if cookie not in given:
        return None
    if given.count(b";") > _MAX_COOKIES:
        raise InvalidRequest(f"more than {_MAX_COOKIES} cookies")
    found = [value.strip(b' \t"') for value in _values_of(cookie)(given)]
    if len(found) > 1:
        raise AmbiguousCredentials
    return found[0] if found and found[0] else None


@cache
def _values_of(cookie: bytes) -> Callable[[bytes], list[bytes]]:
    # The pattern takes one linear pass in C. Splitting 64 KB of semicolons in Python takes 30 ms.
    return re.compile(rb";[ \t]*+" + re.escape(cookie) + rb"[ \t]*+=([^;]*+)").findall


def subprotocol_token(scope: Scope) -> bytes | None:
    """The token that follows `bearer` in a WebSocket's list of subprotocols. None: `bearer` is not offered.

    Raises `MalformedCredentials` if nothing follows `bearer`, and `AmbiguousCredentials` if `bearer` is offered twice.
    """
    offered = subprotocols(scope)
    positions = [position for position, name in enumerate(offered) if name == "bearer"]
    if not positions:
        return None
    if len(positions) > 1:
        raise AmbiguousCredentials
    behind = positions[0] + 1
    if behind == len(offered):
        raise MalformedCredentials
    # A token is ASCII. The parser refuses every other byte.
    return offered[behind].encode("utf-8", "replace")


def hide_subprotocol_token(scope: Scope, *, dpop: bool) -> str | None:
    """Take the token out of the scope's subprotocols, and return the name that it follows. None: there is no token.

    A token follows `bearer`; if `dpop` is true, a token and a proof follow `dpop`. An app that selected the token as
    its subprotocol would send the token back in a response header. If more than 100 subprotocols are offered, all of
    them are removed.
    """
    offered = scope.get("subprotocols", ())
    if len(offered) > MAX_SUBPROTOCOLS:
        scope["subprotocols"] = offered = []
    schemes = ("dpop", "bearer") if dpop else ("bearer",)
    followed = next((scheme for scheme in schemes if scheme in offered), None)
    if followed is not None:
        around = zip(("", "", *offered), ("", *offered), offered, strict=False)
        scope["subprotocols"] = [
            name for second, first, name in around if first not in schemes and not (dpop and second == "dpop")
        ]
    return followed


def subprotocols(scope: Scope) -> Sequence[str]:
    """The subprotocols that a WebSocket offers. Raises `InvalidRequest` for more than 100."""
    offered: Sequence[str] = scope.get("subprotocols", ()) if scope["type"] == "websocket" else ()
    if len(offered) > MAX_SUBPROTOCOLS:
        raise InvalidRequest(f"more than {MAX_SUBPROTOCOLS} subprotocols")
    return offered


class Challenge:
    """Builds the answers for errors, with their `WWW-Authenticate` header.

    `realm` and `resource_metadata`, the URL of the resource's metadata, stand in each challenge. `scopes` stand in the
    challenges of a request without a token. `dpop` is the setting `DPOP`: with `on` there is a challenge for each of
    the schemes `Bearer` and `DPoP`, and the error stands in that of `scheme`, by which the token came.
    """

    def __init__(
        self,
        realm: str,
        resource_metadata: str | None = None,
        scopes: Iterable[str] = (),
        *,
        dpop: Mode = "off",
        scheme: str = "Bearer",
    ) -> None:
        self._start = f' realm="{realm}"'
        if resource_metadata is not None:
            self._start += f', resource_metadata="{resource_metadata}"'
        self._scope = " ".join(scopes)
        self._ends = _ENDS[dpop]
        self._scheme = scheme if scheme in self._ends else next(iter(self._ends))

    def header(self, error: AuthError) -> str:
        """The value of `WWW-Authenticate` (RFC 6750 section 3, RFC 9449 section 7.1, RFC 9728 section 5.1)."""
        return ", ".join(f"{scheme}{self._parameters(scheme, error)}{end}" for scheme, end in self._ends.items())

    def _parameters(self, scheme: str, error: AuthError) -> str:
        value = self._start
        if isinstance(error, MissingToken) and self._scope:
            value += f', scope="{self._scope}"'
        if scheme == self._scheme:
            if error.error is not None:
                value += f', error="{_quotable(error.error)}", error_description="{_quotable(error.description)}"'
            value += "".join(f', {name}="{_quotable(text)}"' for name, text in error.parameters.items())
        return value

    def headers(self, error: AuthError) -> dict[str, str]:
        """All headers of the answer: `Cache-Control`, and by the error `WWW-Authenticate` and `Retry-After`."""
        headers = dict(NO_STORE)
        if error.challenges:
            headers["WWW-Authenticate"] = self.header(error)
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        return headers

    def response(self, error: AuthError) -> Response:
        """The answer, with the error as JSON."""
        return JSONResponse(error_body(error), status_code=error.status, headers=self.headers(error))


def error_body(error: AuthError) -> dict[str, str]:
    """The JSON object of an error: `error` and `error_description` (RFC 6749 section 5.2).

    For a request without a token `error` is left out (RFC 6750 section 3.1).
    """
    named = {} if error.error is None else {"error": error.error}
    return {**named, "error_description": error.description}


def error_response(status: int, description: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """The answer for an HTTP status without an `AuthError`, in the same JSON shape.

    `description`: None takes the standard phrase of the status.
    """
    name = {404: "not_found", 405: "method_not_allowed"}.get(status, "invalid_request")
    body = {"error": name, "error_description": description or HTTPStatus(status).phrase}
    return JSONResponse(body, status_code=status, headers={**(headers or {}), **NO_STORE})


def _quotable(text: str) -> str:
    """`text` with `?` for each character that a challenge's quoted-string may not have (RFC 6750 section 3)."""
    return "".join(character if " " <= character <= "~" and character not in '"\\' else "?" for character in text)


def close_code(status: int) -> int:
    """The WebSocket close code that corresponds to an HTTP status. The codes are registered with IANA."""
    return {403: 3003, 503: 1013}.get(status, 3000)


async def deny(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send `response` and don't call the app. A WebSocket is refused before it is accepted."""
    if scope["type"] == "websocket":
        message: Any = None
        with move_on_after(_CONNECT_WITHIN):
            message = await receive()
        if message is not None and message["type"] != "websocket.connect":
            return
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": close_code(response.status_code), "reason": ""})
            return
    await response(scope, receive, with_more_body(send))
