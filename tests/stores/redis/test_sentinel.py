"""Commands go to the master that the Sentinels name, and to none that a failover left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from support.stores import HOUR, KEY, NOW, a_session, advance, using, write
from support.valkey import Front, Valkey, Watched, client_of, poll

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.sessions.rotation import end_session
from asgi_jwt.stores.base import Outcome
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Revocation, Session
from asgi_jwt.stores.redis import RedisStore, sentinel

ENTRY = Revocation("sid", "https://issuer.example", "s2", Millis(NOW + HOUR), Millis(NOW))

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def by_url(watched: Watched) -> AsyncIterator[RedisStore]:
    async with using(RedisStore.from_url(watched.url)) as store:
        yield store


@asynccontextmanager
async def by_client(watched: Watched) -> AsyncIterator[RedisStore]:
    async with client_of(watched) as client, using(RedisStore(client)) as store:
        yield store


def have_named(watched: Watched, master: Valkey) -> None:
    """Have the Sentinel name this server the master, with no failover: the other one stays a master, too."""
    watched.sentinel.ask("SENTINEL", "REMOVE", "sessions")
    watched.sentinel.ask("SENTINEL", "MONITOR", "sessions", "127.0.0.1", master.port, 1)


def named(watched: Watched) -> int:
    """The port of the master that the Sentinel names."""
    return int(watched.sentinel.ask("SENTINEL GET-MASTER-ADDR-BY-NAME", "sessions")[1])


async def at_last(store: RedisStore) -> int:
    """The result of an update, tried until the Sentinels have come to the end of the failover."""
    with anyio.fail_after(30):
        while True:
            try:
                return await store.update(KEY, advance)
            except StoreUnavailable:
                await anyio.sleep(0.02)


@pytest.mark.parametrize("opened", [by_url, by_client])
async def test_old_master_that_wakes_is_left(
    watched: Watched, opened: Callable[[Watched], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A master that slept through its failover wakes as master, with live connections: nothing is written to it."""
    monkeypatch.setattr(sentinel, "ANSWER_WAIT", 20)
    async with opened(watched) as store:
        assert await store.update(KEY, advance) == 1
        before = watched.master.scripts()
        watched.master.ask("WAIT", 1, 2000)
        watched.master.pause()
        await to_thread.run_sync(poll, lambda: named(watched) == watched.replica.port)
        watched.master.resume()
        assert await at_last(store) == 2
        assert watched.replica.scripts() > 0
        assert watched.master.scripts() == before


