"""Calls the host's functions, which may be sync or async."""

from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import ParamSpec, TypeVar

from anyio import to_thread

P = ParamSpec("P")
T = TypeVar("T")


async def settle(answer: T | Awaitable[T]) -> T:
    """The answer of a host's function, awaited if it is awaitable."""
    if isawaitable(answer):
        return await answer
    return answer


async def ask(function: Callable[P, T | Awaitable[T]], *arguments: P.args, **keywords: P.kwargs) -> T:
    """Call the host's `function` and return its answer. A sync function is called in a thread, as Starlette does.

    A sync function may hash a password, and the event loop would wait for it.
    """
    bare: object = function
    while isinstance(bare, partial):
        bare = bare.func
    if iscoroutinefunction(bare) or iscoroutinefunction(getattr(bare, "__call__", None)):  # noqa: B004
        return await settle(function(*arguments, **keywords))
    # A sync lambda may return a coroutine. Trio refuses a coroutine as a thread's result, so it travels in a tuple.
    (answer,) = await to_thread.run_sync(lambda: (function(*arguments, **keywords),))
    return await settle(answer)
