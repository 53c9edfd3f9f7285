"""What the ASGI specification asks of every app."""

from starlette.types import Scope

_TYPES = ("http", "websocket", "lifespan")


def check_scope_type(scope: Scope) -> None:
    """Raises `RuntimeError` for a scope type that has no rules here: its connection would reach the app unverified.

    The ASGI specification has an app raise for a protocol that the app does not know.
    """
    if scope["type"] not in _TYPES:
        raise RuntimeError(f"asgi_jwt serves the scope types {', '.join(_TYPES)}, and not {scope['type']!r}")
