"""Target: the address of a deployment, as the outside sees it."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from asgi_jwt.tokens.discovery import LOOPBACK

_PATH = re.compile(r"/(?!/)[!-\"$-.0-~/]*", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """`origin` as browsers write it, `mount`: the path of `AuthApp` without a slash at its end, `api`: a guarded path.

    The paths begin with the prefix that a proxy may strip.
    """

    origin: str
    mount: str
    api: str

    @property
    def is_https(self) -> bool:
        return self.origin.startswith("https:")

    @property
    def is_local(self) -> bool:
        """Whether the deployment runs on this machine, where plain http is safe."""
        return urlsplit(self.origin).hostname in LOOPBACK

    @property
    def url(self) -> str:
        """The URL of `AuthApp`'s mount."""
        return self.origin + self.mount

    @classmethod
    def parse(cls, url: str, api: str) -> "Target":
        """The target of the command's arguments. Raises `ValueError` with a sentence for the user."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host or parts.scheme not in _DEFAULT_PORTS or "@" in parts.netloc or "?" in url or "#" in url:
            raise ValueError("URL is the address of AuthApp's mount, as https://api.example/auth, without ? and #")
        if not _PATH.fullmatch(parts.path or "/") or not host.isascii():
            raise ValueError("URL has a character that a browser would encode: write it encoded")
        if not _PATH.fullmatch(api):
            raise ValueError("--api is an absolute path of the same server, as /api/me, encoded and without #")
        host = f"[{host}]" if ":" in host else host
        default = port is None or port == _DEFAULT_PORTS[parts.scheme]
        return cls(f"{parts.scheme}://{host}" + ("" if default else f":{port}"), parts.path.rstrip("/"), api)
