"""Runs what a command awaits."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from asgi_jwt.events import logger

T = TypeVar("T")


def run(work: Callable[[], Awaitable[T]]) -> T:
    """What `work` returns, under asyncio, which the Redis store needs.

    What it tells the log meanwhile the command tells in its own words.
    """
    nowhere = logging.NullHandler()
    logger.addHandler(nowhere)
    try:
        return anyio.run(work)
    finally:
        logger.removeHandler(nowhere)
