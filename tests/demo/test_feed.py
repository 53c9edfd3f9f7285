"""The demo's events as a stream."""

import json
from contextlib import suppress

import anyio
import pytest
from support.waiting import PATIENCE

from asgi_jwt.demo import feed as module
from asgi_jwt.demo.feed import Feed
from asgi_jwt.events import Refreshed, SessionOpened
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio


async def numbers(feed: Feed, after: int = 0) -> list[int]:
    """Those of a feed that is closed."""
    return [json.loads(frame.split("data: ")[1])["id"] async for frame in feed.read(after) if "data: " in frame]


async def test_as_they_happen() -> None:
    """Every reader gets what was before it came, then each event when it happens, until the feed is closed."""
    feed = Feed(Clock(1_000))
    feed(SessionOpened())
    read: list[list[str]] = [[], []]

    async def reader(into: list[str]) -> None:
        async for frame in feed.read(0):
            into += [frame]

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            for into in read:
                group.start_soon(reader, into)
            await anyio.wait_all_tasks_blocked()
            assert [len(into) for into in read] == [2, 2]
            feed(Refreshed("SAME"))
            await anyio.wait_all_tasks_blocked()
            assert [len(into) for into in read] == [3, 3]
            feed.close()
    hello, opened, refreshed = read[0]
    assert hello == "retry: 1000\n\n"
    assert opened == 'id: 1\ndata: {"id": 1, "at": 1000, "name": "session_opened", "actor": null}\n\n'
    assert json.loads(refreshed.split("data: ")[1])["verdict"] == "SAME"


async def test_what_happens_while_it_is_read() -> None:
    """What comes while a reader is busy is not missed."""
    feed = Feed(Clock())
    feed(SessionOpened())
    stream = feed.read(0)
    with anyio.fail_after(PATIENCE):
        assert await anext(stream) == "retry: 1000\n\n"
        assert (await anext(stream)).startswith("id: 1\n")
        feed(SessionOpened())
        feed.close()
        assert (await anext(stream)).startswith("id: 2\n")
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_only_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is bounded, and the numbers go on."""
    monkeypatch.setattr(module, "KEPT", 2)
    feed = Feed(Clock())
    for _ in range(3):
        feed(SessionOpened())
    feed.close()
    assert await numbers(feed) == [2, 3]
    assert feed.newest == 3


async def test_a_page_of_an_earlier_demo() -> None:
    """A reader that counts on from another demo's events gets these from the beginning."""
    feed = Feed(Clock())
    feed(SessionOpened())
    feed.close()
    assert await numbers(feed, 1) == []
    assert await numbers(feed, 2) == [1]


async def test_actor() -> None:
    """Events are told of as their actor's while he acts, and as nobody's after it, whatever goes wrong."""
    feed = Feed(Clock())
    with suppress(ValueError), feed.acting("thief"):
        feed(SessionOpened())
        raise ValueError
    feed(SessionOpened())
    feed.close()
    frames = [frame async for frame in feed.read(0)]
    assert ['"actor": "thief"' in frame for frame in frames[1:]] == [True, False]
