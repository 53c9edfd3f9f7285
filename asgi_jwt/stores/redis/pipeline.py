"""Pipeline: sends the commands of one turn of the event loop in one round trip."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import repeat
from typing import Any, Protocol

from asgi_jwt.errors import StoreUnavailable

Command = Sequence[bytes | str | int]
Answer = Any
"""The answer of a server: bytes, an integer, a list or None; or a StoreUnavailable, as a value."""


class Confirmed(tuple[bytes | str | int, ...]):
    """A command whose answer counts only if its server was still the master afterwards. A demoted one loses writes."""


class Disconnected(StoreUnavailable):
    """The connection broke, or its server is no master any more. A command that only reads may be sent again."""


class UnknownScript(StoreUnavailable):
    """The server does not know the script (NOSCRIPT), and ran nothing."""


class Wire(Protocol):
    """Carries commands to a server."""

    capacity: int
    """The most commands of one exchange."""

    turn: AbstractAsyncContextManager[object]
    """Held during an exchange. Commands that come while a turn is awaited share the next exchange."""

    async def exchange(self, commands: Sequence[Command]) -> Sequence[Answer]:
        """The answers to `commands`, in their order. It has a time limit, and raises the driver's exceptions."""
        ...

    def translate(self, error: Exception) -> StoreUnavailable:
        """The StoreUnavailable for an exception of an exchange. Its text is safe to log."""
        ...

    async def aclose(self) -> None:
        """Close the client, if the wire made it."""
        ...


class Pipeline:
    """Collects commands, exchanges them over a wire, and gives each caller its answer.

    Each exchange is a task of its own, so that the cancellation of a caller does not reach a connection. A connection
    that was stopped between a command and its answer would give this answer to the next command.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._asked: deque[tuple[Command, asyncio.Future[Answer]]] = deque()
        self._due = 0
        self._exchanges: set[asyncio.Task[None]] = set()

    def ask(self, command: Command) -> asyncio.Future[Answer]:
        """A future of the answer. A failure is a result, not an exception. If cancelled early, nothing is sent."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked.append((command, answer))
        if len(self._asked) > self._due * self._wire.capacity:
            self._due += 1
            exchange = asyncio.create_task(self._exchange())
            self._exchanges.add(exchange)
            exchange.add_done_callback(self._exchanges.discard)
        return answer

    async def aclose(self) -> None:
        """Cancel the running exchanges, answer all callers with StoreUnavailable, and close the wire."""
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
