"""The log of revocations in Redis: what it takes, how long it is kept, and that no server's past hides an entry."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from uuid import uuid4

import pytest
from support.valkey import Cluster, Front, Valkey, poll
from support.waiting import PATIENCE

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.base import LOG_PAGE, SWEEP_AFTER
from asgi_jwt.stores.packed import pack_revocation
from asgi_jwt.stores.records import CLOCK_SKEW, Revocation
from asgi_jwt.stores.redis import RedisStore
from asgi_jwt.stores.redis.log import APPEND, READ, Cursor, append_arguments, page_of

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000_000
HOUR = 3_600_000
LOG = "asgi-jwt:revocations"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def revocations(count: int, *, until: int = NOW + HOUR, first: int = 0) -> list[Revocation]:
    return [Revocation("sid", "https://issuer.example", f"{n:022}", until) for n in range(first, first + count)]


def write(server: Valkey, entry_id: str, revocation: Revocation) -> None:
    """An entry as another server, or another process, has written it."""
    server.ask("XADD", LOG, entry_id, "u", revocation.until, "r", pack_revocation(revocation))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore.from_url(url)
    try:
        yield store
    finally:
        await store.aclose()


async def values(store: RedisStore, cursor: object = None) -> tuple[list[int], bool, object]:
    """The entries of the next page by their numbers, whether it goes on from the cursor, and the next one."""
    page = await store.read_revocations(cursor)
    return [int(entry.value) for entry in page.revocations], page.continues, page.cursor


async def test_log_is_one_key_under_the_prefix(valkey: Valkey) -> None:
    """The log is one stream, beside the sessions; what lapses last is what the server keeps it for."""
    prefix = f"{uuid4().hex}:"
    async with opened(f"{valkey.url}?prefix={prefix}&timeout={PATIENCE:g}") as store:
        await store.append_revocations(revocations(1, until=NOW + 2 * HOUR), NOW)
        await store.append_revocations(revocations(1), NOW)
        assert valkey.ask("KEYS", f"{prefix}*") == [f"{prefix}revocations".encode()]
        assert 2 * HOUR < valkey.ask("PTTL", f"{prefix}revocations") <= 2 * HOUR + SWEEP_AFTER
        await store.append_revocations(revocations(1, until=NOW - 1), NOW)
        await store.append_revocations(revocations(1, until=2**53), NOW)
        assert valkey.ask("PTTL", f"{prefix}revocations") > 1000 * 24 * HOUR


async def test_log_is_small(own_valkey: Valkey) -> None:
    """A revocation takes 120 bytes of the server's memory."""
    async with opened(own_valkey.url) as store:
        for first in range(0, 20 * LOG_PAGE, LOG_PAGE):
            await store.append_revocations(revocations(LOG_PAGE, first=first), NOW)
        assert own_valkey.ask("MEMORY", "USAGE", LOG) / own_valkey.ask("XLEN", LOG) < 120


def append_at(server: Valkey, now: int, entry: Revocation, clock: int | None = None) -> None:
    """An append by a process whose clock says `clock`, to a server whose clock says `now`."""
    script = APPEND.text.replace(b"'*'", b"'%d-*'" % now)
    server.ask("EVAL", script, 1, LOG, *append_arguments([entry], now if clock is None else clock))


async def test_log_shrinks_behind_entries_that_last(own_valkey: Valkey) -> None:
    """Entries that hold for days, at the beginning, keep no others: a hundred logouts later most of those have gone."""
    for n in range(100):
        append_at(own_valkey, NOW + n, revocations(1, until=NOW + 100 * HOUR, first=n)[0])
    for n in range(1000):
        append_at(own_valkey, NOW + 1000 * (n + 1), revocations(1, first=n)[0])
    later = NOW + HOUR + CLOCK_SKEW + 1_000_001
    for n in range(100):
        append_at(own_valkey, later + 10 * n, revocations(1, until=later + HOUR)[0])
    assert 200 <= own_valkey.ask("XLEN", LOG) < 600


@pytest.mark.parametrize("skew", [-HOUR, HOUR])
async def test_no_clock_of_a_process_takes_an_entry(own_valkey: Valkey, skew: int) -> None:
    """An entry is kept for its life by the server's time, however wrong the clocks of processes that append are."""
    append_at(own_valkey, NOW, revocations(1)[0])
    append_at(own_valkey, NOW + 1, revocations(1, until=NOW + skew + HOUR, first=1)[0], NOW + skew)
    for n in range(2):
        clock = NOW + HOUR + 2 * n * skew
        append_at(own_valkey, NOW + HOUR + n, revocations(1, until=clock + HOUR, first=2 + n)[0], clock)
        assert own_valkey.ask("XLEN", LOG) == 3 + n
    append_at(own_valkey, NOW + HOUR + CLOCK_SKEW + 2, revocations(1, until=NOW + 9 * HOUR)[0])
    assert own_valkey.ask("XLEN", LOG) == 3


