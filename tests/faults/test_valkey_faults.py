"""AuthApp on a Valkey that fails: 503 while it lasts, the cookie kept, and then as if nothing had been."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from anyio import to_thread
from faults.serving_process import InterruptedStore, Interruption
from support.logins import (
    HOUR,
    NOW,
    Browser,
    an_auth,
    assert_logged_in,
    assert_over,
    assert_unavailable,
    logged_in,
    session_of,
)
from support.valkey import Cluster, Front, Valkey, Watched, poll
from support.waiting import PATIENCE

from asgi_jwt import Auth
from asgi_jwt.stores.redis import RedisStore
from asgi_jwt.stores.urls import open_store
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def auth_on(url: str, interruption: Interruption | None = None) -> AsyncIterator[Auth]:
    """An `Auth` on the server, which is waited for in no test for long."""
    store = open_store(f"{url}?timeout=1")
    try:
        yield an_auth(InterruptedStore(store, interruption) if interruption else store, Clock(NOW))
    finally:
        await store.aclose()


def turn(auth: Auth, seconds: float) -> None:
    assert isinstance(auth.clock, Clock)
    auth.clock.turn(seconds)


async def assert_all_unavailable(browser: Browser) -> None:
    """Whatever needs the store answers that it can't now."""
    calls = [browser.post(route) for route in ("/refresh", "/logout", "/logout-all")]
    for answer in await asyncio.gather(*calls, browser.login()):
        assert_unavailable(answer)


async def refreshes_at_last(browser: Browser) -> int:
    """Refreshes until that works, as a browser would; how often it was told to try again."""
    async with asyncio.timeout(PATIENCE):
        refused = 0
        while (answer := await browser.refresh()).status_code != 200:
            assert_unavailable(answer)
            refused += 1
            await asyncio.sleep(0.02)
        return refused


async def test_stopped(valkey: Valkey) -> None:
    """While the server is down all is 503; back but empty, it gives a clean 401, and people log in again."""
    async with auth_on(valkey.url) as auth, logged_in(auth) as alice:
        valkey.stop()
        await assert_all_unavailable(alice)
        valkey.start()
        assert_over(await alice.refresh())
        assert alice.cookie is None
        assert (await alice.login()).status_code == 200
        await assert_logged_in(auth, alice)


async def test_rolled_back(valkey: Valkey) -> None:
    """A server that comes back with what it had two rotations ago takes up the session where the user is."""
    async with auth_on(valkey.url) as auth, logged_in(auth) as alice:
        valkey.ask("SAVE")
        for _ in range(2):
            turn(auth, HOUR)
            assert (await alice.refresh()).status_code == 200
        valkey.stop()
        valkey.start()
        stored = await session_of(auth, alice.cookie)
        assert stored is not None
        assert stored.generation == 0
        await assert_logged_in(auth, alice)
        healed = await session_of(auth, alice.cookie)
        assert healed is not None
        assert healed.generation == 2


async def test_stalled(valkey: Valkey) -> None:
    """A server that accepts and does not answer is 503 to all who ask; when it wakes, nothing has changed."""
    async with auth_on(valkey.url) as auth, logged_in(auth) as alice:
        before = await session_of(auth, alice.cookie)
        valkey.pause()
        try:
            await assert_all_unavailable(alice)
        finally:
            valkey.resume()
        await refreshes_at_last(alice)
        after = await session_of(auth, alice.cookie)
        assert before is not None
        assert after is not None
        assert (before.generation, after.generation, after.ended_at) == (0, 1, None)
        await assert_logged_in(auth, alice)


@pytest.mark.parametrize("later", [0, HOUR], ids=["at once", "in an hour"])
async def test_swap_that_commits_late(valkey: Valkey, later: float) -> None:
    """A rotation whose answer was given up, and which the server made when it woke, leaves the user logged in."""
    interruption = Interruption(None, valkey.pause)
    async with auth_on(valkey.url, interruption) as auth, logged_in(auth) as alice:
        cookie = alice.cookie
        await auth.revocations.poll()
        swaps = valkey.calls("evalsha")
        interruption.point = "within it"
        try:
            assert_unavailable(await alice.refresh())
        finally:
            valkey.resume()
        poll(lambda: valkey.calls("evalsha") == swaps + 1)
        rotated = await session_of(auth, cookie)
        assert rotated is not None
        assert rotated.generation == 1
        assert alice.cookie == cookie
        turn(auth, later)
        await assert_logged_in(auth, alice)
        last = await session_of(auth, alice.cookie)
        assert last is not None
        assert last.generation == 1


async def test_script_cache_flushed(valkey: Valkey) -> None:
    """A server that forgot the script costs nobody a refresh."""
    async with auth_on(valkey.url) as auth, logged_in(auth) as alice:
        for _ in range(2):
            turn(auth, HOUR)
            valkey.ask("SCRIPT", "FLUSH")
            await assert_logged_in(auth, alice)
        assert valkey.calls("eval") == 5  # the login, and each time the log's script and the rotation's


async def test_demoted(valkey: Valkey, tmp_path: Path) -> None:
    """Behind one address the master became a replica: 503 until the address leads to the new master."""
    other = Valkey(tmp_path / "other", "--replicaof", "127.0.0.1", str(valkey.port))
    try:
        async with Front(valkey) as front, auth_on(f"redis://127.0.0.1:{front.port}") as auth, logged_in(auth) as alice:
            await to_thread.run_sync(poll, lambda: other.ask("INFO", "replication")["master_link_status"] == "up")
            valkey.ask("WAIT", 1, 2000)
            other.ask("REPLICAOF", "NO", "ONE")
            valkey.ask("REPLICAOF", "127.0.0.1", other.port)
            await assert_all_unavailable(alice)
            front.server = other
            await refreshes_at_last(alice)
            await assert_logged_in(auth, alice)
            assert other.calls("evalsha") + other.calls("eval") > 0
    finally:
        other.stop()


async def test_sentinel_fails_over(watched: Watched) -> None:
    """When the master dies it is 503 until the Sentinel has made its replica the master, and then goes on."""
    async with auth_on(watched.url) as auth, logged_in(auth) as alice:
        watched.master.ask("WAIT", 1, 2000)
        watched.master.stop()
        assert await refreshes_at_last(alice) > 0
        assert watched.replica.ask("ROLE")[0] == b"master"
        await assert_logged_in(auth, alice)


async def test_cluster_master_dies(cluster: Cluster) -> None:
    """When a cluster's master dies it is 503 until its replica takes over, and then goes on, for everybody."""
    store = RedisStore.from_url(cluster.url)
    users = (f"user-{n}" for n in range(64))
    owned = {cluster.first_owner(store._index_key(user)).port: user for user in users}
    first, second, *_ = cluster.nodes
    async with (
        auth_on(cluster.url) as auth,
        logged_in(auth, owned[first.port]) as alice,
        logged_in(auth, owned[second.port]) as bob,
    ):
        first.ask("WAIT", 1, 2000)
        first.stop()
        assert await refreshes_at_last(alice) > 0
        await refreshes_at_last(bob)
        for browser in (alice, bob):
            await assert_logged_in(auth, browser)
