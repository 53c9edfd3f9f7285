"""What the ASGI specification asks of every app."""

from typing import NoReturn

from starlette.types import Receive, Scope, Send

_TYPES = ("http", "websocket", "lifespan")


def check_scope_type(scope: Scope) -> None:
    """Raises `RuntimeError` for a scope type that has no rules here: its connection would reach the app unverified.

    The ASGI specification has an app raise for a protocol that the app does not know.
    """
    if scope["type"] not in _TYPES:
        raise RuntimeError(f"asgi_jwt serves the scope types {', '.join(_TYPES)}, and not {scope['type']!r}")


async def refuse_start(scope: Scope, receive: Receive, send: Send, fault: Exception) -> NoReturn:
    """Raises `fault`, after the server was told that the start failed, where that is the question.

    A server ends its start with the message; it goes on after an exception alone, for many an app has no lifespan.
    """
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": str(fault)})
    raise fault.with_traceback(None)
