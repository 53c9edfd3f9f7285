"""Which paths need no token. Nothing that a client sends beside the path changes the answer."""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from starlette._utils import get_route_path
from starlette.types import Scope

from asgi_jwt.events import logger
from asgi_jwt.settings.values import public_path

_LONGEST = 2048
"""Bytes of a path that can be public: the decoding of a longer one would cost an anonymous client nothing."""

# Full-width and small forms (Unicode's NFKC), and what Windows maps to a dot or a slash where a character set has no
# other sign for it.
_LOOKALIKES = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    **dict.fromkeys([0x2044, 0x2215], "/"),
    **dict.fromkeys([0x2216, 0xFE68], "\\"),
    **dict.fromkeys([0x2024, 0xFE52], "."),
    **dict.fromkeys([0x2025, 0xFE30], ".."),
    0xFE54: ";",
    0xFE56: "?",
    0xFE5F: "#",
    0xFE6A: "%",
}

_UNSEEN = r"[\s\xad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
"""A blank, or a character that nobody sees: some file systems and programs drop those."""

_AMBIGUOUS = re.compile(
    r"//|/;|\\"  # empty segments, also with parameters; the other slash
    # Dot segments, also with parameters, and before what cuts a path off.
    rf"|/{_UNSEEN}*+\.{_UNSEEN}*+(?:\.{_UNSEEN}*+)?(?:[/;?#]|\Z)"
    r"|[\x00-\x1f\x7f-\x9f\ufffd\ud800-\udfff]"  # control characters, and bytes that are no UTF-8
    r"|%(?:u[0-9a-f]{4}|2[35ef]|3[bf]|5c|7f|[0189a-f][0-9a-f])",  # each of these, or a percent, encoded once more
    re.IGNORECASE,
)


class RootPath:
    """The part of a path that a mount or the server's configuration stands for, and no client.

    Daphne takes `root_path` from the client's header `Daphne-Root-Path`. Daphne alone gives no `spec_version` in
    `scope["asgi"]`; there `configured`, the setting `ROOT_PATH`, takes the place of the root path that was given.
    """

    def __init__(self, configured: str | None = None) -> None:
        self._configured = configured or ""
        self._warned = False

    @property
    def is_configured(self) -> bool:
        """Whether the setting `ROOT_PATH` is there."""
        return bool(self._configured)

    def of(self, scope: Scope) -> str:
        """The root path of a request. Logs one WARNING when the server gives another than `configured`."""
        root_path: str = scope.get("root_path", "")
        asgi = scope.get("asgi")
        if asgi is None or "spec_version" in asgi:
            return root_path
        # Starlette's mounts add to the server's root path, and keep the server's own here.
        given = scope.get("app_root_path", root_path)
        if given not in ("", self._configured) and not self._warned:
            self._warned = True
            logger.warning(
                "the root path of a request is ignored: Daphne lets each client name it in the header"
                " Daphne-Root-Path; if the server is configured with one, set ASGI_JWT_ROOT_PATH to it"
            )
        return self._configured + root_path.removeprefix(given)

    def settle(self, scope: Scope) -> None:
        """Put the root path of the request into the scope: routers cut it off, or put it in front."""
        root_path = self.of(scope)
        if root_path != scope.get("root_path", ""):
            scope["root_path"] = root_path

    def route_path(self, scope: Scope) -> str | None:
        """The path below the root path, as routers take it; None where routers would take different ones."""
        path = _requested_path(scope)
        root_path = self.of(scope)
        if path is None or not root_path:
            return path
        route_path = get_route_path({"path": path, "root_path": root_path})
        if route_path == path and root_path in path and root_path != "/":
            # Some routers cut the root path out wherever it stands (`/schema/api/me` below `/api`).
            return None
        return route_path


class PublicPaths:
    """Exact paths, and whole segments below one (`/auth/*` is `/auth`, `/auth/` and all below).

    Raises `ValueError` for a pattern that is neither.
    """

    def __init__(self, patterns: Iterable[str], root_path: RootPath | None = None) -> None:
        paths = [public_path(pattern) for pattern in patterns]
        self._root_path = root_path or RootPath()
        self._exact = frozenset(path.removesuffix("/*") for path in paths) - {""}
        self._below = tuple(path.removesuffix("*") for path in paths if path.endswith("/*"))
        beginnings = b"|".join(map(_beginning, [*self._exact, *self._below])) or b"(?!)"
        # Below a configured root path, a public path begins with that.
        self.may_match = re.compile(b"" if self._root_path.is_configured else beginnings).match
        """None for a raw path, without a percent and of a request without a root path, that `match` would refuse."""

    def match(self, scope: Scope) -> bool:
        """Whether the path that the client asked for is public."""
        if not self._exact and not self._below:
            return False
        path = self._root_path.route_path(scope)
        if path is None:
            return False
        return path in self._exact or (path.startswith(self._below) and _is_plain(path))


def _beginning(path: str) -> bytes:
    # The root alone begins all others.
    return rb"/(?:\?|\Z)" if path == "/" else re.escape(path.encode())


def _requested_path(scope: Scope) -> str | None:
    """The whole path that the client sent, decoded. None for one that was rewritten on the way, or is too long.

    A framework may hand its middleware only the end of the path: in Litestar, the part below a mount.
    """
    path: str = scope["path"]
    raw_path: bytes | None = scope.get("raw_path")
    if len(path) > _LONGEST or (raw_path is not None and len(raw_path) > _LONGEST):
        return None
    if raw_path is None:
        # Of a path below a mount of Litestar's the rest is lost: adapters of AWS Lambda give no raw path.
        return None if getattr(scope.get("route_handler"), "is_mount", False) else path
    if raw_path == path.encode(errors="surrogatepass"):
        return path
    # Some servers and test clients leave the query in it.
    whole = unquote_to_bytes(raw_path.partition(b"?")[0]).decode(errors="replace")
    return whole if whole.rstrip("/").endswith(path.rstrip("/")) else None


def _is_plain(path: str) -> bool:
    """Whether no software behind this server could decode or resolve the path to another one."""
    return _AMBIGUOUS.search(path if path.isascii() else path.translate(_LOOKALIKES)) is None