async def test_newest_entry_stays(own_valkey: Valkey) -> None:
    """An entry that has lapsed before it comes is kept while it is the last, and goes with the next."""
    for n in range(3):
        append_at(own_valkey, NOW + n * HOUR, revocations(1, until=0)[0])
        assert own_valkey.ask("XLEN", LOG) == 1


@pytest.mark.parametrize(("later", "left"), [(CLOCK_SKEW, [b"0", b"1"]), (CLOCK_SKEW + 1, [b"1"])])
async def test_entries_of_a_release_before(own_valkey: Valkey, later: int, left: list[bytes]) -> None:
    """An entry without a life is kept until its end, and a little for clocks that differ."""
    write(own_valkey, f"{NOW}-0", revocations(1)[0])
    append_at(own_valkey, NOW + HOUR + later, revocations(1, first=1)[0])
    records = [fields[b"r"] for _, fields in own_valkey.ask("XRANGE", LOG, "-", "+")]
    assert [json.loads(record)[3].encode() for record in records] == [value.zfill(22) for value in left]


async def test_log_that_was_flushed(own_valkey: Valkey) -> None:
    """An empty log is one that does not go on from where it was read; what comes then is read from its beginning."""
    async with opened(own_valkey.url) as store:
        await store.append_revocations(revocations(2), NOW)
        _, _, cursor = await values(store)
        own_valkey.ask("FLUSHALL")
        assert await values(store, cursor) == ([], False, None)
        await store.append_revocations(revocations(1, first=7), NOW)
        assert (await values(store, cursor))[:2] == ([7], False)


async def test_server_whose_clock_is_behind(own_valkey: Valkey) -> None:
    """After a failover that lost entries, ids of the new server that are smaller than those read hide nothing."""
    async with opened(own_valkey.url) as store:
        write(own_valkey, f"{NOW}-0", revocations(1)[0])
        write(own_valkey, f"{NOW + 5000}-0", revocations(1, first=1)[0])
        _, _, cursor = await values(store)
        own_valkey.ask("DEL", LOG)
        write(own_valkey, f"{NOW}-0", revocations(1)[0])
        write(own_valkey, f"{NOW + 1000}-0", revocations(1, first=2)[0])
        write(own_valkey, f"{NOW + 9000}-0", revocations(1, first=3)[0])
        assert (await values(store, cursor))[:2] == ([0, 2, 3], False)


async def test_lost_place_costs_a_minute_of_the_log(own_valkey: Valkey) -> None:
    """A reader whose last entry is gone reads again what is up to a minute older than it, and no more."""
    async with opened(own_valkey.url) as store:
        for n in range(10):
            write(own_valkey, f"{NOW + 30_000 * n}-0", revocations(1, first=n)[0])
        found, _, cursor = await values(store)
        own_valkey.ask("XDEL", LOG, f"{NOW + 270_000}-0")
        write(own_valkey, f"{NOW + 270_001}-0", revocations(1, first=10)[0])
        assert found == list(range(10))
        assert (await values(store, cursor))[:2] == ([7, 8, 10], False)


async def test_log_of_another_past_is_read_whole(own_valkey: Valkey) -> None:
    """A log that is all older than the reader's place is another server's, whose clock is behind: all of it is read."""
    async with opened(own_valkey.url) as store:
        write(own_valkey, f"{NOW}-0", revocations(1)[0])
        _, _, cursor = await values(store)
        own_valkey.ask("DEL", LOG)
        for n in range(2):
            write(own_valkey, f"{NOW - HOUR + 120_000 * n}-0", revocations(1, first=n + 1)[0])
        assert (await values(store, cursor))[:2] == ([1, 2], False)


async def test_another_entry_of_the_same_id(own_valkey: Valkey) -> None:
    """Two servers may give one id to two entries: the log goes on only behind the very entry that was read."""
    async with opened(own_valkey.url) as store:
        write(own_valkey, f"{NOW}-0", revocations(1, first=1)[0])
        _, _, cursor = await values(store)
        own_valkey.ask("DEL", LOG)
        write(own_valkey, f"{NOW - 1}-0", revocations(1, first=2)[0])
        write(own_valkey, f"{NOW}-0", revocations(1, first=3)[0])
        assert (await values(store, cursor))[:2] == ([2, 3], False)


