"""The Redis store keeps the contract of every store, on each topology of servers, over its own clients or others."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis, RedisCluster
from support.certificates import Authority
from support.stores import DAY, KEY, NOW, a_session, stored, using, write
from support.tables import tables_of
from support.valkey import Cluster, Front, Servers, Valkey, client_of
from support.waiting import PATIENCE

from asgi_jwt.errors import ConfigurationError, StoreUnavailable
from asgi_jwt.stores.base import RevocationLog, SessionStore
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Revocation, Session, SessionKey
from asgi_jwt.stores.redis import RedisStore
from asgi_jwt.stores.redis.log import APPEND
from asgi_jwt.stores.redis.script import Script
from asgi_jwt.testing import ProofConformance

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def url_on(servers: Servers, query: str = "") -> str:
    """The URL of an empty store."""
    return f"{servers.url}?prefix={uuid4().hex}:&timeout={PATIENCE:g}{query}"


class TestOneServer(ProofConformance):
    @pytest.fixture(autouse=True)
    def _server(self, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url, self.ahead, self.monkeypatch = url_on(valkey), 0, monkeypatch

    def open_store(self) -> AbstractAsyncContextManager[SessionStore]:
        return using(RedisStore.from_url(self.url))

    async def pass_time(self, store: RevocationLog, ms: int) -> bool:
        """Let the server give ids by a clock that is ahead."""
        self.ahead += ms
        now = b"string.format('%%.0f-*', redis.call('TIME')[1] * 1000 + %d)" % self.ahead
        self.monkeypatch.setattr("asgi_jwt.stores.redis.store.APPEND", Script.of(APPEND.text.replace(b"'*'", now)))
        return True


async def test_a_proof_is_forgotten_by_itself(valkey: Valkey) -> None:
    """The server forgets a proof a minute after it is accepted no more: the clocks of two processes may differ."""
    async with client_of(valkey) as client, using(RedisStore(client, prefix=(prefix := f"{uuid4().hex}:"))) as store:
        for until, life in ((time.time() + 90, 150), (0, 60)):
            digest = uuid4().bytes
            assert await store.claim(digest, int(until * 1000))
            key = f"{prefix}proof:{base64.urlsafe_b64encode(digest).decode()}"
            assert life - PATIENCE < await client.pttl(key) / 1000 <= life


class TestCluster(TestOneServer):
    @pytest.fixture(autouse=True)
    def _server(self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url, self.ahead, self.monkeypatch = url_on(cluster), 0, monkeypatch


async def works(store: RedisStore, key: SessionKey = KEY) -> None:
    """The store writes, reads, lists and deletes."""
    await write(store, a_session(key.sid, key.subject))
    found = await stored(store, key)
    assert found.version == 1
    assert list(await store.list(key.subject, Millis(NOW))) == [found]
    await store.update(key, lambda _: (None, None))
    assert await store.get(key) is None


async def keeps_a_log(store: RedisStore) -> None:
    """The store appends revocations and reads them, and goes on from there."""
    revocation = Revocation("sid", "https://issuer.example", "s1", Millis(NOW + DAY))
    await store.append_revocations([revocation], Millis(NOW))
    page = await store.read_revocations()
    assert list(page.revocations) == [revocation]
    assert (await store.read_revocations(page.cursor)).continues


def subjects(count: int) -> list[SessionKey]:
    return [SessionKey(f"subject-{n}", "s1") for n in range(count)]


@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 2}, {"protocol": 3}], ids=str)
async def test_any_client_will_do(servers: Servers, options: dict[str, Any]) -> None:
    """A client that was handed in may decode or not and speak either protocol, and stays open when the store closes."""
    async with client_of(servers, **options) as client:
        store = RedisStore(client, prefix=f"{uuid4().hex}:")
        for key in subjects(10):
            await works(store, key)
        await keeps_a_log(store)
        await store.aclose()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.get(KEY)
        assert await client.ping()


def test_clients_of_the_hosts_in_two_event_loops(servers: Servers) -> None:
    """A client is dialled anew by each event loop; a cluster's can't be, and the error says what to give instead."""
    prefix = f"{uuid4().hex}:"

    async def make() -> RedisStore:
        async with client_of(servers) as client:
            return RedisStore(client, prefix=prefix, timeout=PATIENCE)

    if isinstance(servers, Cluster):
        store = RedisStore(RedisCluster("127.0.0.1", servers.nodes[0].port), prefix=prefix, timeout=PATIENCE)
        asyncio.run(works(store))
        with pytest.raises(ConfigurationError, match=r"several event loops.*redis\+cluster://"):
            asyncio.run(works(store))
        return
    store = asyncio.run(make())
    for _ in range(2):
        asyncio.run(works(store))


@pytest.mark.parametrize(
    ("place", "database", "prefix"),
    [("/3?", 3, "asgi-jwt:"), ("/3?prefix=other:", 3, "other:"), ("?db=4&prefix=by-parameter:", 4, "by-parameter:")],
)
async def test_database_and_prefix_of_the_url(valkey: Valkey, place: str, database: int, prefix: str) -> None:
    """The records are in the database that the URL names, under the prefix that the URL gives, or `asgi-jwt:`."""
    async with using(RedisStore.from_url(valkey.url + place)) as store:
        await write(store, a_session())
        async with Redis(port=valkey.port, db=database) as client:
            assert len(await client.keys(f"{prefix}*")) == 2
        await store.update(KEY, lambda _: (None, None))


async def test_socket_in_the_file_system(tmp_path: Path) -> None:
    """unix:// leads to the server behind that socket, in the database that it names."""
    path = Path(mkdtemp(dir="/tmp")) / "s"  # a socket's path may have 107 characters
    server = Valkey(tmp_path / "valkey", "--unixsocket", str(path))
    try:
        async with using(RedisStore.from_url(f"unix://{path}?db=1&timeout={PATIENCE:g}")) as store:
            await works(store)
            await keeps_a_log(store)
            assert server.ask("INFO", "keyspace").keys() == {"db1"}
    finally:
        server.stop()


