"""Commands of one turn of the loop share a round trip, and no caller's fate is another's."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import pytest
from support.waiting import PATIENCE

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.redis.pipeline import Answer, Command, Pipeline

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class EchoWire:
    """Answers every command with its last word, once it is let."""

    def __init__(self, capacity: int = 10, turns: int = 1) -> None:
        self.capacity = capacity
        self.turn: AbstractAsyncContextManager[object] = asyncio.Semaphore(turns)
        self.sent: list[list[Command]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.fault: Exception | None = None
        self.closed = 0

    async def exchange(self, commands: Sequence[Command]) -> Sequence[Answer]:
        self.sent.append([*commands])
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        return [command[-1] for command in commands]

    def translate(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(str(error))

    async def aclose(self) -> None:
        self.closed += 1


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_one_turn_shares_an_exchange() -> None:
    """What is asked for in one turn goes out together, and each asker has the answer to his own command."""
    wire = EchoWire()
    pipeline = Pipeline(wire)
    answers = await asyncio.gather(*(pipeline.ask(("GET", n)) for n in range(5)))
    assert answers == [0, 1, 2, 3, 4]
    assert [len(batch) for batch in wire.sent] == [5]


async def test_an_exchange_takes_what_it_can() -> None:
    """More commands than an exchange carries go out in several."""
    wire = EchoWire(capacity=2, turns=5)
    pipeline = Pipeline(wire)
    assert await asyncio.gather(*(pipeline.ask(("GET", n)) for n in range(5))) == [0, 1, 2, 3, 4]
    assert [len(batch) for batch in wire.sent] == [2, 2, 1]


async def test_those_who_await_a_turn_share_the_next() -> None:
    """While all turns are taken, whatever is asked for gathers into one exchange."""
    wire = EchoWire()
    wire.open.clear()
    pipeline = Pipeline(wire)
    asked = []
    for n in range(4):
        asked.append(pipeline.ask(("GET", n)))
        await turns(3)
    assert [len(batch) for batch in wire.sent] == [1]
    wire.open.set()
    assert await asyncio.gather(*asked) == [0, 1, 2, 3]
    assert [len(batch) for batch in wire.sent] == [1, 3]


async def test_commands_cancelled_in_time_are_not_sent() -> None:
    """Who goes away before the exchange begins sends nothing, and an exchange of nothing is none."""
    wire = EchoWire()
    pipeline = Pipeline(wire)
    gone = pipeline.ask(("GET", "gone"))
    gone.cancel()
    await turns(3)
    assert wire.sent == []
    gone, stays = pipeline.ask(("GET", "gone")), pipeline.ask(("GET", "stays"))
    gone.cancel()
    assert await stays == "stays"
    assert wire.sent == [[("GET", "stays")]]


async def test_closing_leaves_nobody_waiting() -> None:
    """What is under way, and what awaits a turn, is answered when the pipeline closes; so is its wire closed."""
    wire = EchoWire()
    wire.open.clear()
    pipeline = Pipeline(wire)
    first = pipeline.ask(("GET", 1))
    await turns(3)
    second = pipeline.ask(("GET", 2))
    await turns(3)
    await pipeline.aclose()
    async with asyncio.timeout(PATIENCE):
        answers = await asyncio.gather(first, second)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 2
    assert [len(batch) for batch in wire.sent] == [1]
    assert wire.closed == 1