async def test_failover_that_loses_entries(own_valkey: Valkey, other_valkey: Valkey) -> None:
    """When a replica takes over that never saw the last entries, what it is told then is read all the same."""
    async with Front(own_valkey) as address, opened(f"redis://127.0.0.1:{address.port}") as store:
        await store.append_revocations(revocations(2), NOW)
        other_valkey.ask("REPLICAOF", "127.0.0.1", own_valkey.port)
        poll(lambda: other_valkey.ask("XLEN", LOG) == 2)
        other_valkey.ask("REPLICAOF", "NO", "ONE")
        await store.append_revocations(revocations(2, first=2), NOW)
        found, _, cursor = await values(store)
        assert found == [0, 1, 2, 3]
        address.server = other_valkey
        own_valkey.stop()
        await store.append_revocations(revocations(1, first=9), NOW)
        assert (await values(store, cursor))[:2] == ([0, 1, 9], False)


async def test_log_in_a_cluster(cluster: Cluster) -> None:
    """In a cluster the log is one key of one node, which is where it is read."""
    prefix = f"{uuid4().hex}:"
    async with opened(f"{cluster.url}?prefix={prefix}&timeout={PATIENCE:g}") as store:
        await store.append_revocations(revocations(3), NOW)
        assert (await values(store))[0] == [0, 1, 2]
    assert cluster.first_owner(f"{prefix}revocations".encode()).ask("XLEN", f"{prefix}revocations") == 3


async def test_append_and_read_are_one_round_trip_each(own_valkey: Valkey) -> None:
    """However many entries, an append is one command, and so is a page; the scripts are sent once."""
    async with opened(own_valkey.url) as store:
        for first in (0, LOG_PAGE, 2 * LOG_PAGE):
            await store.append_revocations(revocations(LOG_PAGE, first=first), NOW)
        cursor = None
        for _ in range(3):
            cursor = (await store.read_revocations(cursor)).cursor
        assert (own_valkey.calls("eval"), own_valkey.calls("evalsha")) == (2, 6)
        own_valkey.ask("SCRIPT", "FLUSH")
        assert (await store.read_revocations(cursor)).continues


async def test_connection_that_breaks_costs_neither(own_valkey: Valkey) -> None:
    """What breaks with the connection is asked again: an entry that is there twice says no more than once."""
    async with Front(own_valkey) as address, opened(f"redis://127.0.0.1:{address.port}") as store:
        await store.append_revocations(revocations(1), NOW)
        for n in (1, 2):
            own_valkey.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await store.append_revocations(revocations(1, first=n), NOW)
            own_valkey.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert (await values(store))[0] == list(range(n + 1))


@pytest.mark.parametrize("record", [b"[2]", b"[1]", b"no JSON", b"{}", b"1"])
async def test_record_of_another_release(own_valkey: Valkey, record: bytes) -> None:
    """What can't be read is StoreUnavailable, which refuses tokens: nobody knows whose were revoked."""
    async with opened(own_valkey.url) as store:
        await store.append_revocations(revocations(1), NOW)
        own_valkey.ask("XADD", LOG, "*", "u", NOW + HOUR, "r", record)
        with pytest.raises(StoreUnavailable, match="revocation's record"):
            await store.read_revocations()


async def test_key_of_another_kind(own_valkey: Valkey) -> None:
    """A key of that name which is no stream is StoreUnavailable, without a word of what it holds."""
    async with opened(own_valkey.url) as store:
        own_valkey.ask("SET", LOG, "secret")
        for call in (store.read_revocations(), store.append_revocations(revocations(1), NOW)):
            with pytest.raises(StoreUnavailable, match=r"^ResponseError \(WRONGTYPE\): .* a prefix of its own$"):
                await call


def test_pages_of_what_the_script_answers() -> None:
    """The answers of the script, without a server: an empty log, one entry, a full page and one more."""

    def answer(told: bytes, entries: Sequence[Revocation]) -> bytes:
        lines = [(b"%d-0" % n, pack_revocation(entry)) for n, entry in enumerate(entries)]
        return b"\n".join([told, *chain.from_iterable(lines)])

    before = Cursor(b"1-0", b"[]")
    assert page_of(b"0", None) == ([], None, False, False)
    assert page_of(b"0", before) == ([], None, False, False)
    assert page_of(b"1", before) == ([], before, True, False)
    assert page_of(answer(b"1", revocations(1)), before).cursor == Cursor(b"0-0", pack_revocation(revocations(1)[0]))
    for count, more in ((LOG_PAGE, False), (LOG_PAGE + 1, True)):
        page = page_of(answer(b"0", revocations(count)), None)
        assert (page.revocations, page.more) == (revocations(LOG_PAGE), more)
        assert page.cursor.entry == b"%d-0" % (LOG_PAGE - 1)
    assert len(READ.sha) == 40
