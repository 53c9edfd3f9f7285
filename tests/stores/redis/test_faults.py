"""Whatever befalls the servers, a caller hears StoreUnavailable, no swap is sent twice, and the store comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import pytest
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from support.stores import KEY, NOW, a_session, advance, stored, using, write
from support.valkey import Cluster, Front, Servers, Valkey, Watched, client_of
from support.waiting import PATIENCE

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Session, SessionKey
from asgi_jwt.stores.redis import RedisStore

pytestmark = pytest.mark.anyio

T = TypeVar("T")
KEYS = [SessionKey("alice", str(n)) for n in range(400)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def create(store: RedisStore, key: SessionKey = KEY) -> None:
    await write(store, a_session(key.sid, key.subject))


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


async def test_restart_between_two_calls_goes_unnoticed(own_valkey: Valkey) -> None:
    """Connections that died while nobody used them cost no caller his answer."""
    async with using(RedisStore.from_url(own_valkey.url)) as store:
        await asyncio.gather(*(create(store, key) for key in KEYS[:20]))
        own_valkey.stop()
        await refused(store.list("alice", Millis(NOW)), "ConnectionError")
        own_valkey.start()
        assert await asyncio.gather(*map(store.get, KEYS[:20])) == [None] * 20
        await create(store)
        own_valkey.stop()
        own_valkey.start()
        assert await asyncio.gather(*map(store.get, KEYS[:20])) == [None] * 20


async def test_exchanges_that_fail_at_once(own_valkey: Valkey) -> None:
    """Hundreds of callers on several connections hear of a stall each, and all are served when it is over, with all
    as it was."""
    async with using(RedisStore.from_url(f"{own_valkey.url}?timeout=0.3")) as store:
        await create(store)
        own_valkey.pause()
        calls = [
            store.list("alice", Millis(NOW)),
            *(store.update(KEY, advance) for _ in range(20)),
            *map(store.get, KEYS),
        ]
        try:
            for error in await asyncio.gather(*(refused(call) for call in calls)):
                assert error.detail
        finally:
            own_valkey.resume()
        assert await until_it_works(lambda: asyncio.gather(*map(store.get, KEYS))) == [None] * len(KEYS)
        assert (await stored(store)).version == 1


def key_on(cluster: Cluster, number: int) -> SessionKey:
    """A key whose slot is the given node's."""
    store = RedisStore.from_url(cluster.url)
    keys = (SessionKey(f"subject-{n}", "s1") for n in range(1000))
    return next(key for key in keys if cluster.first_owner(store._record_key(key)) is cluster.nodes[number])


# With neither a handshake nor patience, these clients would send a late swap again: their own retries begin while the
# server still sleeps, and wait for no answer before they send.
EAGER: dict[str, Any] = {
    "protocol": 2,
    "driver_info": None,
    "socket_timeout": 0.1,
    "retry": Retry(NoBackoff(), 10),
}


async def test_eager_client_sends_a_late_swap_again(own_valkey: Valkey) -> None:
    """The clients of these tests are what they are said to be: by themselves they send a script twice."""
    async with Front(own_valkey) as address, client_of(own_valkey, **EAGER) as client:
        client.connection_pool.connection_kwargs["port"] = address.port
        sha = await client.script_load("return redis.call('INCR', KEYS[1])")
        own_valkey.pause()
        sending: asyncio.Future[Any] = asyncio.ensure_future(client.evalsha(sha, 1, "counter"))
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                await address.arrivals.acquire()
            own_valkey.resume()
            assert await sending > 1


@asynccontextmanager
async def by_url(servers: Servers) -> AsyncIterator[RedisStore]:
    async with using(RedisStore.from_url(f"{servers.url}?timeout=1")) as store:
        yield store


@asynccontextmanager
async def by_eager_client(servers: Servers) -> AsyncIterator[RedisStore]:
    async with client_of(servers, **EAGER) as client, using(RedisStore(client, timeout=1)) as store:
        yield store


@pytest.mark.parametrize("opened", [by_url, by_eager_client])
async def test_late_swap_is_sent_once(servers: Servers, opened: Callable[[Servers], Any]) -> None:
    """A swap that is given up may still happen, and happens once, whatever the client would do by itself."""
    key, server = KEY, servers.master if isinstance(servers, Watched) else servers
    if isinstance(server, Cluster):  # the first node has a replica, which would take over
        key, server = key_on(server, 1), server.nodes[1]

    def change(stored: Session | None) -> tuple[Session | None, int]:
        server.pause()
        return advance(stored)

    async def settled() -> Session:
        found = await stored(store, key)
        if found.version == 1:
            raise StoreUnavailable("the late swap has not run yet")
        return found

    async with opened(servers) as store:
        await store.update(key, lambda _: (None, None))
        await create(store, key)
        before = server.calls("evalsha")
        try:
            await refused(store.update(key, change))
        finally:
            server.resume()
        found = await until_it_works(settled)
        assert (found.version, found.generation) == (2, 1)
        assert server.calls("evalsha") - before == 1
        # What was late is now the record: the next change builds on it.
        assert await store.update(key, advance) == 2


