"""Sessions and revocations in Redis or Valkey: one server, Sentinel or Cluster, through redis-py's asyncio clients."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Any
from weakref import WeakKeyDictionary

import redis
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE
from redis.exceptions import MasterDownError, NoScriptError, ReadOnlyError, RedisClusterException, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from asgi_jwt.errors import ConfigurationError, StoreUnavailable
from asgi_jwt.stores.redis.pipeline import Answer, Command, Disconnected, UnknownScript, Wire
from asgi_jwt.stores.redis.store import SwapStore
from asgi_jwt.stores.redis.url import PREFIX, TIMEOUT, RedisURL, check_prefix, check_timeout, parse_redis_url

_Sentinel: Any = Sentinel  # which has no types
_PIPELINES = 8
_COMMANDS_A_PIPELINE = 128
_COMMANDS_A_NODE = 64


class RedisStore(SwapStore):
    """Keeps sessions in Redis (6.2 and later) or Valkey, for any number of processes on any number of machines.

    `client` is a ready `redis.asyncio` client: Redis, what `Sentinel.master_for` gives, or RedisCluster. It remains its
    owner's to close, and its retries and `decode_responses` don't matter. Given a RedisURL, the store has clients of
    its own for each event loop. `timeout` (seconds) bounds each exchange; a method takes twice that at the most.
    `prefix` stands before all keys. Raises ConfigurationError for a prefix with braces or a timeout that is not
    positive. Nothing is opened before the first use, and asyncio alone can use it.

    Its user needs `+get +mget +zrange +eval +evalsha`, what the scripts call (`+set +del +zadd +zrem +zremrangebyscore
    +pttl +pexpire +xadd +xrange +xdel`) and what connections need (`+@connection`, in a cluster `+cluster|slots
    +command`), on `~prefix*`. The server should run with `maxmemory-policy noeviction`: what it evicts is a session
    lost, or one that its subject's list lacks until the next refresh, or every revocation there is.
    """

    def __init__(
        self, client: Redis | RedisCluster | RedisURL, *, prefix: str = PREFIX, timeout: float = TIMEOUT
    ) -> None:
        try:
            check_prefix(prefix)
            check_timeout(timeout)
        except ValueError as fault:
            raise ConfigurationError(f"RedisStore: the prefix or timeout {fault}") from None
        super().__init__(lambda: _wire(client, timeout), prefix=prefix, timeout=2 * timeout)
        self._client = client

    @classmethod
    def from_url(cls, url: str) -> "RedisStore":
        """A store with clients of its own. `parse_redis_url` tells the URL's forms; raises ConfigurationError."""
        address = parse_redis_url(url)
        return cls(address, prefix=address.prefix, timeout=address.timeout)

    def __repr__(self) -> str:
        client = self._client
        return f"<RedisStore {client if isinstance(client, RedisURL) else type(client).__name__}>"


def _wire(client: Redis | RedisCluster | RedisURL, timeout: float) -> Wire:
    if isinstance(client, RedisURL):
        return _dial(client)
    if isinstance(client, RedisCluster):
        return _ClusterWire(client, timeout)
    return _PoolWire(client, timeout)


def _dial(address: RedisURL) -> Wire:
    """Clients that connect at their first command, and send nothing twice."""
    options: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "protocol": address.protocol,
        "socket_connect_timeout": address.timeout,
        "retry": Retry(NoBackoff(), 0),
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    if address.tls is not None:
        options |= {"ssl": True, **address.tls}
    if address.topology == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        options["socket_timeout"] = address.timeout
        cluster = RedisCluster(startup_nodes=nodes, require_full_coverage=False, **options)
        return _ClusterWire(cluster, address.timeout, cluster)
    # Our own timeout is around all that a pool's connections do; theirs costs a task for each write.
    options |= {"db": address.database, "socket_timeout": None}
    if address.topology == "standalone":
        ((host, port),) = address.hosts
        client = Redis(host=host, port=port, **options)
        return _PoolWire(client, address.timeout, client)
    patience = address.timeout / (len(address.hosts) + 1)  # so that the last Sentinel is asked in time
    own = {
        "username": address.sentinel_username,
        "password": address.sentinel_password,
        "db": 0,
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
    }
    sentinel = _Sentinel(address.hosts, sentinel_kwargs=options | own, **options)
    master = sentinel.master_for(address.service)
    return _PoolWire(master, address.timeout, master, sentinel)


