"""What the Redis store keeps, for how long, in how many bytes; and that a swap is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import redis
import trio
from support.stores import DAY, HOUR, KEY, NOW, a_session, advance, stored, using, write
from support.valkey import Valkey
from support.waiting import PATIENCE

from asgi_jwt.errors import ConfigurationError, StoreUnavailable
from asgi_jwt.sessions.rotation import end_session
from asgi_jwt.stores.base import SWEEP_AFTER, Outcome
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Client, Revocation, Session, SessionKey
from asgi_jwt.stores.redis import RedisStore

pytestmark = pytest.mark.anyio

ENTRY = Revocation("sid", "https://issuer.example", "s1", Millis(NOW + HOUR), Millis(NOW))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Kept:
    """A store with a prefix of its own on the shared server, and a look behind it."""

    def __init__(self, server: Valkey) -> None:
        self.server = server
        self.prefix = f"{uuid4().hex}:"
        self.url = f"{server.url}?prefix={self.prefix}&timeout={PATIENCE:g}"
        self.store = RedisStore.from_url(self.url)

    def ask(self, *command: str | bytes | int) -> Any:
        return self.server.ask(*command)

    def all_keys(self) -> list[bytes]:
        """All keys, a subject's index before its records."""
        return sorted(self.ask("KEYS", f"{self.prefix}*"))

    async def write(self, session: Session) -> None:
        await write(self.store, session)

    async def record(self) -> bytes:
        """The key of a session that was just written."""
        await self.write(a_session())
        return self.all_keys()[-1]


@pytest.fixture
async def kept(valkey: Valkey) -> AsyncIterator[Kept]:
    kept = Kept(valkey)
    async with using(kept.store):
        yield kept


async def test_subject_is_not_told_and_shares_a_slot(kept: Kept) -> None:
    """No key shows its subject, and all keys of a subject are in one slot of a cluster."""
    for sid in ("s1", "s2", "{x}"):
        await kept.write(a_session(sid))
    keys = kept.all_keys()
    assert len(keys) == 4
    assert not any(b"alice" in key for key in keys)
    tags = {key[key.index(b"{") : key.index(b"}") + 1] for key in keys}
    assert len(tags) == 1
    assert len(tags.pop()) == 24


async def test_records_expire_by_themselves(kept: Kept) -> None:
    """A record is kept as long as its session may live, and a little for clocks that differ, by the server's own clock:
    a tombstone until its absolute end."""
    record = await kept.record()
    assert DAY < kept.ask("PTTL", record) <= DAY + SWEEP_AFTER
    await kept.store.update(KEY, lambda stored: (stored and end_session(stored, Millis(NOW)), None))
    assert 30 * DAY < kept.ask("PTTL", record) <= 30 * DAY + SWEEP_AFTER


