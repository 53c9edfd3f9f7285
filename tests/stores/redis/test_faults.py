"""Whatever befalls the servers, a caller hears StoreUnavailable, no swap is sent twice, and the store comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from importlib import import_module
from typing import Any, TypeVar

import pytest
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from support.valkey import Cluster, Front, Valkey, Watched
from support.waiting import PATIENCE

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.sessions.rotation import open_session
from asgi_jwt.stores.records import Session, SessionKey
from asgi_jwt.stores.redis import RedisStore

pytestmark = pytest.mark.anyio

T = TypeVar("T")
NOW = 1_700_000_000_000
DAY = 86_400_000
KEY = SessionKey("alice", "s1")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def a_session(key: SessionKey = KEY) -> Session:
    return open_session(key.subject, key.sid, now=NOW, refresh_ttl=DAY, session_ttl=DAY)


async def create(store: RedisStore, key: SessionKey = KEY) -> None:
    await store.update(key, lambda _: (a_session(key), None))


def advance(stored: Session | None) -> tuple[Session | None, int]:
    assert stored is not None
    return replace(stored, generation=stored.generation + 1), stored.generation + 1


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore.from_url(url)
    try:
        yield store
    finally:
        await store.aclose()


async def until_it_works(call: Callable[[], Awaitable[T]]) -> T:
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(StoreUnavailable):
                return await call()
            await asyncio.sleep(0.02)


async def refused(call: Awaitable[object], match: str | None = None) -> StoreUnavailable:
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(StoreUnavailable, match=match) as raised:
            await call
    return raised.value


async def test_stopped_server_comes_back_empty(own_valkey: Valkey) -> None:
    """A server that is down is unavailable; started again, it serves the same store, and has nothing any more."""
    async with opened(own_valkey.url) as store:
        await create(store)
        own_valkey.stop()
        for call in (store.get(KEY), store.update(KEY, advance), store.list("alice", NOW)):
            await refused(call, "ConnectionError")
        own_valkey.start()
        assert await store.get(KEY) is None
        await create(store)
        assert [session.sid for session in await store.list("alice", NOW)] == ["s1"]


async def test_restart_between_two_calls_goes_unnoticed(own_valkey: Valkey) -> None:
    """Connections that died while nobody used them cost no caller his answer."""
    async with opened(own_valkey.url) as store:
        await asyncio.gather(*(create(store, SessionKey("alice", str(n))) for n in range(20)))
        own_valkey.stop()
        own_valkey.start()
        assert await asyncio.gather(*(store.get(SessionKey("alice", str(n))) for n in range(20))) == [None] * 20


async def test_stalled_server_is_waited_for_no_longer_than_told(own_valkey: Valkey) -> None:
    """A server that accepts and does not answer is unavailable, to all who ask; when it wakes, all is as it was."""
    async with opened(f"{own_valkey.url}?timeout=1") as store:
        await create(store)
        own_valkey.pause()
        calls = [store.get(KEY), store.list("alice", NOW), *(store.update(KEY, advance) for _ in range(20))]
        for error in await asyncio.gather(*(refused(call) for call in calls)):
            assert error.detail
        own_valkey.resume()
        found = await until_it_works(lambda: store.get(KEY))
        assert found is not None
        assert found.version == 1


async def swap_that_stalls(store: RedisStore, server: Valkey, key: SessionKey = KEY) -> None:
    """A swap whose server goes to sleep just before it is sent, and wakes up when it has been given up."""

    def change(stored: Session | None) -> tuple[Session | None, int]:
        server.pause()
        return advance(stored)

    await create(store, key)
    before = server.calls("evalsha")
    try:
        await refused(store.update(key, change))
    finally:
        server.resume()

    async def settled() -> Session:
        found = await store.get(key)
        assert found is not None
        if found.version == 1:
            raise StoreUnavailable("the late swap has not run yet")
        return found

    found = await until_it_works(settled)
    assert (found.version, found.generation) == (2, 1)
    assert server.calls("evalsha") - before == 1
    # What was late is now the record: the next change builds on it.
    assert await store.update(key, advance) == 2


async def test_late_swap_is_sent_once(own_valkey: Valkey) -> None:
    """A swap that is given up may still happen, and happens once."""
    async with opened(f"{own_valkey.url}?timeout=1") as store:
        await swap_that_stalls(store, own_valkey)


# With neither a handshake nor patience, these clients would send a late swap again: their own retries begin while the
# server still sleeps, and wait for no answer before they send.
EAGER: dict[str, Any] = {"protocol": 2, "driver_info": None, "socket_timeout": 0.1}


async def test_eager_client_sends_a_late_swap_again(own_valkey: Valkey) -> None:
    """The clients of these tests are what they are said to be: by themselves they send a script twice."""
    async with Front(own_valkey) as address, Redis(port=address.port, **EAGER) as client:
        sha = await client.script_load("return redis.call('INCR', KEYS[1])")
        own_valkey.pause()
        sending: asyncio.Future[Any] = asyncio.ensure_future(client.evalsha(sha, 1, "counter"))
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                await address.arrivals.acquire()
            own_valkey.resume()
            assert await sending > 1


async def test_eager_client_sends_a_swap_once(own_valkey: Valkey) -> None:
    """A client that would send its commands again does not, for the store."""
    async with Redis(port=own_valkey.port, **EAGER) as client:
        await swap_that_stalls(RedisStore(client, timeout=1), own_valkey)


async def test_eager_sentinel_client_sends_a_swap_once(watched: Watched) -> None:
    """Nor does a client that Sentinel leads."""
    addresses = [("127.0.0.1", watched.sentinel.port)]
    sentinel: Any = import_module("redis.asyncio.sentinel").Sentinel(addresses, retry=Retry(NoBackoff(), 10))
    async with sentinel, sentinel.master_for("sessions", **EAGER) as client:
        await swap_that_stalls(RedisStore(client, timeout=1), watched.master)


async def test_eager_cluster_client_sends_a_swap_once(cluster: Cluster) -> None:
    """Nor does a cluster's."""
    async with RedisCluster("127.0.0.1", cluster.nodes[0].port, **EAGER) as client:
        await swap_that_stalls(RedisStore(client, timeout=1), cluster.nodes[1], key_on(cluster, 1))


