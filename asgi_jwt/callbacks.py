"""The host's functions, which may be sync or async."""

from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import ParamSpec, TypeVar

from anyio import to_thread

P = ParamSpec("P")
T = TypeVar("T")


async def settle(answer: T | Awaitable[T]) -> T:
    """What the host's function answered, awaited where it has to be."""
    if isawaitable(answer):
        return await answer
    return answer


async def ask(function: Callable[P, T | Awaitable[T]], *arguments: P.args, **keywords: P.kwargs) -> T:
    """The answer of a function that may take its time: a sync one is called in a thread, as Starlette's handlers are.

    Else everyone would wait while it hashes a password.
    """
    bare: object = function
    while isinstance(bare, partial):
        bare = bare.func
    if iscoroutinefunction(bare) or iscoroutinefunction(getattr(bare, "__call__", None)):  # noqa: B004
        return await settle(function(*arguments, **keywords))
    # In a tuple, for trio takes no coroutine from a thread, which is what a lambda around an async function gives.
    (answer,) = await to_thread.run_sync(lambda: (function(*arguments, **keywords),))
    return await settle(answer)
