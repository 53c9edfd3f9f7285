"""Takes a place at the gate of logouts for a request whose token is verified. An overload costs no signature."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from asgi_jwt.auth import Auth

T = TypeVar("T")


@asynccontextmanager
async def place_and_claims(auth: Auth, operation: str, verify: Callable[[], Awaitable[T]]) -> AsyncIterator[T]:
    """Hold a place, as `Revoker.place` does, and give what `verify` returns.

    Raises `StoreUnavailable` in an overload, and the errors of `verify`.
    """
    place = auth.revoker.place(operation)
    if auth.asks_others:  # a slow verifier or issuer would hold the places that other users' logouts need
        claims = await verify()
        async with place:
            yield claims
    else:
        async with place:
            yield await verify()
