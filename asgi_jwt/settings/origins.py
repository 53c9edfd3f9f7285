"""Reads trusted origins, and matches the origins of browsers against them (RFC 6454 section 6.1)."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from asgi_jwt.settings.values import texts

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LABELS = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
# A host has 253 characters at most (RFC 1035 section 2.3.4). Matching an `Origin` of 64 KB would take over 1 ms.
_LONGEST_ORIGIN = 300
# Pages of these schemes have the origin `null`, or there are no pages of the scheme.
_WITHOUT_ORIGIN = frozenset({"about", "blob", "data", "file", "ftp", "javascript", "ws", "wss"})


def origins(value: object) -> tuple[str, ...]:
    """A list of origins, in the form that browsers send: scheme, host, and a port other than the scheme's default.

    `https://*.example.com` matches all subdomains of `example.com`, of any depth, but not `example.com` itself.
    """
    return tuple(origin(member) for member in texts(value))


def origin(value: str) -> str:
    """One origin, in the form that browsers send. Raises `ValueError` for a text that no browser's origin can match."""
    try:
        parts = urlsplit(value.strip())
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError:  # a broken port or IPv6 address
        scheme = host = ""
        port, parts = None, urlsplit("")
    rest = parts.path.removeprefix("/") + parts.query + parts.fragment
    if rest or "@" in value or port == 0 or scheme in _WITHOUT_ORIGIN or not _SCHEME.fullmatch(scheme):
        raise ValueError(f"has to hold origins, as https://app.example, and {value!r} is none")
    _check_host(scheme, host, value)
    named = f"[{host}]" if ":" in host else host
    return f"{scheme}://{named}" + (f":{port}" if port not in (None, _DEFAULT_PORTS.get(scheme)) else "")


def _check_host(scheme: str, host: str, value: str) -> None:
    if not host.isascii():
        raise ValueError(f"has to hold origins as browsers send them, with xn-- for other letters, and not {value!r}")
    domain = host.removeprefix("*.")
    if ":" not in host and not _LABELS.fullmatch(domain):
        raise ValueError(f"has to hold origins, as https://app.example, and {value!r} is none")
    top = domain.rpartition(".")[2]
    if domain != host and (scheme not in _DEFAULT_PORTS or top == domain != "localhost" or top.isdigit()):
        raise ValueError(f"has to hold a * for the subdomains of a site, as https://*.app.example, and not {value!r}")


def is_trusted(origin: str, trusted: Iterable[str]) -> bool:
    """Whether a browser's `origin` matches one of `trusted`, which are results of `origins`."""
    return len(origin) <= _LONGEST_ORIGIN and any(origin == each or _is_below(origin, each) for each in trusted)


def _is_below(origin: str, pattern: str) -> bool:
    start, star, end = pattern.partition("*")
    if not star or not (origin.startswith(start) and origin.endswith(end)):
        return False
    return _LABELS.fullmatch(origin[len(start) : -len(end)]) is not None
