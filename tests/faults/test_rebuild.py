"""Fifty processes that lose their place in a long log read a minute of it again; fifty that start read all of it."""

import anyio
import pytest
from support.valkey import Valkey

from asgi_jwt.stores.base import LOG_PAGE
from asgi_jwt.stores.packed import pack_revocation
from asgi_jwt.stores.records import Revocation
from asgi_jwt.stores.redis import RedisStore

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000_000
HOUR = 3_600_000
LOG = "asgi-jwt:revocations"
READERS = 50
ENTRIES = 46_000
"""Of an hour: 13 a second, so that a minute has 767."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def fill(server: Valkey) -> None:
    """The log of a service from which users log out all the time."""
    script = "for n = 0, ARGV[1] - 1 do redis.call('XADD', KEYS[1], ARGV[2] + n * 78 .. '-0', 'u', 0, 'r', ARGV[3]) end"
    record = pack_revocation(Revocation("sid", "https://issuer.example", "s" * 22, NOW + 2 * HOUR, NOW))
    server.ask("EVAL", script, 1, LOG, ENTRIES, NOW, record)


async def read_to_the_end(store: RedisStore, cursor: object) -> tuple[int, object]:
    """How many entries a reader is sent, and where it stands then."""
    sent = 0
    while True:
        page = await store.read_revocations(cursor)
        sent, cursor = sent + len(page.revocations), page.cursor
        if not page.more:
            return sent, cursor


async def read_all(store: RedisStore, cursors: list[object]) -> list[tuple[int, object]]:
    found: list[tuple[int, object]] = []

    async def read(cursor: object) -> None:
        found.append(await read_to_the_end(store, cursor))

    async with anyio.create_task_group() as readers:
        for cursor in cursors:
            readers.start_soon(read, cursor)
    return found


async def test_rebuild_is_no_stampede(valkey: Valkey) -> None:
    """A lost place costs each reader a page, however long the log; a start costs all pages, and no reader fails."""
    fill(valkey)
    store = RedisStore.from_url(f"{valkey.url}?timeout=30")
    started = await read_all(store, [None] * READERS)
    assert {sent for sent, _ in started} == {ENTRIES}
    scripts = valkey.calls("evalsha") + valkey.calls("eval")
    assert 0 <= scripts - READERS * ENTRIES // LOG_PAGE <= READERS + 1  # some find out that the server lacks the script

    last = f"{NOW + (ENTRIES - 1) * 78}-0"
    assert valkey.ask("XDEL", LOG, last) == 1
    again = await read_all(store, [cursor for _, cursor in started])
    assert {sent for sent, _ in again} == {60_000 // 78}
    assert valkey.calls("evalsha") + valkey.calls("eval") - scripts == READERS
    await store.aclose()
