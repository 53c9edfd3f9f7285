"""What the ASGI specification asks of every app."""

from typing import NoReturn

from anyio import NoEventLoopError
from anyio.lowlevel import current_token
from starlette.types import Message, Receive, Scope, Send

from asgi_jwt.auth import Auth
from asgi_jwt.errors import ConfigurationError
from asgi_jwt.settings import Settings
from asgi_jwt.tokens.identity import kind

_TYPES = ("http", "websocket", "lifespan")


def check_scope_type(scope: Scope) -> None:
    """Raises `RuntimeError` for a scope type that has no rules here: its connection would reach the app unverified.

    The ASGI specification has an app raise for a protocol that the app does not know.
    """
    if scope["type"] not in _TYPES:
        raise RuntimeError(f"asgi_jwt serves the scope types {', '.join(_TYPES)}, and not {scope['type']!r}")


def list_headers(scope: Scope) -> None:
    """Make the headers a list of pairs: ASGI promises iterables, and Falcon's test client gives iterators."""
    if type(scope["headers"]) is not list:
        scope["headers"] = [(name, value) for name, value in scope["headers"]]


def checked_auth(auth: object, call: str) -> Auth:
    """`auth`, if it is one. Raises `ConfigurationError`, which shows the `call` as it should be."""
    if not isinstance(auth, Auth):
        mend = ": Auth(settings) makes one" if isinstance(auth, Settings) else ""
        raise ConfigurationError(f"{call} takes an Auth as auth, not {kind(auth)}{mend}")
    return auth


def stating_the_end(send: Send) -> Send:
    """`send`, for the answer of a `Response`: it adds `more_body` to a last part, where Starlette leaves it out.

    The ASGI specification makes `more_body` optional, and Quart's test client fails without it.
    """

    async def state(message: Message) -> None:
        if message["type"].endswith("http.response.body"):
            message.setdefault("more_body", False)
        await send(message)

    return state


def in_event_loop() -> bool:
    """Whether an event loop runs: Starlette builds the middleware of `add_middleware` there, at the first event."""
    try:
        current_token()
    except NoEventLoopError:
        return False
    return True


async def refuse_start(scope: Scope, receive: Receive, send: Send, fault: Exception) -> NoReturn:
    """Raises `fault`, after the server was told that the start failed, where that is the question.

    A server ends its start with the message; it goes on after an exception alone, for many an app has no lifespan.
    """
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": str(fault)})
    raise fault.with_traceback(None)