def key_on(cluster: Cluster, number: int) -> SessionKey:
    """A key whose slot is the given node's."""
    store = RedisStore.from_url(cluster.url)
    for n in range(1000):
        key = SessionKey(f"subject-{n}", "s1")
        if cluster.first_owner(store._record_key(key)) is cluster.nodes[number]:
            return key
    raise LookupError("no key for that node")


async def test_exchanges_that_fail_at_once(own_valkey: Valkey) -> None:
    """Hundreds of callers on several connections hear of a stall each, and all are served when it is over."""
    keys = [SessionKey("alice", str(n)) for n in range(400)]
    async with opened(f"{own_valkey.url}?timeout=0.3") as store:
        await store.get(KEY)
        own_valkey.pause()
        try:
            await asyncio.gather(*(refused(store.get(key)) for key in keys))
        finally:
            own_valkey.resume()
        assert await until_it_works(lambda: asyncio.gather(*map(store.get, keys))) == [None] * len(keys)


async def test_script_cache_may_be_flushed(own_valkey: Valkey) -> None:
    """A server that forgot the script is handed it again, and each change happens once."""
    async with opened(own_valkey.url) as store:
        await create(store)
        for generation in (1, 2):
            own_valkey.ask("SCRIPT", "FLUSH")
            assert await store.update(KEY, advance) == generation
        assert own_valkey.calls("eval") == 3
        assert await store.update(KEY, advance) == 3
        assert own_valkey.calls("eval") == 3


async def test_demoted_master_is_left(own_valkey: Valkey, valkey: Valkey) -> None:
    """Behind one address the master becomes a replica: the first write says so, and the next finds the new master."""
    keys = [SessionKey("alice", str(n)) for n in range(400)]
    async with Front(own_valkey) as address, opened(f"redis://127.0.0.1:{address.port}?timeout={PATIENCE:g}") as store:
        await asyncio.gather(*(create(store, key) for key in keys))
        assert address.accepted > 1
        other, old = valkey, own_valkey
        other.ask("REPLICAOF", "127.0.0.1", old.port)
        await until_it_works(lambda: linked(other))
        other.ask("REPLICAOF", "NO", "ONE")
        old.ask("REPLICAOF", "127.0.0.1", other.port)
        address.server = other
        try:
            await refused(store.update(keys[0], advance), "ReadOnlyError")
            assert await asyncio.gather(*(store.update(key, advance) for key in keys)) == [1] * len(keys)
        finally:
            other.ask("FLUSHALL")