async def test_nothing_opens_before_use(valkey: Valkey) -> None:
    """Making a store and closing it unused touches no server; using it does."""
    async with Front(valkey) as address:
        for uses in (0, 1):
            async with using(RedisStore.from_url(address.url)) as store:
                for _ in range(uses):
                    await store.get(KEY)
            assert address.accepted == uses


async def test_callers_at_once_share_connections(valkey: Valkey) -> None:
    """Hundreds of callers at once get along with a handful of connections."""
    async with Front(valkey) as address:
        url = url_on(valkey).replace(valkey.address, f"127.0.0.1:{address.port}")
        async with using(RedisStore.from_url(url)) as store:
            await asyncio.gather(*(works(store, key) for key in subjects(500)))
        assert address.accepted <= 8


@pytest.mark.parametrize(
    ("form", "query", "told"),
    tables_of(__file__)["tls_verifies_the_server"],
)
async def test_tls_verifies_the_server(valkey: Valkey, tmp_path: Path, form: str, query: str, told: str | None) -> None:
    """Over TLS a server is sent nothing unless the given authority vouches for it, or `ssl_cert_reqs=none` is set."""
    authority, context = Authority(tmp_path), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.certify(context)
    async with Front(valkey, context) as address:
        url = f"{form}?{query}&prefix={uuid4().hex}:&timeout={PATIENCE:g}".replace("?&", "?")
        async with using(RedisStore.from_url(url.format(f"127.0.0.1:{address.port}", authority.path))) as store:
            if told is None:
                await works(store)
            else:
                with pytest.raises(StoreUnavailable, match=told):
                    await store.get(KEY)
    assert (address.accepted > 0) is (query != "")


@pytest.mark.parametrize("connections", [1, 2, 4])
async def test_small_pool_makes_callers_wait(valkey: Valkey, connections: int) -> None:
    """A client that wants few connections is given few, two at the least, and no caller fails for that."""
    before = valkey.clients()
    async with client_of(valkey, max_connections=connections) as client:
        store = RedisStore(client, prefix=f"{uuid4().hex}:", timeout=PATIENCE)
        await asyncio.gather(*(works(store, key) for key in subjects(300)), keeps_a_log(store))
        assert valkey.clients() - before <= max(2, connections)
        await store.aclose()


