"""Commands that are asked for at the same turn of the event loop, sent in one round trip."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import repeat
from typing import Any, Protocol

from asgi_jwt.errors import StoreUnavailable

Command = Sequence[bytes | str | int]
Answer = Any
"""What a server answers: bytes, an integer, a list or None; or one of the exceptions below."""


class Disconnected(StoreUnavailable):
    """The connection broke, or led to a server that is no master any more: what only reads may be asked again."""


class UnknownScript(StoreUnavailable):
    """The server does not have the script (NOSCRIPT), and ran nothing."""


class Wire(Protocol):
    """Carries commands to a server."""

    capacity: int
    """How many commands it carries in one exchange at the most."""

    turn: AbstractAsyncContextManager[object]
    """Held for an exchange. Commands that are asked for while a turn is awaited share the next one."""

    async def exchange(self, commands: Sequence[Command]) -> Sequence[Answer]:
        """The answers to `commands`, in their order. Raises whatever the driver does. It bounds its own time."""
        ...

    def translate(self, error: Exception) -> StoreUnavailable:
        """What came of an exchange, safe to log."""
        ...

    async def aclose(self) -> None:
        """Close what it opened itself."""
        ...


class Pipeline:
    """Hands commands over to a wire, and answers back to those who asked.

    The exchanges are tasks of their own, so that no caller's cancellation ever reaches a connection: one that was
    stopped between a command and its answer would give that answer to the next command.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._asked: deque[tuple[Command, asyncio.Future[Answer]]] = deque()
        self._due = 0
        self._exchanges: set[asyncio.Task[None]] = set()

    def ask(self, command: Command) -> asyncio.Future[Answer]:
        """The answer, or the exception as a result, once it is there. A command cancelled in time is not sent."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked.append((command, answer))
        if len(self._asked) > self._due * self._wire.capacity:
            self._due += 1
            exchange = asyncio.create_task(self._exchange())
            self._exchanges.add(exchange)
            exchange.add_done_callback(self._exchanges.discard)
        return answer

    async def aclose(self) -> None:
        """Give up on what is under way, which is answered with StoreUnavailable, and close the wire."""
        exchanges = [*self._exchanges]
        for exchange in exchanges:
            exchange.cancel()
        await asyncio.gather(*exchanges, return_exceptions=True)
        _settle(self._asked, repeat(StoreUnavailable("the store was closed")))
        await self._wire.aclose()

    async def _exchange(self) -> None:
        try:
            await self._wire.turn.__aenter__()
        finally:
            self._due -= 1
        answers: Iterable[Answer]
        taken = [self._asked.popleft() for _ in range(min(len(self._asked), self._wire.capacity))]
        asked = [(command, answer) for command, answer in taken if not answer.done()]
        try:
            answers = await self._wire.exchange([command for command, _ in asked]) if asked else ()
        except asyncio.CancelledError:
            answers = repeat(StoreUnavailable("the store was closed"))
        except Exception as error:
            answers = repeat(self._wire.translate(error))
        finally:
            await self._wire.turn.__aexit__(None, None, None)
        _settle(asked, answers)


def _settle(asked: Iterable[tuple[Command, asyncio.Future[Answer]]], answers: Iterable[Answer]) -> None:
    for (_, future), answer in zip(asked, answers, strict=False):
        if not future.done():
            future.set_result(answer)
