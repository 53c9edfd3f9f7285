"""The rules of the ASGI specification that every app here follows."""

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from anyio import NoEventLoopError
from anyio.lowlevel import current_token
from starlette.types import Message, Receive, Scope, Send

from asgi_jwt.auth import Auth
from asgi_jwt.errors import ConfigurationError
from asgi_jwt.settings import Settings
from asgi_jwt.tokens.identity import kind

AnyASGIApp = Callable[[Any, Any, Any], Awaitable[object]]
"""Any ASGI app. Each framework has types of its own for scopes and messages."""

_TYPES = ("http", "websocket", "lifespan")


def check_scope_type(scope: Scope) -> None:
    """Raises `RuntimeError` for an unknown scope type: its connection would reach the app unverified.

    The ASGI specification demands an exception for a protocol that an app does not know.
    """
    if scope["type"] not in _TYPES:
        raise RuntimeError(f"asgi_jwt serves the scope types {', '.join(_TYPES)}, and not {scope['type']!r}")


def list_headers(scope: Scope) -> None:
    """Make the headers a list of pairs: ASGI promises iterables, and Falcon's test client gives iterators."""
    if type(scope["headers"]) is not list:
        scope["headers"] = [(name, value) for name, value in scope["headers"]]


def checked_auth(auth: object, call: str) -> Auth:
    """`auth`, if it is an `Auth`. Else raises `ConfigurationError`, whose text shows the correct `call`."""
    if not isinstance(auth, Auth):
        mend = ": Auth(settings) makes one" if isinstance(auth, Settings) else ""
        raise ConfigurationError(f"{call} takes an Auth as auth, not {kind(auth)}{mend}")
    return auth


def with_more_body(send: Send) -> Send:
    """Wraps `send` for a Starlette `Response`: adds `more_body` to the last part of a body.

    Starlette leaves the optional `more_body` out, and Quart's test client fails without it.
    """

    async def add_more_body(message: Message) -> None:
        if message["type"].endswith("http.response.body"):
            message.setdefault("more_body", False)
        await send(message)

    return add_more_body


def in_event_loop() -> bool:
    """Whether an event loop runs: Starlette builds the middleware of `add_middleware` there, at the first event."""
    try:
        current_token()
    except NoEventLoopError:
        return False
    return True


async def refuse_start(scope: Scope, receive: Receive, send: Send, fault: Exception) -> NoReturn:
    """Raises `fault`. For a lifespan scope it first sends `lifespan.startup.failed`.

    The message makes the server end. After an exception alone a server would go on, because it takes the exception for
    an app without lifespan.
    """
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": str(fault)})
    raise fault.with_traceback(None)
