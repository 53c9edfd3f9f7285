"""The Redis store keeps the contract of every store, on one server and on a cluster, over its own clients or others."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.asyncio import Redis, RedisCluster
from support.valkey import Cluster, Front, Valkey, Watched
from support.waiting import PATIENCE

from asgi_jwt.errors import ConfigurationError, StoreUnavailable
from asgi_jwt.sessions.rotation import open_session
from asgi_jwt.stores.base import Change
from asgi_jwt.stores.records import Revocation, Session, SessionKey
from asgi_jwt.stores.redis import RedisStore
from asgi_jwt.testing import StoreConformance

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000_000
DAY = 86_400_000
KEY = SessionKey("alice", "s1")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class TestOneServer(StoreConformance):
    @pytest.fixture(autouse=True)
    def _server(self, valkey: Valkey) -> None:
        self.url = f"{valkey.url}?prefix={uuid4().hex}:&timeout={PATIENCE:g}"

    @asynccontextmanager
    async def open_store(self) -> AsyncIterator[RedisStore]:
        store = RedisStore.from_url(self.url)
        try:
            yield store
        finally:
            await store.aclose()


class TestCluster(TestOneServer):
    @pytest.fixture(autouse=True)
    def _server(self, cluster: Cluster) -> None:
        self.url = f"{cluster.url}?prefix={uuid4().hex}:&timeout={PATIENCE:g}"


def a_session(key: SessionKey) -> Session:
    return open_session(key.subject, key.sid, now=NOW, refresh_ttl=DAY, session_ttl=DAY)


def put(session: Session) -> Change[None]:
    return lambda _: (session, None)


async def works(store: RedisStore, key: SessionKey = KEY) -> None:
    """The store writes, reads, lists and deletes."""
    await store.update(key, put(a_session(key)))
    found = await store.get(key)
    assert found is not None
    assert found.version == 1
    assert list(await store.list(key.subject, NOW)) == [found]
    await store.update(key, lambda _: (None, None))
    assert await store.get(key) is None


async def keeps_a_log(store: RedisStore) -> None:
    """The store appends revocations and reads them, and goes on from there."""
    revocation = Revocation("sid", "https://issuer.example", "s1", NOW + DAY)
    await store.append_revocations([revocation], NOW)
    page = await store.read_revocations()
    assert list(page.revocations) == [revocation]
    assert (await store.read_revocations(page.cursor)).continues


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("decode", [False, True])
async def test_any_client_will_do(valkey: Valkey, protocol: int, decode: bool) -> None:
    """A client that was handed in may decode or not and speak either protocol, and stays open when the store closes."""
    async with Redis(port=valkey.port, protocol=protocol, decode_responses=decode) as client:
        store = RedisStore(client, prefix=f"{uuid4().hex}:")
        await works(store)
        await keeps_a_log(store)
        await store.aclose()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.get(KEY)
        assert await client.ping()


@pytest.mark.parametrize("decode", [False, True])
async def test_any_cluster_client_will_do(cluster: Cluster, decode: bool) -> None:
    """The same goes for a cluster's client."""
    async with RedisCluster("127.0.0.1", cluster.nodes[0].port, decode_responses=decode) as client:
        store = RedisStore(client, prefix=f"{uuid4().hex}:")
        for n in range(10):
            await works(store, SessionKey(f"subject-{n}", "s1"))
        await keeps_a_log(store)
        await store.aclose()
        assert await client.ping()


def test_a_cluster_client_belongs_to_one_event_loop(cluster: Cluster) -> None:
    """A second event loop is told so, and what to give instead, rather than that the cluster is out of reach."""
    store = RedisStore(RedisCluster("127.0.0.1", cluster.nodes[0].port), prefix=f"{uuid4().hex}:", timeout=PATIENCE)

    async def use() -> None:
        await store.get(SessionKey("alice", "s1"))

    asyncio.run(use())
    with pytest.raises(ConfigurationError, match=r"several event loops.*redis\+cluster://"):
        asyncio.run(use())


def test_other_clients_serve_every_event_loop(valkey: Valkey, watched: Watched) -> None:
    """A client of one server, and one that Sentinel leads to, are dialled anew by each event loop."""
    sentinel: Any = import_module("redis.asyncio.sentinel").Sentinel([("127.0.0.1", watched.sentinel.port)])
    for client in (Redis.from_url(valkey.url), sentinel.master_for("sessions")):
        store = RedisStore(client, prefix=f"{uuid4().hex}:", timeout=PATIENCE)
        for _ in range(2):
            asyncio.run(works(store))