async def linked(replica: Valkey) -> None:
    if replica.ask("INFO", "replication")["master_link_status"] != "up":
        raise StoreUnavailable("not yet")


async def test_sentinel_fails_over(watched: Watched) -> None:
    """When the master dies its replica takes over, with all that it had, and no app restarts."""
    async with opened(f"{watched.url}?timeout=1") as store:
        await create(store)
        watched.master.ask("WAIT", 1, 2000)
        watched.master.stop()
        await refused(store.update(KEY, advance))
        assert await until_it_works(lambda: store.update(KEY, advance)) in {1, 2}
        assert watched.replica.ask("ROLE")[0] == b"master"


async def test_sentinel_switches_masters(watched: Watched) -> None:
    """When Sentinel moves the service while the old master lives on, writes go to the new one."""
    async with opened(f"{watched.url}?timeout=1") as store:
        await create(store)
        watched.master.ask("WAIT", 1, 2000)
        watched.switch()

        async def moved() -> int:
            generation = await store.update(KEY, advance)
            if watched.replica.calls("evalsha") + watched.replica.calls("eval") == 0:
                raise StoreUnavailable("not yet")
            return generation

        assert await until_it_works(moved) >= 1
        assert watched.replica.ask("ROLE")[0] == b"master"


async def test_sentinel_out_of_reach(watched: Watched) -> None:
    """Without a Sentinel, or for a service it does not know, the store is unavailable, and shows no password."""
    url = watched.url.replace("redis+sentinel://", "redis+sentinel://user:secret@")
    async with opened(url.replace("sessions", "unknown")) as store:
        error = await refused(store.get(KEY), "MasterNotFoundError")
        assert "secret" not in f"{error.detail!r}{error!r}{store!r}"
    watched.sentinel.stop()
    async with opened(url) as store:
        error = await refused(store.get(KEY), "MasterNotFoundError")
        assert "secret" not in f"{error.detail!r}{error!r}{store!r}"


async def stay_mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def test_sentinel_that_stalls_is_passed_over(watched: Watched) -> None:
    """A Sentinel that does not answer costs some time and no more: the next one is asked before the time is up."""
    mute = await asyncio.start_server(stay_mute, "127.0.0.1", 0)
    address = f"127.0.0.1:{mute.sockets[0].getsockname()[1]}"
    async with opened(watched.url.replace("://", f"://{address},") + "?timeout=1") as store:
        await create(store)
        assert await store.update(KEY, advance) == 1
    mute.close()


async def test_cluster_node_that_stalls_holds_up_its_own(cluster: Cluster) -> None:
    """While one master sleeps, the sessions of the others are within reach."""
    mine, others = key_on(cluster, 1), key_on(cluster, 2)
    async with opened(f"{cluster.url}?timeout=1") as store:
        for key in (mine, others):
            await create(store, key)
        cluster.nodes[1].pause()
        try:
            asleep = asyncio.gather(*(refused(store.update(mine, advance)) for _ in range(5)))
            assert await until_it_works(lambda: store.update(others, advance)) == 1
            await asleep
            assert await until_it_works(lambda: store.update(others, advance)) == 2
        finally:
            cluster.nodes[1].resume()
        assert await until_it_works(lambda: store.update(mine, advance)) in {1, 2}


async def test_cluster_master_dies(own_cluster: Cluster) -> None:
    """A cluster's master dies: its replica takes over, the other masters' sessions were never out of reach for long."""
    mine, others = key_on(own_cluster, 0), key_on(own_cluster, 1)
    first, *_, replica = own_cluster.nodes
    async with opened(f"{own_cluster.url}?timeout=1") as store:
        for key in (mine, others):
            await create(store, key)
        first.ask("WAIT", 1, 2000)
        first.stop()
        await refused(store.update(mine, advance))
        assert await until_it_works(lambda: store.update(mine, advance)) in {1, 2}
        assert await until_it_works(lambda: store.update(others, advance)) == 1
        assert replica.ask("ROLE")[0] == b"master"


async def test_cluster_script_cache_may_be_flushed(cluster: Cluster) -> None:
    """A cluster's node that forgot the script is handed it again."""
    async with opened(cluster.url) as store:
        await create(store)
        for node in cluster.nodes:
            node.ask("SCRIPT", "FLUSH")
        assert await store.update(KEY, advance) == 1


