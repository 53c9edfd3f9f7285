"""Is this request another site's doing? For requests that rely on a cookie."""

from collections.abc import Iterable

from starlette.types import Scope

from asgi_jwt.errors import CrossSite
from asgi_jwt.settings.origins import is_trusted

_OWN = (b"same-origin", b"none")


def check_cross_site(scope: Scope, trusted: Iterable[str]) -> None:
    """Raises `CrossSite` when a browser says that another site's page sent the request, unless its origin is trusted.

    `Sec-Fetch-Site` decides where there is one (W3C Fetch Metadata), else `Origin` (RFC 6454), whose host and port
    have to be the `Host`'s: schemes are not compared, for TLS may end at a proxy. No header of both: not a browser.
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
    """The values of the header `wanted`."""
    return [value for name, value in scope["headers"] if name == wanted]


def _is_host(origin: bytes, hosts: list[bytes]) -> bool:
    scheme, separator, authority = origin.partition(b"://")
    if not separator or len(hosts) != 1:
        return False
    default = {b"http": b":80", b"https": b":443"}.get(scheme)
    if default is None:
        return False
    return authority.lower().removesuffix(default) == hosts[0].lower().removesuffix(default)