async def test_sentinel_leads_to_the_master(watched: Watched) -> None:
    """By URL or with a client of the host's own, what Sentinel leads to is the master."""
    store = RedisStore.from_url(watched.url)
    await works(store)
    await store.aclose()
    sentinel: Any = import_module("redis.asyncio.sentinel").Sentinel([("127.0.0.1", watched.sentinel.port)])
    async with sentinel, sentinel.master_for("sessions", decode_responses=True) as client:
        await works(RedisStore(client))


async def test_database_and_prefix_of_the_url(valkey: Valkey) -> None:
    """The records are in the database that the URL names, under the prefix that it gives, or asgi-jwt:."""
    for query, prefix in (("", "asgi-jwt:"), ("?prefix=other:", "other:")):
        store = RedisStore.from_url(f"{valkey.url}/3{query}")
        await store.update(KEY, put(a_session(KEY)))
        async with Redis(port=valkey.port, db=3) as client:
            assert len(await client.keys(f"{prefix}*")) == 2
        await store.update(KEY, lambda _: (None, None))
        await store.aclose()


async def test_database_as_a_parameter(valkey: Valkey) -> None:
    """A database that is named by `?db=` is the one that is used."""
    store = RedisStore.from_url(f"{valkey.url}?db=4&prefix={(prefix := uuid4().hex)}:")
    await store.update(KEY, put(a_session(KEY)))
    async with Redis(port=valkey.port, db=4) as client:
        assert len(await client.keys(f"{prefix}:*")) == 2
    await store.aclose()


async def test_socket_in_the_file_system(tmp_path: Path) -> None:
    """unix:// leads to the server behind that socket, in the database that it names."""
    path = Path(mkdtemp(dir="/tmp")) / "s"  # a socket's path may have 107 characters
    server = Valkey(tmp_path / "valkey", "--unixsocket", str(path))
    try:
        store = RedisStore.from_url(f"unix://{path}?db=1&timeout=5")
        await works(store)
        await keeps_a_log(store)
        assert server.ask("INFO", "keyspace").keys() == {"db1"}
        await store.aclose()
    finally:
        server.stop()


async def test_nothing_opens_before_use(valkey: Valkey) -> None:
    """Making a store and closing it unused touches no server; using it does."""
    async with Front(valkey) as address:
        unused = RedisStore.from_url(f"redis://127.0.0.1:{address.port}")
        await unused.aclose()
        assert address.accepted == 0
        used = RedisStore.from_url(f"redis://127.0.0.1:{address.port}")
        await used.get(KEY)
        await used.aclose()
        assert address.accepted == 1


async def test_callers_at_once_share_connections(valkey: Valkey) -> None:
    """Hundreds of callers at once get along with a handful of connections."""
    async with Front(valkey) as address:
        store = RedisStore.from_url(f"redis://127.0.0.1:{address.port}?prefix={uuid4().hex}:&timeout={PATIENCE:g}")
        await asyncio.gather(*(works(store, SessionKey(f"subject-{n}", "s1")) for n in range(500)))
        await store.aclose()
        assert address.accepted <= 8


def certificate(home: Path) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for 127.0.0.1, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = home / "certificate.pem", home / "key.pem"
    public.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(public, private)
    return public, context


async def test_tls_verifies_the_server(valkey: Valkey, tmp_path: Path) -> None:
    """rediss:// goes over TLS to a server whose certificate the given authority signed, and to no other."""
    trusted, context = certificate(tmp_path)
    async with Front(valkey, context) as address:
        url = f"rediss://127.0.0.1:{address.port}?prefix={uuid4().hex}:&timeout={PATIENCE:g}"
        store = RedisStore.from_url(f"{url}&ssl_ca_certs={trusted}")
        await works(store)
        await store.aclose()
        stranger = RedisStore.from_url(url)
        with pytest.raises(StoreUnavailable, match="certificate verify failed"):
            await stranger.get(KEY)
        await stranger.aclose()


@pytest.mark.parametrize("form", ["rediss://{}", "rediss+sentinel://{}/sessions"])
async def test_tls_without_a_known_authority(valkey: Valkey, tmp_path: Path, form: str) -> None:
    """`?ssl_cert_reqs=none` takes any certificate, for the server as for the Sentinels."""
    _, context = certificate(tmp_path)
    async with Front(valkey, context) as address:
        url = form.format(f"127.0.0.1:{address.port}")
        store = RedisStore.from_url(f"{url}?ssl_cert_reqs=none&prefix={uuid4().hex}:&timeout={PATIENCE:g}")
        if "sentinel" in form:
            with pytest.raises(StoreUnavailable, match="ResponseError"):
                await store.get(KEY)
        else:
            await works(store)
        await store.aclose()
    assert address.accepted > 0


