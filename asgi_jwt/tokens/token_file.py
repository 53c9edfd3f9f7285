"""TokenFile: a bearer token for the documents of a remote issuer, as a Kubernetes API server asks for one."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from asgi_jwt.errors import KeysUnavailable

_LONGEST_TOKEN = 64 * 1024
_B64TOKEN = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")
_PORTS = {"http": 80, "https": 443}


def read_token(path: Path) -> str:
    """The bearer token in a file (RFC 6750 section 2.1). Raises `ValueError` with a sentence that lacks its subject."""
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_TOKEN).strip()
    except (OSError, ValueError) as fault:
        # The path is not shown, because a user may have put the token itself into the setting.
        raise ValueError(f"names a file that can't be read: {getattr(fault, 'strerror', None) or 'no path'}") from None
    if not _B64TOKEN.fullmatch(content):
        raise ValueError("names a file that holds no bearer token alone")
    return content.decode()


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A token that is read from its file at each fetch, because its issuer replaces it.

    `home`: a URL. The token is sent to the origin of this URL alone.
    """

    path: Path
    home: str

    def headers(self, url: str) -> dict[str, str]:
        """The header of a request for `url`. Empty for a URL of another origin. Raises `KeysUnavailable`."""
        if origin_of(url) != origin_of(self.home):
            return {}
        try:
            return {"Authorization": f"Bearer {read_token(self.path)}"}
        except ValueError as fault:
            raise KeysUnavailable(f"ASGI_JWT_JWKS_TOKEN_FILE {fault}") from None

    def note(self, url: str) -> str:
        """A text for the fault of a fetch: whether `url` is of another origin, so that it got no token."""
        if origin_of(url) == origin_of(self.home):
            return ""
        scheme, host, port = origin_of(self.home)
        return f"; the token of ASGI_JWT_JWKS_TOKEN_FILE is sent to {scheme}://{host}:{port} alone"


def origin_of(url: str) -> tuple[str, str | None, int | None]:
    """The scheme, host and port of a URL (RFC 6454 section 4)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
