"""The host's functions, which may be sync or async."""

from collections.abc import Awaitable
from typing import Any

import pytest

from asgi_jwt.hooks import settle

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