async def test_small_pool_of_a_cluster_makes_callers_wait(cluster: Cluster) -> None:
    """A cluster's client that allows few connections a node fails no caller, also where the host uses them too."""
    async with client_of(cluster, max_connections=2) as client:
        store = RedisStore(client, prefix=f"{uuid4().hex}:", timeout=PATIENCE)
        await client.initialize()
        nodes = 2 * client.get_primaries()
        taken = [node.acquire_connection() for node in nodes]
        asking = asyncio.gather(*(works(store, key) for key in subjects(100)))
        for _ in range(100):  # turns of the event loop, in which commands find no connection free
            await asyncio.sleep(0)
        for node, connection in zip(nodes, taken, strict=True):
            node.release(connection)
        await asking
        await store.aclose()


async def test_lone_server_is_no_cluster(valkey: Valkey) -> None:
    """A cluster's URL that leads to a lone server says what is wrong."""
    async with using(RedisStore.from_url(f"redis+cluster://{valkey.address}")) as store:
        with pytest.raises(StoreUnavailable, match="Cluster mode is not enabled"):
            await store.get(KEY)


async def test_least_rights_suffice(own_valkey: Valkey) -> None:
    """A user with the rights that the docstring names, on the prefix alone, is enough."""
    rights = re.findall(r"\+[a-z@|]+", RedisStore.__doc__ or "")
    assert len(rights) > 10
    own_valkey.ask("ACL", "SETUSER", "app", "on", ">secret", "~asgi-jwt:*", *rights)
    # An entry that has lapsed, so that the log forgets one.
    own_valkey.ask("XADD", "asgi-jwt:revocations", "1-0", "u", 0, "r", "[]")
    async with using(RedisStore.from_url(f"redis://app:secret@{own_valkey.address}")) as store:
        await works(store)
        await keeps_a_log(store)


@pytest.mark.parametrize("kind", ["valkey", pytest.param("cluster", marks=pytest.mark.outside)])
async def test_cancelled_callers_leave_no_answer_behind(kind: str, request: pytest.FixtureRequest) -> None:
    """However many callers go away while their commands are under way, each of the others has the answer to his own."""
    # Each record names its key in `client_id`, so that an answer gone astray shows.
    keys = [SessionKey(f"subject-{n}", f"s{n}") for n in range(20)]
    async with using(RedisStore.from_url(url_on(request.getfixturevalue(kind)))) as store:
        for key in keys:
            await write(store, replace(a_session(key.sid, key.subject), client_id=key.sid))
        for turns in range(40):
            calls = [asyncio.create_task(store.get(key)) for key in keys]
            for _ in range(turns % 8):
                await asyncio.sleep(0)
            leaving = [call for n, call in enumerate(calls) if n % 2 == turns % 2]
            for call in leaving:
                call.cancel()
            found = await asyncio.gather(*calls, return_exceptions=True)
            for key, call, answer in zip(keys, calls, found, strict=True):
                if not (call in leaving and isinstance(answer, asyncio.CancelledError)):
                    assert isinstance(answer, Session)
                    assert answer.client_id == key.sid


@pytest.mark.parametrize("options", [{"prefix": "{a}"}, {"timeout": 0}, {"timeout": float("nan")}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    """A prefix that would break hash tags, or a timeout that is none, is refused when the store is made."""
    with pytest.raises(ConfigurationError, match="prefix or timeout"):
        RedisStore(Redis(), **options)


def test_repr_shows_no_credentials() -> None:
    """A store shows where it leads, and neither user nor password."""
    assert repr(RedisStore.from_url("redis://user:secret@cache/1")) == "<RedisStore redis://cache:6379/1>"
    assert repr(RedisStore(Redis(password="secret"))) == "<RedisStore Redis>"
