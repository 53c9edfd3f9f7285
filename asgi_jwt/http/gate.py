"""`JWTMiddleware` for callers that are no ASGI servers, such as Django's middleware. The scope alone decides."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from anyio import sleep_forever
from starlette.types import Message, Receive, Scope, Send

from asgi_jwt.auth import Auth
from asgi_jwt.background import in_background_loop
from asgi_jwt.http.middleware import JWTMiddleware

# WSGI joins headers of one name with a comma. Behind the comma of one header stands `name=`, as in Digest's.
# A match begins before the first blank alone: else a long run of blanks costs the square of its length.
_NEXT_CREDENTIALS = re.compile(r"(?<![ \t])[ \t]*,[ \t]*(?=[!#-'*+.^-z|~\w-]+ +[^ =])")


class Refusal(NamedTuple):
    """The answer to a request that does not reach the app."""

    status: int
    headers: dict[str, str]
    body: bytes


class Gate:
    """A `JWTMiddleware` without an app: a scope that is let in holds the claims, the user and the guard."""

    def __init__(self, auth: Auth, *, optional: bool) -> None:
        if auth.settings.store is not None:
            auth.require_store()  # an app that is imported within an event loop shows its faults at its start, too
        self._middleware = JWTMiddleware(_inside, auth, optional=optional)

    async def ask(self, scope: Scope) -> Refusal | None:
        """None for a request that is let in."""
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        await self._middleware(scope, sleep_forever, send)
        if not sent:
            return None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent[0]["headers"]}
        return Refusal(sent[0]["status"], headers, b"".join(message["body"] for message in sent[1:]))

    def ask_blocking(self, scope: Scope) -> Refusal | None:
        """The same for a thread without an event loop. It waits for the background loop if it has to."""
        return None if self._middleware.let_in_at_sight(scope) else in_background_loop(partial(self.ask, scope))


async def _inside(scope: Scope, receive: Receive, send: Send) -> None:
    """The app: a request that reaches it is let in."""


def wsgi_scope(environ: Mapping[str, Any], headers: Iterable[tuple[str, str]]) -> Scope:
    """A scope of a request under WSGI (PEP 3333), without its path."""
    return {
        "type": "http",
        "http_version": environ.get("SERVER_PROTOCOL", "HTTP/1.1").removeprefix("HTTP/"),
        "headers": [*_headers(headers)],
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1", "replace"),
        "client": (environ.get("REMOTE_ADDR", ""), 0),
        "server": (environ.get("SERVER_NAME", ""), int(environ.get("SERVER_PORT") or 0)),
    }


def routed_scope(scope: Scope, prefix: str, path: str, quoted: str) -> Scope:
    """A copy of the scope with the `path` below the `prefix` that a framework routes by; both together as in a URL.

    What is public is decided by the same path as which view is called, whatever the server made of the request.
    """
    return {
        **scope,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "root_path": prefix,
        "path": prefix + path,
        "raw_path": quoted.encode(),
    }


def _headers(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[bytes, bytes]]:
    """The headers as ASGI has them. WSGI joins Authorization headers; here they are apart again."""
    for name, value in headers:
        name = name.lower()
        for each in _NEXT_CREDENTIALS.split(value) if name == "authorization" else (value,):
            yield name.encode("latin-1"), each.encode("latin-1", "replace")
