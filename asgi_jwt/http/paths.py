"""Decides by its path whether a request needs a token. Nothing else that a client sends changes the decision."""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from starlette._utils import get_route_path
from starlette.types import Scope

from asgi_jwt.events import logger
from asgi_jwt.settings.values import public_path

_LONGEST_PATH = 2048
"""A longer path (bytes) is not public: an anonymous client could make the server decode long paths at no cost."""

# Other software may turn these characters into ASCII: Unicode's NFKC does so with full-width and small forms, and
# Windows with characters that a character set lacks.
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
"""A blank or an invisible character. Some file systems and programs drop them."""

_AMBIGUOUS = re.compile(
    r"//|/;|\\"  # an empty segment, also with parameters; a backslash
    # A dot segment, also with parameters or before a character that ends the path.
    rf"|/{_UNSEEN}*+\.{_UNSEEN}*+(?:\.{_UNSEEN}*+)?(?:[/;?#]|\Z)"
    r"|[\x00-\x1f\x7f-\x9f\ufffd\ud800-\udfff]"  # a control character, or a byte that is no UTF-8
    r"|%(?:u[0-9a-f]{4}|2[35ef]|3[bf]|5c|7f|[0189a-f][0-9a-f])",  # any of these characters, or %, encoded twice
    re.IGNORECASE,
)


class RootPath:
    """Finds the root path of a request: the prefix that a mount or the server's configuration set, never a client.

    Daphne takes `root_path` from the client's header `Daphne-Root-Path`. Behind Daphne, which alone gives no
    `spec_version` in `scope["asgi"]`, the setting `ROOT_PATH` (`configured`) therefore replaces the server's root path.
    """

    def __init__(self, configured: str | None = None) -> None:
        self._configured = configured or ""
        self._warned = False

    @property
    def is_configured(self) -> bool:
        """Whether the setting `ROOT_PATH` is set."""
        return bool(self._configured)

    def of(self, scope: Scope) -> str:
        """The root path of a request. Logs one WARNING if Daphne gives another root path than `configured`."""
        root_path: str = scope.get("root_path", "")
        asgi = scope.get("asgi")
        if asgi is None or "spec_version" in asgi:
            return root_path
        # Starlette's mounts extend `root_path`, and keep the server's own root path in `app_root_path`.
        given = scope.get("app_root_path", root_path)
        if given not in ("", self._configured) and not self._warned:
            self._warned = True
            logger.warning(
                "the root path of a request is ignored: Daphne lets each client name it in the header"
                " Daphne-Root-Path; if the server is configured with one, set ASGI_JWT_ROOT_PATH to it"
            )
        return self._configured + root_path.removeprefix(given)

    def apply(self, scope: Scope) -> None:
        """Write the root path of the request into the scope, where routers and redirects read it."""
        root_path = self.of(scope)
        if root_path != scope.get("root_path", ""):
            scope["root_path"] = root_path

    def route_path(self, scope: Scope) -> str | None:
        """The path below the root path. None: the path was rewritten, or routers would disagree about it."""
        path = _requested_path(scope)
        root_path = self.of(scope)
        if path is None or not root_path:
            return path
        route_path = get_route_path({"path": path, "root_path": root_path})
        if route_path == path and root_path in path and root_path != "/":
            # Some routers remove the root path also from the middle of a path: `/schema/api/me` below `/api`.
            return None
        return route_path


def with_whole_path(scope: Scope) -> Scope:
    """The scope with the path that the client asked for, and the mounts within it as the root path.

    Litestar hands a mounted app the rest of the path, with a slash behind it, and names the mount nowhere. A copy
    there, for Litestar warns of changes in the scope; else the scope itself.
    """
    whole = _requested_path(scope) if _is_mounted_by_litestar(scope) else None
    if whole is None:
        return scope
    rest = get_route_path(scope).rstrip("/")
    mount = whole.rstrip("/").removesuffix(rest)
    of_server: str = scope.get("app_root_path", scope.get("root_path", ""))
    root_path = mount if mount.startswith(of_server) else of_server + mount
    return {**scope, "path": root_path + rest + ("/" if whole.endswith("/") else ""), "root_path": root_path}


def _is_mounted_by_litestar(scope: Scope) -> bool:
    return getattr(scope.get("route_handler"), "is_mount", False)


class PublicPaths:
    """The paths that need no token.

    A pattern is an exact path (`/health`), or ends in `/*`: `/auth/*` matches `/auth`, `/auth/` and every path below.
    Raises `ValueError` for any other pattern.
    """

    def __init__(self, patterns: Iterable[str], root_path: RootPath | None = None) -> None:
        paths = [public_path(pattern) for pattern in patterns]
        self._root_path = root_path or RootPath()
        self._exact = frozenset(path.removesuffix("/*") for path in paths) - {""}
        self._below = tuple(path.removesuffix("*") for path in paths if path.endswith("/*"))
        beginnings = b"|".join(map(_beginning, [*self._exact, *self._below])) or b"(?!)"
        # A configured root path stands before each public path, so then every raw path may match.
        self.may_match = re.compile(b"" if self._root_path.is_configured else beginnings).match
        """A fast test of a raw path that has no percent sign and no root path. None: `match` would refuse the path."""

    def match(self, scope: Scope) -> bool:
        """Whether the requested path is public."""
        if not self._exact and not self._below:
            return False
        path = self._root_path.route_path(scope)
        if path is None:
            return False
        return path in self._exact or (path.startswith(self._below) and _is_plain(path))


def _beginning(path: str) -> bytes:
    # Every path begins with `/`, so the pattern `/` has to match the whole path.
    return rb"/(?:\?|\Z)" if path == "/" else re.escape(path.encode())


def _requested_path(scope: Scope) -> str | None:
    """The whole path that the client sent, decoded. None: the path was rewritten on the way, or is too long.

    A framework may give its middleware only the end of the path: Litestar gives the part below a mount.
    """
    path: str = scope["path"]
    raw_path: bytes | None = scope.get("raw_path")
    if len(path) > _LONGEST_PATH or (raw_path is not None and len(raw_path) > _LONGEST_PATH):
        return None
    if raw_path is None:
        # Adapters for AWS Lambda give no raw path. Below a mount of Litestar the whole path is then unknown.
        return None if _is_mounted_by_litestar(scope) else path
    if raw_path == path.encode(errors="surrogatepass"):
        return path
    # Some servers and test clients leave the query in the raw path.
    whole = unquote_to_bytes(raw_path.partition(b"?")[0]).decode(errors="replace")
    return whole if whole.rstrip("/").endswith(path.rstrip("/")) else None


def _is_plain(path: str) -> bool:
    """Whether every software behind this server takes the path as it is written, and resolves it to no other path."""
    return _AMBIGUOUS.search(path if path.isascii() else path.translate(_LOOKALIKES)) is None