class _RedisWire:
    """`owned` are the clients to close in the end."""

    def __init__(self, timeout: float, *owned: Redis | RedisCluster | Sentinel) -> None:
        self._timeout = timeout
        self._owned = owned

    def translate(self, error: Exception) -> StoreUnavailable:
        if isinstance(error, NoScriptError):
            return UnknownScript()
        if not isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError)):
            # A server's complaint may quote the command, and with it keys and records.
            return (Disconnected if isinstance(error, ReadOnlyError) else StoreUnavailable)(type(error).__name__)
        # What comes behind " : " is the settings of each Sentinel that was asked in vain.
        text = str(error).partition(" : ")[0]
        told = (Disconnected if isinstance(error, redis.ConnectionError) else StoreUnavailable)(
            f"{type(error).__name__}: {text}" if text else type(error).__name__
        )
        told.__cause__ = error
        return told

    async def aclose(self) -> None:
        for client in self._owned:
            with suppress(redis.RedisError, OSError):
                await client.aclose()


class _PoolWire(_RedisWire):
    """One server, or a service's master as Sentinel knows it: several commands in one write."""

    capacity = _COMMANDS_A_PIPELINE

    def __init__(self, client: Redis, timeout: float, *owned: Redis | Sentinel) -> None:
        super().__init__(timeout, *owned)
        self.turn: AbstractAsyncContextManager[object] = asyncio.Semaphore(_PIPELINES)
        self._pool: Any = client.connection_pool
        self._failures = 0
        self._dialled: WeakKeyDictionary[AbstractConnection, int] = WeakKeyDictionary()

    async def exchange(self, commands: Sequence[Command]) -> Sequence[Answer]:
        """Past the client's `execute_command`, which sends a script again when its answer is late."""
        connection: Any = None
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._pool.get_connection()
                if self._dialled.setdefault(connection, self._failures) != self._failures:
                    await connection.disconnect(nowait=True)
                    await connection.connect()
                    self._dialled[connection] = self._failures
                await connection.send_packed_command(connection.pack_commands(commands))
                return [await self._answer(connection) for _ in commands]
        except BaseException:
            # An answer still on its way would be taken for the next command's. The other connections may lead to the
            # same dead or demoted server: each is dialled anew before it is used again.
            self._failures += 1
            if connection is not None:
                self._dialled.pop(connection, None)
                await connection.disconnect(nowait=True)
            raise
        finally:
            if connection is not None:
                await self._pool.release(connection)

    async def _answer(self, connection: AbstractConnection) -> Answer:
        try:
            return await connection.read_response(disable_decoding=True)
        except (ReadOnlyError, MasterDownError):
            raise
        except ResponseError as error:
            if "READONLY" in str(error):  # as Redis before 7 says it from within a script
                raise ReadOnlyError(str(error)) from None
            return self.translate(error)


class _ClusterWire(_RedisWire):
    """A cluster: each command on its own, so that a node that stalls holds up its own slots alone."""

    capacity = 1
    turn: AbstractAsyncContextManager[object] = nullcontext()

    def __init__(self, client: RedisCluster, timeout: float, *owned: RedisCluster) -> None:
        super().__init__(timeout, *owned)
        self._client = client
        self._room: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_COMMANDS_A_NODE))

    async def exchange(self, commands: Sequence[Command]) -> Sequence[Answer]:
        """To the node that the command's key belongs to: the client then follows redirections, and sends only once."""
        (command,) = commands
        key: Any = command[3] if command[0] in {"EVAL", "EVALSHA"} else command[1]
        # Twice the time: a node that stalls is asked for the cluster's layout in vain before another is.
        async with asyncio.timeout(2 * self._timeout):
            try:
                await self._client.initialize()
                node: Any = self._client.get_node_from_key(key)
            except RedisClusterException as error:  # its text is of nodes and slots; those of commands quote them
                raise redis.ConnectionError(str(error)) from error
            async with self._room[node.name]:
                return [await self._client.execute_command(*command, target_nodes=node, **{NEVER_DECODE: True})]
