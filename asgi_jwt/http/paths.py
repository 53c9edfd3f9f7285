"""Which paths need no token."""

from collections.abc import Iterable

from starlette._utils import get_route_path
from starlette.types import Scope

from asgi_jwt.settings.values import public_path


class PublicPaths:
    """Exact paths, and whole segments below one (`/auth/*` is `/auth`, `/auth/` and all below).

    Raises `ValueError` for a pattern that is neither.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        paths = [public_path(pattern) for pattern in patterns]
        self._exact = frozenset(path.removesuffix("/*") for path in paths) - {""}
        self._below = tuple(path.removesuffix("*") for path in paths if path.endswith("/*"))

    def match(self, scope: Scope) -> bool:
        """Whether the route path, the one that the router will see, is public."""
        # Never from the URL, which a client's Host header has a part in.
        path: str = scope["path"]
        root_path = scope.get("root_path", "")
        if root_path:
            route_path = get_route_path(scope)
            if route_path == path and root_path in path and root_path != "/":
                # Routers differ: some cut the root path out wherever it stands (`/schema/api/me` below `/api`).
                return False
            path = route_path
        return path in self._exact or (path.startswith(self._below) and _is_plain(path))


def _is_plain(path: str) -> bool:
    """Whether nothing behind this server could take the path for another one."""
    if "//" in path or "\\" in path or "\0" in path:
        return False
    return not ("/." in path and any(segment in (".", "..") for segment in path.split("/")))
