"""AuthApp on a Valkey that fails: 503 while it lasts, the cookie kept, and then as if nothing had been."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

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
from support.stores import using
from support.valkey import Cluster, Front, Valkey, Watched, poll
from support.waiting import PATIENCE

from asgi_jwt import Auth
from asgi_jwt.stores.redis import RedisStore
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def auth_on(url: str, interruption: Interruption | None = None) -> AsyncIterator[Auth]:
    """An `Auth` on the server, which is waited for in no test for long."""
    async with using(RedisStore.from_url(f"{url}?timeout=1")) as store:
        yield an_auth(InterruptedStore(store, interruption) if interruption else store, Clock(NOW))


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


@pytest.mark.parametrize("saved", [False, True], ids=["empty", "rolled back"])
async def test_stopped(own_valkey: Valkey, saved: bool) -> None:
    """While the server is down all is 503. Back but empty, it gives a clean 401, and people log in again; back with
    what it had two rotations ago, it takes up the session where the user is."""
    async with auth_on(own_valkey.url) as auth, logged_in(auth) as alice:
        if saved:
            own_valkey.ask("SAVE")
        for _ in range(2):
            turn(auth, HOUR)
            assert (await alice.refresh()).status_code == 200
        own_valkey.stop()
        await assert_all_unavailable(alice)
        own_valkey.start()
        if saved:
            assert (await session_of(auth, alice.cookie)).generation == 0
        else:
            assert_over(await alice.refresh())
            assert alice.cookie is None
            assert (await alice.login()).status_code == 200
        await assert_logged_in(auth, alice)
        assert (await session_of(auth, alice.cookie)).generation == (2 if saved else 1)


async def test_stalled(own_valkey: Valkey) -> None:
    """A server that accepts and does not answer is 503 to all who ask; when it wakes, nothing has changed."""
    async with auth_on(own_valkey.url) as auth, logged_in(auth) as alice:
        before = await session_of(auth, alice.cookie)
        own_valkey.pause()
        try:
            await assert_all_unavailable(alice)
        finally:
            own_valkey.resume()
        await refreshes_at_last(alice)
        after = await session_of(auth, alice.cookie)
        assert (before.generation, after.generation, after.ended_at) == (0, 1, None)
        await assert_logged_in(auth, alice)


@pytest.mark.parametrize("later", [0, HOUR], ids=["at once", "in an hour"])
async def test_swap_that_commits_late(own_valkey: Valkey, later: float) -> None:
    """A rotation whose answer was given up, and which the server made when it woke, leaves the user logged in."""
    interruption = Interruption(None, own_valkey.pause)
    async with auth_on(own_valkey.url, interruption) as auth, logged_in(auth) as alice:
        cookie = alice.cookie
        await auth.revocations.poll()
        swaps = own_valkey.calls("evalsha")
        interruption.point = "within it"
        try:
            assert_unavailable(await alice.refresh())
        finally:
            own_valkey.resume()
        poll(lambda: own_valkey.calls("evalsha") == swaps + 1)
        assert ((await session_of(auth, cookie)).generation, alice.cookie) == (1, cookie)
        turn(auth, later)
        await assert_logged_in(auth, alice)
        assert (await session_of(auth, alice.cookie)).generation == 1


async def test_demoted(own_valkey: Valkey, other_valkey: Valkey) -> None:
    """Behind one address the master became a replica: 503 until the address leads to the new master."""
    async with Front(own_valkey) as front, auth_on(front.url) as auth, logged_in(auth) as alice:
        await to_thread.run_sync(other_valkey.follow, own_valkey)
        other_valkey.ask("REPLICAOF", "NO", "ONE")
        own_valkey.ask("REPLICAOF", "127.0.0.1", other_valkey.port)
        await assert_all_unavailable(alice)
        front.server = other_valkey
        await refreshes_at_last(alice)
        await assert_logged_in(auth, alice)
        assert other_valkey.scripts() > 0


@pytest.mark.parametrize("kind", ["watched", "own_cluster"])
async def test_master_dies(kind: str, request: pytest.FixtureRequest) -> None:
    """When a master dies it is 503 until its replica has taken over, and then goes on, for everybody."""
    servers: Watched | Cluster = request.getfixturevalue(kind)
    names, (master, *_) = ["alice"], servers.stores
    if isinstance(servers, Cluster):  # one user of the master that dies, and one of another
        store = RedisStore.from_url(servers.url)
        owned = {servers.first_owner(store._index_key(name)).port: name for name in (f"user-{n}" for n in range(64))}
        names = [owned[node.port] for node in servers.nodes[:2]]
    async with auth_on(servers.url) as auth, AsyncExitStack() as stack:
        alice, *others = [await stack.enter_async_context(logged_in(auth, name)) for name in names]
        master.ask("WAIT", 1, 2000)
        master.stop()
        assert await refreshes_at_last(alice) > 0
        for browser in others:
            await refreshes_at_last(browser)
        assert servers.stores[-1].ask("ROLE")[0] == b"master"
        for browser in (alice, *others):
            await assert_logged_in(auth, browser)
