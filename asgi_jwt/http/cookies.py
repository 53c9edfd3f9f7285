"""Reads, sets and clears the cookies that carry tokens: RFC 6265."""

from typing import Protocol
from urllib.parse import quote

from starlette.requests import HTTPConnection

from asgi_jwt.errors import CookieTooLarge, InvalidRequest
from asgi_jwt.http.bearer import cookie_token
from asgi_jwt.http.hints import HINTS
from asgi_jwt.sessions.pairs import TokenPair
from asgi_jwt.sessions.rotation import TOKEN_STAYS
from asgi_jwt.settings import Settings

# A browser compares a cookie's path with its own encoding of the URL, so these characters stay as they are. The
# semicolon, which would end the attribute, is encoded (RFC 3986 section 3.3).
_PATH_CHARACTERS = "/!$&'()*+,=:@"

_LONGEST_COOKIE = 4096
"""The most bytes of a cookie's name and value that browsers keep. Attributes don't count (RFC 6265bis section 5.7)."""


class AppendsHeaders(Protocol):
    """The headers of a response."""

    def append(self, name: str, value: str, /) -> None: ...


class SetsHeaders(Protocol):
    """A response to which headers are added."""

    @property
    def headers(self) -> AppendsHeaders: ...


class TokenCookies:
    """The cookie of the refresh token, which browsers send only to the auth routes, and that of the access token.

    There is a cookie of the access token only if `ACCESS_COOKIE` is set.
    """

    def __init__(self, settings: Settings) -> None:
        self._name = settings.cookie_name
        self._path = settings.cookie_path
        self._access_name = settings.access_cookie
        self._is_secure = settings.cookie_secure
        secure = "; Secure" if settings.cookie_secure else ""
        self._attributes = f"HttpOnly; SameSite=Strict{secure}"
        self._access_attributes = f"HttpOnly; SameSite={settings.access_cookie_samesite.capitalize()}{secure}"

    def refresh_token(self, connection: HTTPConnection) -> bytes | None:
        """The refresh token of the request's cookie, or None.

        Raises `AmbiguousCredentials` for two cookies of its name, and `InvalidRequest` for too many cookies.
        """
        token = cookie_token(connection.scope["headers"], self._name.encode())
        if token is not None and HINTS in connection.scope:  # the demo reads cookies outside AuthApp
            connection.scope[HINTS].cookie_was_sent()
        return token

    def are_in(self, connection: HTTPConnection) -> bool:
        """Whether the request has a cookie of this app. Two cookies of one name, or too many cookies, count as one."""
        names = (self._name, self._access_name)
        try:
            return any(name and cookie_token(connection.scope["headers"], name.encode()) for name in names)
        except InvalidRequest:
            return True

    def check_size(self, access_token: str, refresh_token: str) -> None:
        """Raises `CookieTooLarge` for a token whose cookie browsers would drop."""
        _check_size(self._name, refresh_token)
        if self._access_name is not None:
            _check_size(self._access_name, access_token)

    def set(self, response: SetsHeaders, connection: HTTPConnection, pair: TokenPair) -> None:
        """Set the cookies of `pair` on the response. A refresh token that did not change is not set again.

        Otherwise an answer that arrives late would replace a newer cookie in the browser. An access token that is bound
        to a key gets no cookie, because a cookie proves no key. Raises `CookieTooLarge`.
        """
        if pair.verdict not in TOKEN_STAYS:
            self._add_refresh(response, connection, pair.refresh_token, _max_age(pair, pair.refresh_expires_in))
        if not pair.is_bound:
            self._add_access(response, pair.access_token, _max_age(pair, pair.expires_in))
        if pair.verdict is None:
            path = self._mount_path(connection)
            connection.scope[HINTS].logged_in(connection.scope, path, secure=self._is_secure)

    def clear(self, response: SetsHeaders, connection: HTTPConnection) -> None:
        """Have the browser delete the cookies."""
        self._add_refresh(response, connection, "", _AT_ONCE)
        self._add_access(response, "", _AT_ONCE)

    def _add_refresh(self, response: SetsHeaders, connection: HTTPConnection, token: str, max_age: str) -> None:
        _check_size(self._name, token)
        path = self._mount_path(connection)
        response.headers.append("Set-Cookie", f"{self._name}={token}; Path={path}; {max_age}{self._attributes}")

    def _add_access(self, response: SetsHeaders, token: str, max_age: str) -> None:
        if self._access_name is not None:
            _check_size(self._access_name, token)
            cookie = f"{self._access_name}={token}; Path=/; {max_age}{self._access_attributes}"
            response.headers.append("Set-Cookie", cookie)

    def _mount_path(self, connection: HTTPConnection) -> str:
        """The path of the mount, encoded as browsers encode it. No character of it ends the cookie's attribute."""
        return self._path or quote(connection.scope.get("root_path", ""), safe=_PATH_CHARACTERS) or "/"


_AT_ONCE = "Max-Age=0; "


def _max_age(pair: TokenPair, seconds: int) -> str:
    """The attribute, or nothing for a cookie that ends with the browser (RFC 6265 section 4.1.2.2)."""
    return f"Max-Age={seconds}; " if pair.remember else ""


def _check_size(name: str, value: str) -> None:
    size = len(name) + len(value)
    if size > _LONGEST_COOKIE:
        raise CookieTooLarge(
            f"the cookie {name} has {size:,} bytes with its name, {size - _LONGEST_COOKIE:,} past the"
            f" {_LONGEST_COOKIE:,} that browsers keep: give the Identity fewer claims, scopes and roles, or a shorter"
            " subject"
        )
