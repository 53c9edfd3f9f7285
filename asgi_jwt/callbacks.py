"""Calls the host's functions, which may be sync or async."""

from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import ParamSpec, TypeVar

import anyio
from anyio import to_thread

from asgi_jwt.events import logger

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
    return await _ask(partial(function, *arguments, **keywords))


async def _ask(call: Callable[[], T | Awaitable[T]], *, abandon: bool = False) -> T:
    bare: object = call
    while isinstance(bare, partial):
        bare = bare.func
    if iscoroutinefunction(bare) or iscoroutinefunction(getattr(bare, "__call__", None)):  # noqa: B004
        return await settle(call())
    # A sync lambda may return a coroutine. Trio refuses a coroutine as a thread's result, so it travels in a tuple.
    (answer,) = await to_thread.run_sync(lambda: (call(),), abandon_on_cancel=abandon)
    return await settle(answer)


async def notify(function: Callable[[T], Awaitable[None] | None], argument: T, *, limit: float) -> None:
    """Call the host's `function`, and wait `limit` seconds for it at most. A failure is logged.

    After that an async function is cancelled, and a sync function goes on in its thread. A client that closes its
    connection can't cancel the call.
    """
    try:
        with anyio.fail_after(limit, shield=True):
            await _ask(partial(function, argument), abandon=True)
    except Exception:
        logger.exception("%s failed, or took more than %g s", getattr(function, "__name__", "a callback"), limit)
