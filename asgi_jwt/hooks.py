"""The host's functions, which may be sync or async."""

from collections.abc import Awaitable
from inspect import isawaitable
from typing import TypeVar

T = TypeVar("T")


async def settle(answer: T | Awaitable[T]) -> T:
    """What the host's function answered, awaited where it has to be."""
    if isawaitable(answer):
        return await answer
    return answer
