"""Commands go to the master that the Sentinels name, and to none that a failover left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any

import anyio
import pytest
from anyio import to_thread
from redis.asyncio import Redis
from support.valkey import Front, Valkey, Watched, poll

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.sessions.rotation import open_session
from asgi_jwt.stores.records import Session, SessionKey
from asgi_jwt.stores.redis import RedisStore, sentinel

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000_000
DAY = 86_400_000
KEY = SessionKey("alice", "s1")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def advance(stored: Session | None) -> tuple[Session | None, int]:
    session = stored or open_session(*KEY, now=NOW, refresh_ttl=DAY, session_ttl=DAY)
    return replace(session, generation=session.generation + 1), session.generation + 1


def scripts(server: Valkey) -> int:
    return server.calls("eval") + server.calls("evalsha")


@asynccontextmanager
async def by_url(watched: Watched) -> AsyncIterator[RedisStore]:
    store = RedisStore.from_url(watched.url)
    yield store
    await store.aclose()


@asynccontextmanager
async def by_client(watched: Watched) -> AsyncIterator[RedisStore]:
    made: Any = import_module("redis.asyncio.sentinel").Sentinel([("127.0.0.1", watched.sentinel.port)])
    async with made, made.master_for("sessions") as client:
        store = RedisStore(client)
        yield store
        await store.aclose()


async def at_last(store: RedisStore) -> int:
    """The result of an update, tried until the Sentinels have come to the end of the failover."""
    with anyio.fail_after(30):
        while True:
            try:
                return await store.update(KEY, advance)
            except StoreUnavailable:
                await anyio.sleep(0.02)


async def fail_over_and_wake_the_old_master(watched: Watched) -> None:
    watched.master.ask("WAIT", 1, 2000)
    watched.master.pause()
    port = str(watched.replica.port).encode()
    command = "SENTINEL GET-MASTER-ADDR-BY-NAME", "sessions"
    await to_thread.run_sync(poll, lambda: watched.sentinel.ask(*command)[1] in (port, int(port)))
    watched.master.resume()


@pytest.mark.parametrize("opened", [by_url, by_client])
async def test_old_master_that_wakes_is_left(
    watched: Watched, opened: Callable[[Watched], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A master that slept through its failover wakes as master, with live connections: nothing is written to it."""
    monkeypatch.setattr(sentinel, "PATIENCE", 20)
    async with opened(watched) as store:
        assert await store.update(KEY, advance) == 1
        before = scripts(watched.master)
        await fail_over_and_wake_the_old_master(watched)
        assert await at_last(store) == 2
        assert scripts(watched.replica) > 0
        assert scripts(watched.master) == before


@pytest.mark.parametrize("outage", ["stop", "pause"])
async def test_master_serves_on_without_its_sentinel(watched: Watched, outage: str) -> None:
    """While no Sentinel answers, commands go to the master that was named last."""
    async with by_url(watched) as store:
        assert await store.update(KEY, advance) == 1
        getattr(watched.sentinel, outage)()
        for n in (2, 3):
            await anyio.sleep(sentinel.ASK_EVERY)  # so that the Sentinel is asked again
            assert await store.update(KEY, advance) == n


async def test_master_without_replicas_is_left(own_valkey: Valkey, valkey: Valkey) -> None:
    """A master that may not write, as too few replicas follow it, says so once: the next command is for another."""
    async with Front(own_valkey) as address, Redis(port=address.port) as client:
        store = RedisStore(client, prefix="without-replicas:")
        assert await store.update(KEY, advance) == 1
        own_valkey.ask("CONFIG", "SET", "min-replicas-to-write", 1)
        address.server = valkey
        with pytest.raises(StoreUnavailable, match=r"NOREPLICAS\): the master lacks replicas"):
            await store.update(KEY, advance)
        assert await store.update(KEY, advance) == 1
        await store.aclose()
