"""The host's own requests and responses, of any framework, as `AuthApp.start_session` takes them."""

from collections.abc import Mapping
from http.cookies import SimpleCookie
from typing import Any

from starlette.types import Scope

from asgi_jwt.http.gate import wsgi_scope
from asgi_jwt.tokens.identity import kind


def scope_of(request: Any) -> Scope:
    """A copy of the ASGI scope of `request`: an ASGI scope, or the request of a framework, under WSGI Django's.

    Raises `TypeError` for any other object.
    """
    scope = request if isinstance(request, Mapping) else getattr(request, "scope", None)
    if isinstance(scope, Mapping) and scope.get("type") == "http" and "headers" in scope:
        return dict(scope)
    if isinstance(environ := getattr(request, "META", None), Mapping):
        scope = wsgi_scope(environ, request.headers.items())
        return {**scope, "method": request.method, "scheme": request.scheme, "path": request.path}
    raise TypeError(f"start_session takes a request with its ASGI scope, or Django's, and was given {kind(request)}")


class HostResponse:
    """A response of the host's, to which headers `Set-Cookie` are added in the way of its framework.

    Raises `TypeError` for an object that takes neither headers nor cookies.
    """

    def __init__(self, response: Any) -> None:
        headers = getattr(response, "headers", None)
        # Falcon; Starlette and FastAPI; Quart and Sanic.
        ways = (response, "append_header"), (headers, "append"), (headers, "add")
        found = [way for owner, name in ways if not isinstance(owner, list) and (way := getattr(owner, name, None))]
        self._add = found[0] if found else None
        self._set_cookie: Any = getattr(response, "set_cookie", None)  # Django and Litestar
        if isinstance(response, type) or (self._add is None and self._set_cookie is None):
            raise TypeError(f"start_session sets cookies on a response with headers, and was given {kind(response)}")

    @property
    def headers(self) -> "HostResponse":
        return self

    def append(self, name: str, value: str) -> None:
        """Add the header `Set-Cookie` with this value (RFC 6265 section 4.1)."""
        if self._add is not None:
            self._add(name, value)
            return
        for key, cookie in SimpleCookie(value).items():
            self._set_cookie(
                key,
                cookie.value,
                max_age=int(cookie["max-age"]) if cookie["max-age"] else None,
                path=cookie["path"],
                secure=bool(cookie["secure"]),
                httponly=True,
                samesite=cookie["samesite"].lower(),
            )
