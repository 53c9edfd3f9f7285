"""The cookies that carry tokens: RFC 6265."""

from urllib.parse import quote

from starlette.requests import HTTPConnection
from starlette.responses import Response

from asgi_jwt.http.bearer import cookie_token
from asgi_jwt.sessions.pairs import TokenPair
from asgi_jwt.sessions.rotation import TOKEN_STAYS
from asgi_jwt.settings import Settings

# RFC 3986 section 3.3, but for the semicolon. What browsers leave as it is must stay: they compare letter by letter.
_PATH_CHARACTERS = "/!$&'()*+,=:@"


class TokenCookies:
    """The refresh token's cookie, sent to the auth routes alone, and, where it is configured, the access token's."""

    def __init__(self, settings: Settings) -> None:
        self._name = settings.cookie_name
        self._path = settings.cookie_path
        self._access_name = settings.access_cookie
        self._attributes = "HttpOnly; SameSite=Strict" + ("; Secure" if settings.cookie_secure else "")

    def refresh_token(self, connection: HTTPConnection) -> bytes | None:
        """The refresh token that came. Raises `AmbiguousCredentials` for two cookies of its name."""
        return cookie_token(connection.scope["headers"], self._name.encode())

    def set(self, response: Response, connection: HTTPConnection, pair: TokenPair) -> None:
        """Put the tokens into the browser's jar; an unchanged refresh token stays there as it is.

        A late answer must not put an older cookie back into the jar.
        """
        if pair.verdict not in TOKEN_STAYS:
            self._add(response, self._name, pair.refresh_token, self._mount_path(connection), pair.refresh_expires_in)
        if self._access_name is not None:
            self._add(response, self._access_name, pair.access_token, "/", pair.expires_in)

    def clear(self, response: Response, connection: HTTPConnection) -> None:
        """Take the tokens out of the browser's jar."""
        self._add(response, self._name, "", self._mount_path(connection), 0)
        if self._access_name is not None:
            self._add(response, self._access_name, "", "/", 0)

    def _add(self, response: Response, name: str, value: str, path: str, max_age: int) -> None:
        response.headers.append("Set-Cookie", f"{name}={value}; Path={path}; Max-Age={max_age}; {self._attributes}")

    def _mount_path(self, connection: HTTPConnection) -> str:
        """Where the app is mounted, encoded as browsers encode a path, and so that nothing in it ends the attribute."""
        return self._path or quote(connection.scope.get("root_path", ""), safe=_PATH_CHARACTERS) or "/"
