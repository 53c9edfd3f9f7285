"""Refuses requests that a page of another site sent, where a request relies on a cookie."""

from collections.abc import Iterable

from starlette.types import Scope

from asgi_jwt.errors import CrossSite
from asgi_jwt.settings.origins import is_trusted

_OWN = (b"same-origin", b"none")


def check_cross_site(scope: Scope, trusted: Iterable[str]) -> None:
    """Raises `CrossSite` if a browser says that a page of another, untrusted site sent the request.

    The header `Sec-Fetch-Site` decides if it is there (W3C Fetch Metadata). Else the host and port of `Origin` must be
    those of `Host` (RFC 6454). Schemes are not compared, because TLS may end at a proxy. A request with neither header
    is not a browser's, and passes.
    """
    sites = values_of(scope, b"sec-fetch-site")
    origins = values_of(scope, b"origin")
    if len(origins) == 1 and is_trusted(origins[0].decode("latin-1"), trusted):
        return
    if sites:
        if any(site not in _OWN for site in sites):
            raise CrossSite
    elif origins and not is_own_origin(scope):
        raise CrossSite


def is_own_origin(scope: Scope) -> bool:
    """Whether the request has one `Origin`, whose host and port are those of `Host`."""
    origins = values_of(scope, b"origin")
    return len(origins) == 1 and _is_host(origins[0], values_of(scope, b"host"))


def values_of(scope: Scope, wanted: bytes) -> list[bytes]:
    """All values of the header `wanted`, whose name is in lower case."""
    return [value for name, value in scope["headers"] if name == wanted]


def _is_host(origin: bytes, hosts: list[bytes]) -> bool:
    scheme, separator, authority = origin.partition(b"://")
    if not separator or len(hosts) != 1:
        return False
    default = {b"http": b":80", b"https": b":443"}.get(scheme)
    if default is None:
        return False
    return authority.lower().removesuffix(default) == hosts[0].lower().removesuffix(default)