async def test_index_lives_as_long_as_its_longest_session(kept: Kept) -> None:
    """A short session never shortens the index of a long one."""
    for sid, life in (("short", HOUR), ("long", DAY), ("shorter", HOUR // 2)):
        await kept.write(a_session(sid, life=life))
    assert DAY < kept.ask("PTTL", kept.all_keys()[0]) <= DAY + SWEEP_AFTER


async def test_index_forgets_what_has_ended(kept: Kept) -> None:
    """Logins for ever leave an index no longer than the sessions that may live: the expired are pruned from it."""
    for n in range(50):
        await kept.write(a_session(f"s{n}", now=NOW + n * HOUR, life=HOUR))
    index = kept.all_keys()[0]
    assert kept.ask("ZCARD", index) <= 3


async def test_end_of_a_session_that_is_not_there(kept: Kept) -> None:
    """A session that a change ends before it was ever stored gets its entry and its tombstone."""
    entry = Revocation("sid", "https://issuer.example", KEY.sid, Millis(NOW + HOUR), NOW)
    await kept.store.update(KEY, lambda _: (end_session(a_session(), NOW), None, [entry]))
    assert (await stored(kept.store)).ended_at == NOW
    assert list((await kept.store.read_revocations()).revocations) == [entry]


async def test_index_leaves_out_the_ended(kept: Kept) -> None:
    """A tombstone is in no list, nor is what was deleted; an index of nothing is no key at all."""
    for sid in ("ended", "deleted"):
        await kept.write(a_session(sid))
    ended, deleted = a_session("ended"), a_session("deleted")
    await kept.store.update(deleted.key, lambda _: (None, None))
    assert kept.ask("ZRANGE", kept.all_keys()[0], 0, -1) == [b"ended"]
    await kept.store.update(ended.key, lambda stored: (stored and end_session(stored, Millis(NOW)), None))
    assert [key[-5:] for key in kept.all_keys()] == [b"ended"]


async def test_list_has_no_ghosts(kept: Kept) -> None:
    """A session whose record the server has dropped is not listed, and takes no other down with it."""
    for sid in ("there", "gone"):
        await kept.write(a_session(sid))
    (gone,) = (key for key in kept.all_keys() if key.endswith(b":gone"))
    kept.ask("DEL", gone)
    assert [session.sid for session in await kept.store.list("alice", Millis(NOW))] == ["there"]


@pytest.mark.parametrize(("count", "pages"), [(20, 1), (100, 1), (101, 2), (1000, 10)])
async def test_list_is_read_by_the_page(kept: Kept, count: int, pages: int) -> None:
    """One command gives a subject's sessions, and one more each hundred of them: an event loop goes on in between."""
    await asyncio.gather(*(kept.write(a_session(f"s{n:04}")) for n in range(count)))
    before = [kept.server.calls(command) for command in ("zrange", "mget", "get")]
    assert [session.sid for session in await kept.store.list("alice", Millis(NOW))] == [
        f"s{n:04}" for n in range(count)
    ]
    after = [kept.server.calls(command) for command in ("zrange", "mget", "get")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, pages, 0]


async def test_session_is_small(kept: Kept) -> None:
    """With 100 bytes of claims and a user agent of 120, a session takes at most 800 bytes, however often it rotated."""
    full = replace(
        a_session(uuid4().hex, subject="auth0|" + uuid4().hex),
        client_id="web-app",
        claims={"email": "a" * 88},
        scopes=("openid", "orders:read", "orders:write"),
        roles=("admin",),
        client=Client("u" * 120, "2001:db8:0000:0000:0000:0000:0000:0001"),
    )

    def rotate(stored: Session | None) -> tuple[Session, None]:
        assert stored is not None
        generation = stored.generation + 1
        return replace(stored, generation=generation, rotated_branch="0123456789abcdef", window_at=Millis(NOW)), None

    await kept.write(full)
    sizes = []
    for generation in (0, 1_000_000):
        await kept.write(replace(full, generation=generation))
        await kept.store.update(full.key, rotate)
        sizes.append(sum(kept.ask("MEMORY", "USAGE", key, "SAMPLES", 0) for key in kept.all_keys()))
    assert max(sizes) <= 800


@pytest.mark.parametrize("ends", [False, True])
async def test_swap_needs_the_very_record_that_was_read(kept: Kept, ends: bool) -> None:
    """A record of the same version with another content, as a failover may leave it, is a conflict like any other: the
    change is decided anew, and the entry of an end is there once."""
    record, handed = await kept.record(), []

    def change(stored: Session | None) -> Outcome[int]:
        assert stored is not None
        handed.append(stored.client.address)
        if len(handed) == 1:
            kept.ask("SET", record, kept.ask("GET", record).replace(b"null,null]", b'null,"elsewhere"]'))
        return (
            (end_session(stored, Millis(NOW)), stored.version, [ENTRY])
            if ends
            else (replace(stored, generation=7), stored.version)
        )

    assert await kept.store.update(KEY, change) == 1
    assert handed == [None, "elsewhere"]
    found = await stored(kept.store)
    assert (found.ended_at, found.ending_at, found.client.address) == (NOW if ends else None, None, "elsewhere")
    assert list((await kept.store.read_revocations()).revocations) == [ENTRY] * ends


async def test_end_is_marked_before_its_entry(kept: Kept) -> None:
    """Where the entry can't be written, the session is marked: no token refreshes it, and the next caller ends it."""
    await kept.write(a_session())

    def change(stored: Session | None) -> Outcome[None]:
        assert stored is not None
        return end_session(stored, Millis(NOW)), None, [ENTRY]

    kept.ask("SET", f"{kept.prefix}revocations", "no log")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await kept.store.update(KEY, change)
    marked = await stored(kept.store)
    assert (marked.ending_at, marked.ended_at) == (NOW, None)
    kept.ask("DEL", f"{kept.prefix}revocations")
    await kept.store.update(KEY, change)
    assert list((await kept.store.read_revocations()).revocations) == [ENTRY]


async def test_conflicts_are_bounded(kept: Kept) -> None:
    """Who loses every round reads anew before each but the first few, gives up after 50, and has written nothing."""
    record, rounds = await kept.record(), 0
    before = kept.server.calls("get")

    with redis.Redis(port=kept.server.port) as rival:

        def change(stored: Session | None) -> tuple[Session, None]:
            nonlocal rounds
            rounds += 1
            assert stored is not None
            found = rival.get(record)
            assert isinstance(found, bytes)
            rival.set(record, found[:-1] + b" ]")
            return replace(stored, generation=7), None

        with pytest.raises(StoreUnavailable, match="50 conflicts"):
            await kept.store.update(KEY, change)

    assert rounds == 50
    # The rival's and the script's, one for each round; then the store's own.
    assert kept.server.calls("get") - before == 50 + 50 + 1 + 45
    last = await stored(kept.store)
    assert (last.generation, last.version) == (0, 1)


async def test_callers_of_one_process_do_not_conflict(kept: Kept) -> None:
    """Fifty changes of one session at once run fifty times, not once for each rival."""
    await kept.write(a_session())
    runs = 0

    def change(stored: Session | None) -> tuple[Session | None, int]:
        nonlocal runs
        runs += 1
        return advance(stored)

    await asyncio.gather(*(kept.store.update(KEY, change) for _ in range(50)))
    assert runs == 50


def test_store_outlives_its_loops(valkey: Valkey) -> None:
    """One store serves one event loop after the other, and leaves no connection open behind a loop that ended."""
    store = RedisStore.from_url(f"{valkey.url}?prefix={uuid4().hex}:&timeout={PATIENCE:g}")

    async def use(times: int, close: bool = False) -> int:
        await asyncio.gather(*(store.get(SessionKey("alice", str(n))) for n in range(times)))
        generation = await store.update(KEY, advance)
        if close:
            await store.aclose()
        return generation

    before = valkey.clients()
    assert [asyncio.run(use(times)) for times in (20, 0, 0)] == [1, 2, 3]
    valkey.wait_until_left(before)
    assert asyncio.run(use(0, close=True)) == 4
    valkey.wait_until_left(before)


def test_trio_is_told_what_to_do(valkey: Valkey) -> None:
    """Under trio the store says that it needs asyncio, and closes in peace."""
    store = RedisStore.from_url(f"{valkey.url}?timeout={PATIENCE:g}")

    async def use() -> None:
        for call in (store.get(KEY), store.update(KEY, lambda stored: (stored, None))):
            with pytest.raises(ConfigurationError, match="asyncio"):
                await call
        await store.aclose()

    trio.run(use)


async def test_unknown_record_is_not_written_over(kept: Kept) -> None:
    """A record of a later release is unavailable to get, list and update, and stays as it is."""
    record, later = await kept.record(), b"[2]"
    kept.ask("SET", record, later)
    for call in (kept.store.get(KEY), kept.store.list("alice", Millis(NOW)), kept.store.update(KEY, advance)):
        with pytest.raises(StoreUnavailable, match="format"):
            await call
    assert kept.ask("GET", record) == later