@pytest.mark.parametrize("opened", [by_url, by_client])
async def test_old_master_neither_lacks_a_session_nor_takes_a_logout(
    watched: Watched, other_valkey: Valkey, opened: Callable[[Watched], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a session is unknown, and before an entry is in the log, the Sentinels confirm the master."""
    monkeypatch.setattr(sentinel, "ASK_INTERVAL", 3600)
    monkeypatch.setattr(sentinel, "ANSWER_WAIT", 20)
    async with opened(watched) as store, using(RedisStore.from_url(other_valkey.url)) as at_new_master:
        assert await store.update(KEY, advance) == 1
        await store.append_revocations([ENTRY], NOW)
        await write(at_new_master, a_session("s2"))
        have_named(watched, other_valkey)
        await store.append_revocations([ENTRY], NOW)
        assert list((await at_new_master.read_revocations()).revocations) == [ENTRY]
        have_named(watched, watched.master)
        assert await store.get(KEY) is not None
        have_named(watched, other_valkey)
        assert await store.get(a_session("s2").key) is not None
        have_named(watched, watched.master)
        assert [session.sid for session in await store.list(KEY.subject, NOW)] == [KEY.sid]


@pytest.mark.parametrize("opened", [by_url, by_client])
async def test_old_master_ends_no_session(
    watched: Watched, other_valkey: Valkey, opened: Callable[[Watched], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reuse that only an old master sees, for it has other rotations, leaves the session and the log as they are."""
    monkeypatch.setattr(sentinel, "ASK_INTERVAL", 3600)
    monkeypatch.setattr(sentinel, "ANSWER_WAIT", 20)

    def decide(session: Session | None) -> Outcome[str]:
        assert session is not None
        return (end_session(session, NOW), "REUSED", [ENTRY]) if session.generation == 2 else (session, "SAME")

    async with opened(watched) as store, using(RedisStore.from_url(other_valkey.url)) as at_new_master:
        await write(store, a_session().changed(generation=2))
        await store.read_revocations()
        await write(at_new_master, a_session().changed(generation=1))
        have_named(watched, other_valkey)
        assert await store.update(KEY, decide) == "SAME"
        assert list((await at_new_master.read_revocations()).revocations) == []


async def test_question_asked_before_an_answer_does_not_confirm_it(
    watched: Watched, other_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Sentinel's answer that was on its way while the master changed makes no session unknown."""
    monkeypatch.setattr(sentinel, "ASK_INTERVAL", 0)
    monkeypatch.setattr(sentinel, "CONFIRM_WAIT", 20)
    async with (
        Front(watched.sentinel) as front,
        using(RedisStore.from_url(f"redis+sentinel://127.0.0.1:{front.port}/sessions/0")) as store,
        using(RedisStore.from_url(other_valkey.url)) as at_new_master,
    ):
        assert await store.update(KEY, advance) == 1
        await write(at_new_master, a_session("s2"))
        front.passing.clear()
        assert await store.get(KEY) is not None  # it asks, and does not wait for the answer for long
        with anyio.fail_after(30):
            await front.held.wait()
        have_named(watched, other_valkey)
        found = asyncio.create_task(store.get(a_session("s2").key))
        read = watched.master.calls("get")
        await to_thread.run_sync(poll, lambda: watched.master.calls("get") > read)
        front.passing.set()
        assert await found is not None


async def test_most_of_the_sentinels_name_the_master(
    watched: Watched, other_valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that most Sentinels name counts, without those that are dead. Of two answers none counts."""
    monkeypatch.setattr(sentinel, "ASK_INTERVAL", 0)
    first, second = (watched.a_sentinel(tmp_path / name, 600_000) for name in ("first", "second"))
    have_named(watched, other_valkey)
    hosts = ",".join(each.address for each in (watched.sentinel, first, second))
    async with using(RedisStore.from_url(f"redis+sentinel://{hosts}/sessions/0")) as store:
        assert await store.update(KEY, advance) == 1
        assert other_valkey.scripts() == 0
        watched.sentinel.pause()
        assert await store.get(a_session("s2").key) is None
        first.stop()
        watched.sentinel.resume()
        with pytest.raises(StoreUnavailable, match="no Sentinel confirms the master"):
            await store.get(a_session("s2").key)
        have_named(watched, watched.master)
        monkeypatch.setattr(sentinel, "ANSWER_WAIT", 20)
        assert await store.get(a_session("s2").key) is None


@pytest.mark.parametrize("opened", [by_url, by_client])
async def test_failover_under_way(tmp_path: Path, opened: Callable[[Watched], Any]) -> None:
    """As soon as the Sentinels name the promoted server, commands go there, though they list the old master still."""
    watched = Watched(tmp_path)
    try:
        options = "--replicaof", "127.0.0.1", str(watched.master.port), "--replica-priority", "0"
        slow = watched.add(Valkey(tmp_path / "slow", *options))
        sentinel = watched.sentinel
        await to_thread.run_sync(poll, lambda: len(sentinel.ask("SENTINEL REPLICAS", "sessions")) == 2)
        for option in ("down-after-milliseconds", "failover-timeout"):
            sentinel.ask("SENTINEL", "SET", "sessions", option, 600_000)
        async with opened(watched) as store:
            await write(store, a_session("s2"))
            slow.pause()  # the failover goes on until this replica follows the promoted one
            await to_thread.run_sync(watched.switch)
            await to_thread.run_sync(poll, lambda: watched.replica.ask("ROLE")[0] == b"master")
            await to_thread.run_sync(poll, lambda: named(watched) == watched.replica.port)
            assert str(watched.master.port).encode() in sentinel.ask("SENTINEL", "MASTER", "sessions")
            assert await at_last(store) == 1
            assert watched.replica.ask("GET", store._record_key(KEY)) is not None
            watched.replica.ask("DEL", store._record_key(KEY))
            assert await store.get(KEY) is None
    finally:
        watched.stop()


@pytest.mark.parametrize("outage", ["stop", "pause"])
async def test_master_serves_on_without_its_sentinel(
    watched: Watched, outage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While no Sentinel answers, the master that was named last serves on, but makes no session unknown."""
    async with by_url(watched) as store:
        assert await store.update(KEY, advance) == 1
        getattr(watched.sentinel, outage)()
        for n in (2, 3):
            await anyio.sleep(sentinel.ASK_INTERVAL)  # so that the Sentinel is asked again
            assert await store.update(KEY, advance) == n
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="no Sentinel confirms the master"):
                await store.get(a_session("s2").key)
            monkeypatch.delattr(sentinel, "CONFIRM_WAIT", raising=False)  # no second answer waits for the Sentinel


async def test_master_without_replicas_is_left(own_valkey: Valkey, other_valkey: Valkey) -> None:
    """A master that may not write, as too few replicas follow it, says so once: the next command is for another."""
    async with Front(own_valkey) as address, using(RedisStore.from_url(address.url)) as store:
        assert await store.update(KEY, advance) == 1
        own_valkey.ask("CONFIG", "SET", "min-replicas-to-write", 1)
        address.server = other_valkey
        with pytest.raises(StoreUnavailable, match=r"NOREPLICAS\): the master lacks replicas"):
            await store.update(KEY, advance)
        assert await store.update(KEY, advance) == 1