async def test_script_cache_may_be_flushed(servers: Servers) -> None:
    """A server that forgot the script is handed it again, and each change happens once."""
    async with using(RedisStore.from_url(f"{servers.url}?timeout={PATIENCE:g}")) as store:
        await store.update(KEY, lambda _: (None, None))
        for generation in (1, 2, 3):
            for node in servers.stores:
                node.ask("SCRIPT", "FLUSH")
            before = sum(node.calls("eval") for node in servers.stores)
            assert await store.update(KEY, advance) == generation
            assert sum(node.calls("eval") for node in servers.stores) - before == 1
        assert await store.update(KEY, advance) == 4
        assert sum(node.calls("eval") for node in servers.stores) - before == 1


async def test_demoted_master_is_left(own_valkey: Valkey, other_valkey: Valkey) -> None:
    """Behind one address the master becomes a replica: the first write says so, and the next finds the new master."""
    old, other = own_valkey, other_valkey
    async with Front(old) as address, using(RedisStore.from_url(f"{address.url}?timeout={PATIENCE:g}")) as store:
        await asyncio.gather(*(create(store, key) for key in KEYS))
        assert address.accepted > 1
        other.follow(old)
        other.ask("REPLICAOF", "NO", "ONE")
        old.ask("REPLICAOF", "127.0.0.1", other.port)
        address.server = other
        await refused(store.update(KEYS[0], advance), "ReadOnlyError")
        assert await asyncio.gather(*(store.update(key, advance) for key in KEYS)) == [1] * len(KEYS)


async def test_sentinel_switches_masters(watched: Watched) -> None:
    """When Sentinel moves the service while the old master lives on, writes go to the new one."""
    async with by_url(watched) as store:
        await create(store)
        watched.master.ask("WAIT", 1, 2000)
        watched.switch()

        async def moved() -> int:
            generation = await store.update(KEY, advance)
            if watched.replica.scripts() == 0:
                raise StoreUnavailable("not yet")
            return generation

        assert await until_it_works(moved) >= 1
        assert watched.replica.ask("ROLE")[0] == b"master"


async def test_sentinel_out_of_reach(watched: Watched) -> None:
    """Without a Sentinel, or for a service it does not know, the store is unavailable, and shows no password."""
    url = watched.url.replace("redis+sentinel://", "redis+sentinel://user:secret@")
    for name in (url.replace("sessions", "unknown"), url):
        async with using(RedisStore.from_url(name)) as store:
            error = await refused(store.get(KEY), "MasterNotFoundError")
            assert "secret" not in f"{error.detail!r}{error!r}{store!r}"
        watched.sentinel.stop()


async def stay_mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def test_sentinel_that_stalls_is_passed_over(watched: Watched) -> None:
    """A Sentinel that does not answer costs some time and no more: the next one is asked before the time is up."""
    mute = await asyncio.start_server(stay_mute, "127.0.0.1", 0)
    address = f"127.0.0.1:{mute.sockets[0].getsockname()[1]}"
    async with using(RedisStore.from_url(watched.url.replace("://", f"://{address},") + "?timeout=1")) as store:
        assert [await store.update(KEY, advance) for _ in range(2)] == [1, 2]
    mute.close()


async def test_cluster_node_that_stalls_holds_up_its_own(cluster: Cluster) -> None:
    """While one master sleeps, the sessions of the others are within reach."""
    mine, others = key_on(cluster, 1), key_on(cluster, 2)
    async with by_url(cluster) as store:
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


async def test_cluster_slot_moves(own_cluster: Cluster) -> None:
    """A subject whose slot went to another master is followed there."""
    key = key_on(own_cluster, 0)
    source, target, *_ = own_cluster.nodes
    async with using(RedisStore.from_url(own_cluster.url)) as store:
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
        assert [session.sid for session in await store.list(key.subject, Millis(NOW))] == ["s1"]


async def test_full_server_still_reads(own_valkey: Valkey) -> None:
    """A server without memory left refuses changes and still gives what it has."""
    async with using(RedisStore.from_url(own_valkey.url)) as store:
        await create(store)
        own_valkey.ask("CONFIG", "SET", "maxmemory", 1)
        await refused(store.update(KEY, advance), "OutOfMemoryError")
        assert await store.get(KEY) is not None
        own_valkey.ask("CONFIG", "SET", "maxmemory", 0)
        assert await store.update(KEY, advance) == 1


async def test_wrong_password_is_unavailable_and_not_shown(own_valkey: Valkey) -> None:
    """A password that is missing or wrong is told of without being told."""
    own_valkey.ask("CONFIG", "SET", "requirepass", "right-secret")
    for credentials in ("", ":wrong-secret@", "nobody:wrong-secret@"):
        async with using(RedisStore.from_url(f"redis://{credentials}{own_valkey.address}")) as store:
            error = await refused(store.get(KEY), "Authentication")
            assert "secret" not in f"{error.detail!r}{error.__cause__!r}{store!r}"
    async with using(RedisStore.from_url(f"redis://:right-secret@{own_valkey.address}")) as store:
        assert await store.get(KEY) is None


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
    async with sick_server(broken, b"_\r\n") as url, using(RedisStore.from_url(url)) as store:
        assert await store.get(KEY) is None
    async with sick_server(broken, broken, b"_\r\n") as url, using(RedisStore.from_url(url)) as store:
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
    async with sick_server(answer) as url, using(RedisStore.from_url(f"{url}?protocol={protocol}")) as store:
        error = await refused(store.get(SessionKey("secret", "secret")), told)
    assert error.detail
    assert "secret" not in f"{error.detail}{error.__cause__}"
