"""The host's functions, which may be sync or async."""

import threading
from collections.abc import Awaitable
from functools import partial
from typing import Any

import pytest

from asgi_jwt.callbacks import ask, settle

pytestmark = pytest.mark.anyio


async def eventually(answer: object) -> object:
    return answer


class Promise:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Any:
        return eventually("kept").__await__()


@pytest.mark.parametrize("answer", [None, False, "x"])
async def test_a_plain_answer_is_the_answer(answer: object) -> None:
    """What a sync function returned is taken as it is."""
    assert await settle(answer) is answer


async def test_an_awaitable_answer_is_awaited() -> None:
    """A coroutine, or anything that can be awaited, is."""
    promise: Awaitable[object] = Promise()
    later: Awaitable[object] = eventually("x")
    for awaitable, answer in ((later, "x"), (promise, "kept")):
        settled: object = await settle(awaitable)
        assert settled == answer


class Called:
    async def __call__(self, number: int) -> int:
        return threading.get_ident()


async def async_thread(number: int) -> int:
    return threading.get_ident()


def sync_thread(number: int) -> int:
    return threading.get_ident()


def later_thread(number: int) -> Awaitable[int]:
    return async_thread(number)


@pytest.mark.parametrize("function", [async_thread, Called(), partial(async_thread, 1), later_thread])
async def test_async_functions_are_asked_in_the_event_loop(function: Any) -> None:
    """What is async runs where it was asked, in whatever form it comes."""
    arguments = () if isinstance(function, partial) else (1,)
    answer: int = await ask(function, *arguments)
    assert answer == threading.get_ident()


@pytest.mark.parametrize("function", [sync_thread, partial(sync_thread, number=1)])
async def test_sync_functions_are_asked_in_a_thread(function: Any) -> None:
    """What is sync may hash a password: it runs in a thread, and everyone else goes on."""
    arguments = () if isinstance(function, partial) else (1,)
    answer: int = await ask(function, *arguments)
    assert answer != threading.get_ident()
