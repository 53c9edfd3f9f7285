"""The log of revocations in Redis: what it takes, how long it is kept, and that no server's past hides an entry."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from support.stores import HOUR, NOW, using
from support.valkey import Cluster, Front, Valkey
from support.waiting import PATIENCE

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.base import LOG_PAGE, SWEEP_AFTER
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.packed import pack_revocation
from asgi_jwt.stores.records import CLOCK_SKEW, Revocation
from asgi_jwt.stores.redis import RedisStore
from asgi_jwt.stores.redis.log import APPEND, append_arguments

pytestmark = pytest.mark.anyio

LOG = "asgi-jwt:revocations"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def revocations(count: int, *, until: int = NOW + HOUR, first: int = 0) -> list[Revocation]:
    return [Revocation("sid", "https://issuer.example", f"{n:022}", Millis(until)) for n in range(first, first + count)]


def write(server: Valkey, after: int, number: int) -> None:
    """An entry as another server, or a release before this one, has written it: its id is so many ms past `NOW`."""
    (entry,) = revocations(1, first=number)
    server.ask("XADD", LOG, f"{NOW + after}-0", "u", entry.until, "r", pack_revocation(entry))


async def values(store: RedisStore, cursor: object = None) -> tuple[list[int], bool, object]:
    """The entries of the next page by their numbers, whether it goes on from the cursor, and the next one."""
    page = await store.read_revocations(cursor)
    return [int(entry.value) for entry in page.revocations], page.continues, page.cursor


async def test_log_is_one_key_under_the_prefix(valkey: Valkey) -> None:
    """The log is one stream, beside the sessions; what lapses last is what the server keeps it for."""
    prefix = f"{uuid4().hex}:"
    async with using(RedisStore.from_url(f"{valkey.url}?prefix={prefix}&timeout={PATIENCE:g}")) as store:
        await store.append_revocations(revocations(1, until=NOW + 2 * HOUR), Millis(NOW))
        await store.append_revocations(revocations(1), Millis(NOW))
        assert valkey.ask("KEYS", f"{prefix}*") == [f"{prefix}revocations".encode()]
        assert 2 * HOUR < valkey.ask("PTTL", f"{prefix}revocations") <= 2 * HOUR + SWEEP_AFTER
        await store.append_revocations(revocations(1, until=NOW - 1), Millis(NOW))
        await store.append_revocations(revocations(1, until=2**53), Millis(NOW))
        assert valkey.ask("PTTL", f"{prefix}revocations") > 1000 * 24 * HOUR


async def test_log_is_small(own_valkey: Valkey) -> None:
    """A revocation takes 120 bytes of the server's memory."""
    async with using(RedisStore.from_url(own_valkey.url)) as store:
        for first in range(0, 20 * LOG_PAGE, LOG_PAGE):
            await store.append_revocations(revocations(LOG_PAGE, first=first), Millis(NOW))
        assert own_valkey.ask("MEMORY", "USAGE", LOG) / own_valkey.ask("XLEN", LOG) < 120


@pytest.mark.parametrize(("later", "left"), [(CLOCK_SKEW, [0, 1]), (CLOCK_SKEW + 1, [1])])
async def test_entries_of_a_release_before(own_valkey: Valkey, later: int, left: list[int]) -> None:
    """An entry without a life is kept until its end, and a little for clocks that differ."""
    write(own_valkey, 0, 0)
    script = APPEND.text.replace(b"'*'", b"'%d-*'" % (NOW + HOUR + later))
    own_valkey.ask("EVAL", script, 1, LOG, *append_arguments(revocations(1, first=1), Millis(NOW), 0))
    records = [fields[b"r"] for _, fields in own_valkey.ask("XRANGE", LOG, "-", "+")]
    assert [int(json.loads(record)[3]) for record in records] == left


