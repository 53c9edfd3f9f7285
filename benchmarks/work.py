"""What a worker does: see `benchmarks.worker`."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

Answer = dict[str, Any]


async def _nothing(**question: Any) -> Answer:
    raise ValueError("this work answers no question")


class Work(NamedTuple):
    """Its introduction, which answers the setup, and what answers each question."""

    introduction: Answer
    answer: Callable[..., Awaitable[Answer]] = _nothing


Kind = Callable[..., AbstractAsyncContextManager[Work]]
"""Called with the members of the setup; the work is done when its input ends."""
