"""What the Redis store keeps, for how long, in how many bytes; and that a swap is never lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import redis
import trio
from support.valkey import Valkey
from support.waiting import PATIENCE

from asgi_jwt.errors import ConfigurationError, StoreUnavailable
from asgi_jwt.sessions.rotation import end_session, open_session
from asgi_jwt.stores.base import SWEEP_AFTER, Change, Outcome
from asgi_jwt.stores.records import Client, Revocation, Session, SessionKey
from asgi_jwt.stores.redis import RedisStore

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000_000
HOUR = 3_600_000
DAY = 24 * HOUR


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
        await self.store.update(session.key, lambda _: (session, None))


@pytest.fixture
async def kept(valkey: Valkey) -> AsyncIterator[Kept]:
    kept = Kept(valkey)
    yield kept
    await kept.store.aclose()


def a_session(sid: str = "s1", *, now: int = NOW, life: int = DAY, subject: str = "alice") -> Session:
    return open_session(subject, sid, now=now, refresh_ttl=life, session_ttl=30 * DAY)


def advance(stored: Session | None) -> tuple[Session | None, int]:
    assert stored is not None
    return replace(stored, generation=stored.generation + 1), stored.generation + 1


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
    session = a_session()
    await kept.write(session)
    _, record = kept.all_keys()
    assert DAY < kept.ask("PTTL", record) <= DAY + SWEEP_AFTER
    await kept.store.update(session.key, lambda stored: (stored and end_session(stored, NOW), None))
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


async def test_index_leaves_out_the_ended(kept: Kept) -> None:
    """A tombstone is in no list, nor is what was deleted; an index of nothing is no key at all."""
    for sid in ("ended", "deleted"):
        await kept.write(a_session(sid))
    ended, deleted = a_session("ended"), a_session("deleted")
    await kept.store.update(deleted.key, lambda _: (None, None))
    assert kept.ask("ZRANGE", kept.all_keys()[0], 0, -1) == [b"ended"]
    await kept.store.update(ended.key, lambda stored: (stored and end_session(stored, NOW), None))
    assert [key[-5:] for key in kept.all_keys()] == [b"ended"]


async def test_list_has_no_ghosts(kept: Kept) -> None:
    """A session whose record the server has dropped is not listed, and takes no other down with it."""
    for sid in ("there", "gone"):
        await kept.write(a_session(sid))
    (gone,) = (key for key in kept.all_keys() if key.endswith(b":gone"))
    kept.ask("DEL", gone)
    assert [session.sid for session in await kept.store.list("alice", NOW)] == ["there"]


@pytest.mark.parametrize(("count", "pages"), [(20, 1), (100, 1), (101, 2), (1000, 10)])
async def test_list_is_read_by_the_page(kept: Kept, count: int, pages: int) -> None:
    """One command gives a subject's sessions, and one more each hundred of them: an event loop goes on in between."""
    await asyncio.gather(*(kept.write(a_session(f"s{n:04}")) for n in range(count)))
    before = [kept.server.calls(command) for command in ("zrange", "mget", "get")]
    assert [session.sid for session in await kept.store.list("alice", NOW)] == [f"s{n:04}" for n in range(count)]
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
        return replace(stored, generation=generation, rotated_branch="0123456789abcdef", window_at=NOW), None

    await kept.write(full)
    sizes = []
    for generation in (0, 1_000_000):
        await kept.write(replace(full, generation=generation))
        await kept.store.update(full.key, rotate)
        sizes.append(sum(kept.ask("MEMORY", "USAGE", key, "SAMPLES", 0) for key in kept.all_keys()))
    assert max(sizes) <= 800


async def test_swap_needs_the_very_record_that_was_read(kept: Kept) -> None:
    """A record of the same version with another content, as a failover may leave it, is a conflict like any other."""
    session = a_session()
    await kept.write(session)
    _, record = kept.all_keys()
    handed = []

    def change(stored: Session | None) -> tuple[Session | None, int]:
        assert stored is not None
        handed.append(stored.client.address)
        if len(handed) == 1:
            other = kept.ask("GET", record).replace(b"null,null]", b'null,"elsewhere"]')
            kept.ask("SET", record, other)
        return replace(stored, generation=7), stored.version

    assert await kept.store.update(session.key, change) == 1
    assert handed == [None, "elsewhere"]


async def test_end_that_meets_a_refresh(kept: Kept) -> None:
    """An end whose mark meets a newer record is decided anew, and its entry is there once."""
    session = a_session()
    await kept.write(session)
    _, record = kept.all_keys()
    entry = Revocation("sid", "https://issuer.example", "s1", NOW + HOUR, NOW)
    handed = []

    def change(stored: Session | None) -> Outcome[int]:
        assert stored is not None
        handed.append(stored.client.address)
        if len(handed) == 1:
            kept.ask("SET", record, kept.ask("GET", record).replace(b"null,null]", b'null,"elsewhere"]'))
        return end_session(stored, NOW), stored.version, [entry]

    assert await kept.store.update(session.key, change) == 1
    assert handed == [None, "elsewhere"]
    ended = await kept.store.get(session.key)
    assert ended is not None
    assert (ended.ended_at, ended.ending_at, ended.client.address) == (NOW, None, "elsewhere")
    assert list((await kept.store.read_revocations()).revocations) == [entry]