@pytest.mark.parametrize(
    ("written", "lost", "later", "found"),
    [
        ([(0, 0), (1, 1)], ["DEL"], [], []),
        ([(0, 0), (1, 1)], ["DEL"], [(2, 7)], [7]),
        # The ids of a server whose clock is behind are smaller than those read.
        ([(0, 0), (5000, 1)], ["DEL"], [(0, 0), (1000, 2), (9000, 3)], [0, 2, 3]),
        ([(0, 0)], ["DEL"], [(-HOUR, 1), (120_000 - HOUR, 2)], [1, 2]),
        # Two servers may give one id to two entries.
        ([(0, 1)], ["DEL"], [(-1, 2), (0, 3)], [2, 3]),
        # A lost place costs a minute of the log.
        ([(30_000 * n, n) for n in range(10)], ["XDEL", f"{NOW + 270_000}-0"], [(270_001, 10)], [7, 8, 10]),
    ],
    ids=["flushed", "written anew", "a clock behind", "another past", "another entry of one id", "a lost entry"],
)
async def test_log_that_lost_its_place(
    own_valkey: Valkey,
    written: list[tuple[int, int]],
    lost: list[str],
    later: list[tuple[int, int]],
    found: list[int],
) -> None:
    """A log without the very entry that was read last does not go on, and no entry is passed over."""
    async with using(RedisStore.from_url(own_valkey.url)) as store:
        for entry in written:
            write(own_valkey, *entry)
        read, _, cursor = await values(store)
        assert read == [number for _, number in written]
        own_valkey.ask(lost[0], LOG, *lost[1:])
        for entry in later:
            write(own_valkey, *entry)
        assert (await values(store, cursor))[:2] == (found, False)


async def test_log_in_a_cluster(cluster: Cluster) -> None:
    """In a cluster the log is one key of one node, which is where it is read."""
    prefix = f"{uuid4().hex}:"
    async with using(RedisStore.from_url(f"{cluster.url}?prefix={prefix}&timeout={PATIENCE:g}")) as store:
        await store.append_revocations(revocations(3), Millis(NOW))
        assert (await values(store))[0] == [0, 1, 2]
    assert cluster.first_owner(f"{prefix}revocations".encode()).ask("XLEN", f"{prefix}revocations") == 3


async def test_append_and_read_are_one_round_trip_each(own_valkey: Valkey) -> None:
    """However many entries, an append is one command, and so is a page; the scripts are sent once."""
    async with using(RedisStore.from_url(own_valkey.url)) as store:
        for first in (0, LOG_PAGE, 2 * LOG_PAGE):
            await store.append_revocations(revocations(LOG_PAGE, first=first), Millis(NOW))
        cursor = None
        for _ in range(3):
            cursor = (await store.read_revocations(cursor)).cursor
        assert (own_valkey.calls("eval"), own_valkey.calls("evalsha")) == (2, 6)
        own_valkey.ask("SCRIPT", "FLUSH")
        assert (await store.read_revocations(cursor)).continues


async def test_connection_that_breaks_costs_neither(own_valkey: Valkey) -> None:
    """What breaks with the connection is asked again: an entry that is there twice says no more than once."""
    async with Front(own_valkey) as address, using(RedisStore.from_url(address.url)) as store:
        await store.append_revocations(revocations(1), Millis(NOW))
        for n in (1, 2):
            own_valkey.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await store.append_revocations(revocations(1, first=n), Millis(NOW))
            own_valkey.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert (await values(store))[0] == list(range(n + 1))


@pytest.mark.parametrize("record", [b"[2]", b"[1]", b"no JSON", b"{}", b"1"])
async def test_record_of_another_release(own_valkey: Valkey, record: bytes) -> None:
    """What can't be read is StoreUnavailable, which refuses tokens: nobody knows whose were revoked."""
    async with using(RedisStore.from_url(own_valkey.url)) as store:
        await store.append_revocations(revocations(1), Millis(NOW))
        own_valkey.ask("XADD", LOG, "*", "u", NOW + HOUR, "r", record)
        with pytest.raises(StoreUnavailable, match="revocation's record"):
            await store.read_revocations()


async def test_key_of_another_kind(own_valkey: Valkey) -> None:
    """A key of that name which is no stream is StoreUnavailable, without a word of what it holds."""
    async with using(RedisStore.from_url(own_valkey.url)) as store:
        own_valkey.ask("SET", LOG, "secret")
        for call in (store.read_revocations(), store.append_revocations(revocations(1), Millis(NOW))):
            with pytest.raises(StoreUnavailable, match=r"^ResponseError \(WRONGTYPE\): .* a prefix of its own$"):
                await call
