"""Logs a WARNING, with its mend, for a wrong setup that keeps browsers from logging in or from staying logged in.

Only the server can see these faults. Each hint is logged once and contains nothing of a request, so that no client can
fill the log or write into it.
"""

import re
from collections.abc import Callable

from starlette.types import Scope

from asgi_jwt.errors import AuthError, CrossSite, InvalidProof, MissingToken
from asgi_jwt.events import logger
from asgi_jwt.http.cross_site import is_own_origin, values_of
from asgi_jwt.tokens.proof import OTHER_URL

HINTS = "asgi_jwt.hints"
"""The key of the scope that holds the `Hints`."""

_COOKIE_EXPECTED = 60.0
"""How long (s) after a login a refresh of the same client without a cookie is a sign that the browser keeps it back."""

_PUBLIC = (
    "a login was refused for want of a token before AuthApp saw it: list the path where AuthApp is mounted, as"
    ' JWTMiddleware(app, auth, public=["/auth/*"]) or ASGI_JWT_PUBLIC_PATHS=/auth/*'
)
_HOST = (
    "a page of this site was refused as another site's: a proxy sends a Host that lacks the port or is its own; have it"
    " send the browser's, in nginx by proxy_set_header Host $http_host, or list the page in ASGI_JWT_TRUSTED_ORIGINS"
)
_PLAIN_HTTP = (
    "a browser logged in over plain http, and drops Secure cookies of hosts other than localhost: use https, or"
    " ASGI_JWT_COOKIE_SECURE=false in development"
)
_PREFIX = (
    "a browser does not send the refresh token's cookie back: if a proxy strips a prefix of the path, set"
    " ASGI_JWT_COOKIE_PATH to the path at which browsers see AuthApp, as /api/auth, or give the server its root path"
)
_PROOF_URL = (
    "a DPoP proof was made for another URL than that of its request: if good clients are refused, set"
    " ASGI_JWT_DPOP_BASES to the scheme and host that they see, and to the prefix that a proxy strips unless the server"
    " has it as its root path"
)

# The browser client puts its own path into the Referer, because a proxy may change the path that arrives here.
_CLIENT_REFERER = re.compile(rb"https?://[^/?#]{1,300}(/[^?#]{0,1000})\?asgi-jwt")
_ORIGIN = re.compile(rb"https?://([a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?")
_LOOPBACK = re.compile(rb"(?:.+\.)?localhost|127\.[0-9.]+|\[::1\]")


class Hints:
    """What one `JWTMiddleware`, or an `AuthApp` without one, has seen of its browsers. `clock` gives seconds.

    `expects_auth_app`: an `AuthApp` is configured, and a refused login may mean that its path is not public.
    """

    def __init__(self, clock: Callable[[], float], *, expects_auth_app: bool = False) -> None:
        self._clock = clock
        self._logged: set[str] = set()
        self._host_is_right = False
        self._cookies_are_sent = False
        self._last_login: tuple[object, float] | None = None
        self._expects_auth_app = expects_auth_app

    def _log_once(self, hint: str) -> None:
        if hint not in self._logged:
            self._logged.add(hint)
            logger.warning(hint)

    def auth_app_is_reached(self) -> None:
        """`AuthApp` got a request, so its path is public."""
        self._expects_auth_app = False

    def refused(self, error: AuthError, scope: Scope) -> None:
        """A request was refused with `error`."""
        if isinstance(error, CrossSite):
            if not self._host_is_right and _has_lost_host(scope):
                self._log_once(_HOST)
        elif isinstance(error, MissingToken) and self._expects_auth_app and _is_for_auth_app(scope):
            self._log_once(_PUBLIC)
        elif isinstance(error, InvalidProof) and error.detail == OTHER_URL:
            self._log_once(_PROOF_URL)

    def logged_in(self, scope: Scope, cookie_path: str, *, secure: bool) -> None:
        """A login set its cookie with the path `cookie_path`; `secure` as the cookie's attribute."""
        own = is_own_origin(scope)
        self._host_is_right |= own
        if own and secure and _is_plain_http(scope):
            self._log_once(_PLAIN_HTTP)
        elif _is_elsewhere(scope, cookie_path):
            self._log_once(_PREFIX)
        elif not self._cookies_are_sent:
            self._last_login = _client(scope), self._clock()

    def cookie_was_sent(self) -> None:
        """A request had the cookie of a refresh token, so browsers send it."""
        self._cookies_are_sent = True
        self._last_login = None

    def cookie_is_missing(self, scope: Scope) -> None:
        """A refresh had no cookie: its user has not logged in, or the browser keeps the cookie for another path."""
        if self._last_login is not None:
            client, at = self._last_login
            if client == _client(scope) and abs(self._clock() - at) < _COOKIE_EXPECTED:
                self._log_once(_PREFIX)


def _client(scope: Scope) -> object:
    """A value that is equal for requests of one client, as far as a server can see."""
    names = (b"user-agent", b"accept-language", b"x-forwarded-for", b"x-real-ip")
    return (scope.get("client") or ("",))[0], *(tuple(values_of(scope, name)) for name in names)


def _is_for_auth_app(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.endswith("/asgi-jwt.js") or (path.endswith(("/login", "/refresh")) and scope.get("method") == "POST")


def _is_elsewhere(scope: Scope, cookie_path: str) -> bool:
    """Whether the browser asked for a path to which it sends no cookie of `cookie_path` (RFC 6265 section 5.1.4)."""
    asked = [matched[1] for referer in values_of(scope, b"referer") if (matched := _CLIENT_REFERER.fullmatch(referer))]
    # Traefik and other proxies set this header when they strip a prefix.
    asked += [prefix.rstrip(b"/") + b"/" for prefix in values_of(scope, b"x-forwarded-prefix") if prefix.strip(b"/")]
    path = cookie_path.encode().rstrip(b"/") + b"/"
    return any(not each.startswith(path) and not path.startswith(each) for each in asked)


def _is_plain_http(scope: Scope) -> bool:
    matched = _origin(scope)
    return matched is not None and matched[0].startswith(b"http:") and not _LOOPBACK.fullmatch(matched[1])


def _has_lost_host(scope: Scope) -> bool:
    """Whether a proxy changed the header Host: its port is missing, or it is the proxy's own name for this server."""
    matched, hosts = _origin(scope), values_of(scope, b"host")
    if matched is None or len(hosts) != 1 or values_of(scope, b"sec-fetch-site"):
        return False
    host, authority = hosts[0].lower(), matched[1] + (matched[2] or b"")
    if authority in values_of(scope, b"x-forwarded-host"):
        return True
    is_loopback = _LOOPBACK.fullmatch(host.rpartition(b":")[0] or host) is not None
    return host == matched[1] or (is_loopback and not _LOOPBACK.fullmatch(matched[1]))


def _origin(scope: Scope) -> re.Match[bytes] | None:
    origins = values_of(scope, b"origin")
    return _ORIGIN.fullmatch(origins[0].lower()) if len(origins) == 1 else None
