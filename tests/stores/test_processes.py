"""What processes on one store come to: racing, and killed."""

import sqlite3
from contextlib import ExitStack, closing

import anyio
import pytest
from support.processes import running
from support.stores import shared_store, stored, url_of, using

from asgi_jwt.stores.records import Session
from asgi_jwt.stores.urls import open_store

SCRIPT = """
import asyncio, sys
from support.stores import KEY, advance
from asgi_jwt.stores.urls import open_store

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    store = open_store(sys.argv[1])
    rounds = [changes(store) for _ in range(int(sys.argv[2]))]
    await asyncio.gather(*rounds)
    await store.aclose()

async def changes(store):
    for _ in range(int(sys.argv[3])):
        print(await store.update(KEY, advance), flush=True)

asyncio.run(main())
"""


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    return url_of(kind, request)


def read_back(url: str) -> Session:
    async def read() -> Session:
        async with using(open_store(url)) as store:
            return await stored(store)

    session = anyio.run(read)
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return session


@shared_store
def test_four_processes_race(url: str) -> None:
    """Four processes that open the store together and write one record lose none of each other's changes."""
    with ExitStack() as stack:
        racers = [stack.enter_context(running(SCRIPT, url, "50", "1")) for _ in range(4)]
        assert [racer.line() for racer in racers] == ["ready"] * 4
        for racer in racers:
            racer.go_on()
        results = [int(result) for racer in racers for result in racer.end()]
    assert sorted(results) == list(range(1, 201))
    last = read_back(url)
    assert (last.generation, last.version) == (200, 200)


@shared_store
def test_killed_in_the_middle_of_updates(url: str) -> None:
    """What a caller was told of is in the store, whenever the process dies."""
    with running(SCRIPT, url, "5", "1000000") as writer:
        assert writer.line() == "ready"
        writer.go_on()
        told = [int(writer.line()) for _ in range(100)]
        told += map(int, writer.kill())
    # The other four callers may have been on their way to tell.
    assert len(set(told)) == len(told) >= max(told) - 4
    last = read_back(url)
    assert last.generation == last.version >= max(told)