async def test_end_is_marked_before_its_entry(kept: Kept) -> None:
    """Where the entry can't be written, the session is marked: no token refreshes it, and the next caller ends it."""
    session = a_session()
    await kept.write(session)
    entry = Revocation("sid", "https://issuer.example", "s1", NOW + HOUR, NOW)

    def change(stored: Session | None) -> Outcome[None]:
        assert stored is not None
        return end_session(stored, NOW), None, [entry]

    kept.ask("SET", f"{kept.prefix}revocations", "no log")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await kept.store.update(session.key, change)
    marked = await kept.store.get(session.key)
    assert marked is not None
    assert (marked.ending_at, marked.ended_at) == (NOW, None)
    kept.ask("DEL", f"{kept.prefix}revocations")
    await kept.store.update(session.key, change)
    assert list((await kept.store.read_revocations()).revocations) == [entry]


async def test_conflicts_are_bounded(kept: Kept) -> None:
    """Who loses every round reads anew before each but the first few, gives up after 50, and has written nothing."""
    session = a_session()
    await kept.write(session)
    _, record = kept.all_keys()
    rounds = 0
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
            await kept.store.update(session.key, change)

    assert rounds == 50
    # The rival's and the script's, one for each round; then the store's own.
    assert kept.server.calls("get") - before == 50 + 50 + 1 + 45
    last = await kept.store.get(session.key)
    assert last is not None
    assert (last.generation, last.version) == (0, 1)


async def test_callers_of_one_process_do_not_conflict(kept: Kept) -> None:
    """Fifty changes of one session at once run fifty times, not once for each rival."""
    session = a_session()
    await kept.write(session)
    runs = 0

    def change(stored: Session | None) -> tuple[Session | None, int]:
        nonlocal runs
        runs += 1
        return advance(stored)

    await asyncio.gather(*(kept.store.update(session.key, change) for _ in range(50)))
    assert runs == 50


RACER = """
import asyncio, sys
from dataclasses import replace
from asgi_jwt.stores.records import SessionKey
from asgi_jwt.stores.redis import RedisStore

async def main():
    store = RedisStore.from_url(sys.argv[1])
    results = []
    await store.get(SessionKey("alice", "s1"))
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(50):
        change = lambda stored: (replace(stored, generation=stored.generation + 1), stored.generation + 1)
        results.append(await store.update(SessionKey("alice", "s1"), change))
    print(*results, flush=True)

asyncio.run(main())
"""


class Racer:
    """A process that stands ready, and at a word makes 50 changes."""

    def __init__(self, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RACER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def results(self) -> list[int]:
        return [int(result) for result in self.process.communicate(timeout=PATIENCE)[0].split()]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)


async def test_processes_lose_no_change(kept: Kept) -> None:
    """Four processes that race 50 changes each over one session make 200 writes, and each has a result of its own."""
    session = a_session()
    await kept.write(session)
    racers = [Racer(kept.url) for _ in range(4)]
    try:
        for racer in racers:
            racer.wait_until_ready()
        for racer in racers:
            racer.go()
        results = [result for racer in racers for result in racer.results()]
    finally:
        for racer in racers:
            racer.stop()
    assert sorted(results) == list(range(1, 201))
    last = await kept.store.get(session.key)
    assert last is not None
    assert (last.generation, last.version) == (200, 201)


def test_store_outlives_its_loops(valkey: Valkey) -> None:
    """One store serves one event loop after the other, and leaves no connection open behind a loop that ended."""
    url = f"{valkey.url}?prefix={uuid4().hex}:&timeout={PATIENCE:g}"
    store = RedisStore.from_url(url)
    session = a_session()
    change: Change[int] = advance

    async def use() -> int:
        return await store.update(session.key, change)

    async def create() -> None:
        await asyncio.gather(*(store.get(SessionKey("alice", str(n))) for n in range(20)))
        await store.update(session.key, lambda _: (session, None))

    before = valkey.clients()
    asyncio.run(create())
    assert [asyncio.run(use()) for _ in range(3)] == [1, 2, 3]
    valkey.wait_until_left(before)

    async def close() -> None:
        assert await use() == 4
        await store.aclose()

    asyncio.run(close())
    valkey.wait_until_left(before)


def test_trio_is_told_what_to_do(valkey: Valkey) -> None:
    """Under trio the store says that it needs asyncio, and closes in peace."""
    store = RedisStore.from_url(f"{valkey.url}?timeout={PATIENCE:g}")

    async def use() -> None:
        with pytest.raises(ConfigurationError, match="asyncio"):
            await store.get(SessionKey("alice", "s1"))
        with pytest.raises(ConfigurationError, match="asyncio"):
            await store.update(SessionKey("alice", "s1"), lambda stored: (stored, None))
        await store.aclose()

    trio.run(use)


async def test_changes_own_timeout_is_the_callers(kept: Kept) -> None:
    """A TimeoutError that a change raises is passed on as it is, not taken for the server's."""

    def change(_: Session | None) -> tuple[Session | None, None]:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await kept.store.update(SessionKey("alice", "s1"), change)


async def test_unknown_record_is_not_written_over(kept: Kept) -> None:
    """A record of a later release is unavailable to get, list and update, and stays as it is."""
    session = a_session()
    await kept.write(session)
    _, record = kept.all_keys()
    later = b"[2]"
    kept.ask("SET", record, later)
    for call in (kept.store.get(session.key), kept.store.list("alice", NOW), kept.store.update(session.key, advance)):
        with pytest.raises(StoreUnavailable, match="format"):
            await call
    assert kept.ask("GET", record) == later
