"""Compares the URIs of proofs with those of requests: RFC 3986 section 6.2. Pure."""

import re
from functools import lru_cache

LONGEST = 3072
"""A longer URI is in no proof, because a proof has 4 KB of base64url at most."""
_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}
_PARTS = re.compile(
    r"(?P<scheme>[A-Za-z]+)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@]+)(?::(?P<port>[0-9]*))?(?P<path>/.*)?"
)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BEYOND_ASCII = re.compile(r"[^!-~]")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


def without_query(uri: str) -> str:
    """The URI without its query and fragment, which a proof does not cover (RFC 9449 section 4.3)."""
    return uri.partition("#")[0].partition("?")[0]


def normalized(uri: str) -> str | None:
    """The URI, which has no query and no fragment, in its normal form. None: it is no absolute URI with a host.

    Equal are: scheme and host in any case, a default port and none, an empty path and `/`, a path with dot segments
    and the path that they lead to, an escape in any case, and an unreserved character and its escape (RFC 3986 sections
    6.2.2 and 6.2.3). Characters outside ASCII are equal to the escapes of their UTF-8.
    """
    return None if len(uri) > LONGEST else _normalized(uri)


@lru_cache(maxsize=128)
def _normalized(uri: str) -> str | None:
    parts = _PARTS.fullmatch(uri)
    if parts is None:
        return None
    scheme, host = parts["scheme"].lower(), _ESCAPE.sub(_unescaped, _ascii(parts["host"])).lower()
    port = "" if parts["port"] in (None, "", _DEFAULT_PORTS.get(scheme)) else f":{parts['port']}"
    return f"{scheme}://{host}{port}{_without_dots(_ESCAPE.sub(_unescaped, _ascii(parts['path'] or '/')))}"


def is_below(uri: str, base: str) -> bool:
    """Whether the normal form of `uri` is that of `base`, or of a path below it."""
    start, whole = normalized(f"{base}/"), normalized(uri)
    return start is not None and whole is not None and f"{whole}/".startswith(start)


def _ascii(part: str) -> str:
    return _BEYOND_ASCII.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode(errors="replace")), part)


def _unescaped(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if _UNRESERVED.fullmatch(character) else escape[0].upper()


def _without_dots(path: str) -> str:
    """The path without dot segments (RFC 3986 section 5.2.4). It begins with a slash."""
    if "/." not in path:
        return path
    kept: list[str] = []
    *segments, last = path.split("/")[1:]
    for segment in [*segments, *([last, ""] if last in (".", "..") else [last])]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept)