@pytest.mark.parametrize("connections", [1, 2, 4])
async def test_small_pool_makes_callers_wait(valkey: Valkey, connections: int) -> None:
    """A client that wants few connections is given few, two at the least, and no caller fails for that."""
    before = valkey.clients()
    async with Redis(port=valkey.port, max_connections=connections) as client:
        store = RedisStore(client, prefix=f"{uuid4().hex}:")
        asking = [works(store, SessionKey(f"subject-{n}", "s1")) for n in range(300)]
        await asyncio.gather(*asking, *(keeps_a_log(store) for _ in range(1)))
        assert valkey.clients() - before <= max(2, connections)
        await store.aclose()


async def test_small_pool_of_a_cluster_makes_callers_wait(cluster: Cluster) -> None:
    """A cluster's client that allows few connections a node fails no caller, also where the host uses them too."""
    async with RedisCluster("127.0.0.1", cluster.nodes[0].port, max_connections=2) as client:
        store = RedisStore(client, prefix=f"{uuid4().hex}:")
        await client.initialize()
        taken = [node.acquire_connection() for node in client.get_primaries()]
        taken += [node.acquire_connection() for node in client.get_primaries()]
        asking = asyncio.gather(*(works(store, SessionKey(f"subject-{n}", "s1")) for n in range(100)))
        for _ in range(100):  # turns of the event loop, in which commands find no connection free
            await asyncio.sleep(0)
        for node, connection in zip(2 * client.get_primaries(), taken, strict=True):
            node.release(connection)
        await asking
        await store.aclose()


async def test_lone_server_is_no_cluster(valkey: Valkey) -> None:
    """A cluster's URL that leads to a lone server says what is wrong."""
    store = RedisStore.from_url(f"redis+cluster://{valkey.address}")
    with pytest.raises(StoreUnavailable, match="Cluster mode is not enabled"):
        await store.get(KEY)
    await store.aclose()


async def test_least_rights_suffice(own_valkey: Valkey) -> None:
    """A user with the rights that the docstring names, on the prefix alone, is enough."""
    rights = re.findall(r"\+[a-z@|]+", RedisStore.__doc__ or "")
    assert len(rights) > 10
    own_valkey.ask("ACL", "SETUSER", "app", "on", ">secret", "~asgi-jwt:*", *rights)
    # An entry that has lapsed, so that the log forgets one.
    own_valkey.ask("XADD", "asgi-jwt:revocations", "1-0", "u", 0, "r", "[]")
    store = RedisStore.from_url(f"redis://app:secret@{own_valkey.address}")
    await works(store)
    await keeps_a_log(store)
    await store.aclose()


@pytest.mark.parametrize(
    ("form", "told"),
    [("rediss+sentinel://{}/sessions", "No master found"), ("rediss+cluster://{}", "certificate verify failed")],
)
async def test_tls_of_sentinels_and_clusters(valkey: Valkey, tmp_path: Path, form: str, told: str) -> None:
    """The TLS forms of the other URLs verify as well: a server that a stranger vouches for is sent nothing."""
    _, context = certificate(tmp_path)
    async with Front(valkey, context) as address:
        store = RedisStore.from_url(form.format(f"127.0.0.1:{address.port}"))
        with pytest.raises(StoreUnavailable, match=told):
            await store.get(KEY)
        await store.aclose()
    assert address.accepted == 0


async def test_cancelled_callers_leave_no_answer_behind(valkey: Valkey) -> None:
    """However many callers go away while their commands are under way, each of the others has the answer to his own."""
    store = RedisStore.from_url(f"{valkey.url}?prefix={uuid4().hex}:&timeout={PATIENCE:g}")
    await cancel_and_look(store)
    await store.aclose()


async def test_cancelled_callers_leave_no_answer_behind_in_a_cluster(cluster: Cluster) -> None:
    """The same goes for a cluster."""
    store = RedisStore.from_url(f"{cluster.url}?prefix={uuid4().hex}:&timeout={PATIENCE:g}")
    await cancel_and_look(store)
    await store.aclose()


async def cancel_and_look(store: RedisStore) -> None:
    """Each record names its key in `client_id`, so that an answer gone astray shows."""
    keys = [SessionKey(f"subject-{n}", f"s{n}") for n in range(20)]
    for key in keys:
        await store.update(key, put(replace(a_session(key), client_id=key.sid)))
    for turns in range(40):
        calls = [asyncio.create_task(store.get(key)) for key in keys]
        for _ in range(turns % 8):
            await asyncio.sleep(0)
        leaving = [call for n, call in enumerate(calls) if n % 2 == turns % 2]
        for call in leaving:
            call.cancel()
        found = await asyncio.gather(*calls, return_exceptions=True)
        for key, call, answer in zip(keys, calls, found, strict=True):
            if call not in leaving:
                assert isinstance(answer, Session)
            if not isinstance(answer, asyncio.CancelledError):
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
