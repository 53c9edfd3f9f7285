"""The least that any middleware pays for a token seen before: the same checks, fused by hand into one function.

It answers nothing but the requests that the benchmark sends, so it is a floor to measure against and no middleware.
"""

import re
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from asgi_jwt import Auth
from benchmarks.fixture import LEEWAY, PUBLIC_PATHS

MAX_TOKEN_SIZE = 8192
_PERCENT = ord("%")
_PUBLIC = re.compile(b"|".join(re.escape(path.removesuffix("/*").encode()) for path in PUBLIC_PATHS)).match


class Minimum:
    """`app` behind the checks, with `tokens` that `auth` verified beforehand."""

    def __init__(self, app: Any, tokens: dict[bytes, Any]) -> None:
        self.app = app
        self.hits = 0
        self.clock: Callable[[], float] = time.time
        self.tokens = tokens
        self.guard = object()

    @classmethod
    async def around(cls, app: Any, auth: Auth, tokens: list[str]) -> Any:
        """With `tokens` known."""
        known = {}
        for token in tokens:
            claims = await auth.verify(token)
            known[sha256(token.encode()).digest()] = (claims, 0.0, float(claims.expires_at + LEEWAY))
        return cls(app, known)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raw_path = scope["raw_path"]
            if not scope["root_path"] and _PERCENT not in raw_path and not _PUBLIC(raw_path):
                found = None
                for name, value in scope["headers"]:
                    if name == b"authorization":
                        if found is not None:
                            return
                        found = value
                if found is not None and found.startswith(b"Bearer ") and len(found) <= MAX_TOKEN_SIZE:
                    entry = self.tokens.get(sha256(found[7:]).digest())
                    if entry is not None and entry[1] <= self.clock() < entry[2]:
                        self.hits += 1
                        scope["guard"] = self.guard
                        scope["claims"] = scope["user"] = claims = entry[0]
                        scope["auth"] = claims.credentials
                        await self.app(scope, receive, send)


class MinimumWithRevocation(Minimum):
    """The same, which asks three look-ups of a mirror that is fresh."""

    def __init__(self, app: Any, tokens: dict[bytes, Any]) -> None:
        super().__init__(app, tokens)
        self.read_at, self.due_at = self.clock(), self.clock() + 86400
        self.jti: set[str] = set()
        self.sid: set[str] = set()
        self.sub: set[str] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raw_path = scope["raw_path"]
            if not scope["root_path"] and _PERCENT not in raw_path and not _PUBLIC(raw_path):
                found = None
                for name, value in scope["headers"]:
                    if name == b"authorization":
                        if found is not None:
                            return
                        found = value
                if found is not None and found.startswith(b"Bearer ") and len(found) <= MAX_TOKEN_SIZE:
                    entry = self.tokens.get(sha256(found[7:]).digest())
                    if entry is not None and entry[1] <= self.clock() < entry[2]:
                        self.hits += 1
                        claims = entry[0]
                        if (
                            self.read_at <= self.clock() < self.due_at
                            and claims.get("jti") not in self.jti
                            and claims.get("sid") not in self.sid
                            and claims["sub"] not in self.sub
                        ):
                            scope["guard"] = self.guard
                            scope["claims"] = scope["user"] = claims
                            scope["auth"] = claims.credentials
                            await self.app(scope, receive, send)
