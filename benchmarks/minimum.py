"""The least that any middleware pays for a token seen before: the same checks, fused by hand into one function.

It answers nothing but the requests that the benchmark sends, so it is a floor to measure against and no middleware.
"""

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from asgi_jwt import Auth
from benchmarks.fixture import LEEWAY, PUBLIC_PATHS

MAX_TOKEN_SIZE = 8192
_EXACT = frozenset(path for path in PUBLIC_PATHS if not path.endswith("/*"))
_BELOW = tuple(path.removesuffix("*") for path in PUBLIC_PATHS if path.endswith("/*"))


async def minimum(app: Any, auth: Auth, tokens: list[str], *, revocations: bool) -> Any:
    """`app` behind the checks, with `tokens` verified by `auth` beforehand; with `revocations`, the look-ups too."""
    cache = {}
    for token in tokens:
        claims = await auth.verify(token)
        cache[sha256(token.encode()).digest()] = (claims, 0.0, claims.expires_at + LEEWAY)
    return _with_revocations(app, cache) if revocations else _without(app, cache)


def _without(app: Any, cache: dict[bytes, Any]) -> Any:
    clock: Callable[[], float] = time.time
    guard = object()

    async def protected(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if path not in _EXACT and not path.startswith(_BELOW) and not scope["root_path"]:
                found = None
                for name, value in scope["headers"]:
                    if name == b"authorization":
                        if found is not None:
                            return
                        found = value
                if found is not None and found.startswith(b"Bearer ") and len(found) <= MAX_TOKEN_SIZE:
                    claims, not_before, ends = cache[sha256(found[7:]).digest()]
                    if not_before <= clock() < ends:
                        scope["guard"] = guard
                        scope["claims"] = scope["user"] = claims
                        scope["auth"] = claims.credentials
                        await app(scope, receive, send)

    return protected


def _with_revocations(app: Any, cache: dict[bytes, Any]) -> Any:
    clock: Callable[[], float] = time.time
    guard = object()
    read_at, due_at = clock(), clock() + 86400
    revoked: dict[str, set[str]] = {"jti": set(), "sid": set(), "sub": set()}

    async def protected(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if path not in _EXACT and not path.startswith(_BELOW) and not scope["root_path"]:
                found = None
                for name, value in scope["headers"]:
                    if name == b"authorization":
                        if found is not None:
                            return
                        found = value
                if found is not None and found.startswith(b"Bearer ") and len(found) <= MAX_TOKEN_SIZE:
                    claims, not_before, ends = cache[sha256(found[7:]).digest()]
                    if (
                        not_before <= clock() < ends
                        and read_at <= clock() < due_at
                        and claims.get("jti") not in revoked["jti"]
                        and claims.get("sid") not in revoked["sid"]
                        and claims["sub"] not in revoked["sub"]
                    ):
                        scope["guard"] = guard
                        scope["claims"] = scope["user"] = claims
                        scope["auth"] = claims.credentials
                        await app(scope, receive, send)

    return protected