async def test_cluster_slot_moves(own_cluster: Cluster) -> None:
    """A subject whose slot went to another master is followed there."""
    key = key_on(own_cluster, 0)
    source, target, *_ = own_cluster.nodes
    async with opened(own_cluster.url) as store:
        await create(store, key)
        slot = source.ask("CLUSTER", "KEYSLOT", store._record_key(key))
        names = [node.ask("CLUSTER", "MYID") for node in (source, target)]
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
        for found in source.ask("CLUSTER", "GETKEYSINSLOT", slot, 10):
            source.ask("MIGRATE", "127.0.0.1", target.port, found, 0, 2000)
        for node in (target, source):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", names[1])
        assert await store.update(key, advance) == 1
        assert [session.sid for session in await store.list(key.subject, NOW)] == ["s1"]


async def test_full_server_still_reads(own_valkey: Valkey) -> None:
    """A server without memory left refuses changes and still gives what it has."""
    async with opened(own_valkey.url) as store:
        await create(store)
        own_valkey.ask("CONFIG", "SET", "maxmemory", 1)
        await refused(store.update(KEY, advance), "OutOfMemoryError")
        assert await store.get(KEY) is not None
        own_valkey.ask("CONFIG", "SET", "maxmemory", 0)
        assert await store.update(KEY, advance) == 1


async def test_wrong_password_is_unavailable_and_not_shown(own_valkey: Valkey) -> None:
    """A password that is missing or wrong is told of without being told."""
    own_valkey.ask("CONFIG", "SET", "requirepass", "right-secret")
    try:
        for credentials in ("", ":wrong-secret@", "nobody:wrong-secret@"):
            async with opened(f"redis://{credentials}{own_valkey.address}") as store:
                error = await refused(store.get(KEY), "Authentication")
                assert "secret" not in f"{error.detail!r}{error.__cause__!r}{store!r}"
        async with opened(f"redis://:right-secret@{own_valkey.address}") as store:
            assert await store.get(KEY) is None
    finally:
        async with Redis(port=own_valkey.port, password="right-secret") as client:
            await client.config_set("requirepass", "")


@asynccontextmanager
async def sick_server(*answers: bytes) -> AsyncIterator[str]:
    """A server that hangs up after each GET, which it gives these answers, the last one ever after."""
    left = [*answers]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line in {b"HELLO\r\n", b"SETINFO\r\n"}:
                writer.write(b"+OK\r\n")
            elif line == b"GET\r\n":
                writer.write(left.pop(0) if len(left) > 1 else left[0])
                break
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize("broken", [b"", b"$5\r\nha", b"-READONLY You can't write against a read only replica.\r\n"])
async def test_read_is_asked_again_once(broken: bytes) -> None:
    """A read whose connection breaks, or led to a replica, is asked once more over another, and only once."""
    async with sick_server(broken, b"_\r\n") as url, opened(url) as store:
        assert await store.get(KEY) is None
    async with sick_server(broken, broken, b"_\r\n") as url, opened(url) as store:
        await refused(store.get(KEY))


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "BusyLoadingError"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "MasterDownError"),
        (b"-CLUSTERDOWN The cluster is down\r\n", "ClusterDownError"),
        (b"-READONLY You can't write against a read only replica.\r\n", "ReadOnlyError"),
        (b"-ERR Error running script: @user_script:1: -READONLY You can't write\r\n", "ReadOnlyError"),
        (b"-MISCONF Errors writing to the AOF file: secret\r\n", "ResponseError"),
        (b"-NOPERM User secret has no permissions\r\n", "NoPermissionError"),
        (b"-ERR unknown command 'GET', with args beginning with: 'secret'\r\n", "ResponseError"),
        (b"-ERR max number of clients reached\r\n", "ConnectionError"),
        (b"!no protocol at all\r\n", None),
        (b"$100\r\nhalf", "ConnectionError"),
        (b"", "ConnectionError"),
    ],
)
async def test_any_answer_of_a_sick_server(answer: bytes, told: str | None, protocol: int) -> None:
    """Whatever a server says instead of an answer, the caller hears StoreUnavailable, and no key or value with it."""

    async with sick_server(answer) as url, opened(f"{url}?protocol={protocol}") as store:
        error = await refused(store.get(SessionKey("secret", "secret")), told)
    assert error.detail
    assert "secret" not in f"{error.detail}{error.__cause__}"
