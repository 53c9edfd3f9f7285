"""Sends commands to one server, to the master that Sentinel names, or to a cluster, by redis-py's public clients."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from functools import partial
from typing import Any

import redis
from redis.asyncio import Connection, ConnectionPool, Redis, RedisCluster, SSLConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE
from redis.exceptions import MaxConnectionsError, RedisClusterException, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.redis.faults import explained, is_demoted
from asgi_jwt.stores.redis.pipeline import Answer, Command, Confirmed, Wire
from asgi_jwt.stores.redis.sentinel import Address, Master
from asgi_jwt.stores.redis.url import RedisURL

_Sentinel: Any = Sentinel  # redis-py has no types for it

Source = Redis | RedisCluster | RedisURL
"""The servers of a store: a client of the host, or a URL."""

CONNECTIONS = 8
"""The most connections to one server. One of them is for the log. A host's client may set a lower limit, 2 at least."""

_COMMANDS_AN_EXCHANGE = 128
_COMMANDS_A_NODE = 64
_FREE_CONNECTION_POLL = 0.005
"""How often (s) a command tries again while the host's own commands use all connections."""

_SENT_ONCE: dict[str, Any] = {
    "retry": Retry(NoBackoff(), 0),
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),
}
_AS_BYTES: dict[str, Any] = {NEVER_DECODE: True}


def connect(source: Source, timeout: float, *, for_log: bool) -> Wire:
    """A wire for the sessions or for the log. The log has its own, so its reads never wait for sessions' traffic."""
    if isinstance(source, RedisCluster):
        return ClusterWire(source, timeout, for_log=for_log)
    if not isinstance(source, RedisURL):
        pool: Any = source.connection_pool
        by_sentinel = isinstance(pool, SentinelConnectionPool)
        master = Master(pool.sentinel_manager, pool.service_name) if by_sentinel else None
        return PoolWire(_pools_like(pool), timeout, master, for_log=for_log)
    if source.topology == "cluster":
        cluster = _cluster(source)
        return ClusterWire(cluster, timeout, cluster, for_log=for_log)
    pool = ConnectionPool.from_url(source.url, **_options(source))
    if source.service is None:
        return PoolWire(_pools_like(pool), timeout, for_log=for_log)
    sentinel = _sentinel(source, pool.connection_kwargs)
    return PoolWire(_pools_like(pool), timeout, Master(sentinel, source.service), sentinel, for_log=for_log)


def _options(address: RedisURL) -> dict[str, Any]:
    # A wire has a timeout of its own. A `socket_timeout` would cost a task for each write.
    return {"protocol": 3, "socket_connect_timeout": address.timeout, "socket_timeout": None, **_SENT_ONCE}


def _cluster(address: RedisURL) -> RedisCluster:
    others = [ClusterNode(host, port) for host, port in address.hosts[1:]]
    options = _options(address) | {"socket_timeout": address.timeout, "require_full_coverage": False}
    return RedisCluster.from_url(address.url, startup_nodes=others, **options)


def _sentinel(address: RedisURL, server: dict[str, Any]) -> Sentinel:
    """`server` are the options of connections to the master. Those of TLS hold for the Sentinels, too."""
    timeout = address.timeout / 4  # an answer that they have to confirm may wait for two questions
    options = {
        "username": address.sentinel_username,
        "password": address.sentinel_password,
        "protocol": server["protocol"],
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "ssl": address.url.startswith("rediss:"),
    }
    tls = {name: value for name, value in server.items() if name.startswith("ssl_")}
    sentinel: Sentinel = _Sentinel(address.hosts, sentinel_kwargs=options | tls | _SENT_ONCE)
    return sentinel


def _pools_like(pool: ConnectionPool) -> Callable[..., ConnectionPool]:
    """Makes pools that connect as `pool` does, but send each command only once. A `host` and `port` may be given."""
    kind, options = pool.connection_class, pool.connection_kwargs | _SENT_ONCE | {"socket_timeout": None}
    if options.pop("connection_pool", None) is not None:  # by Sentinel
        kind = SSLConnection if issubclass(kind, SSLConnection) else Connection
    return partial(ConnectionPool, connection_class=kind, max_connections=pool.max_connections, **options)


class PoolWire:
    """A wire to one server, or to the master that Sentinel names. It sends several commands in one write.

    `make` makes a pool whose connections send each command only once, to a `host` and `port` if they are given. With
    `master` they are those that the Sentinels name. `owned` is closed with the wire.
    """

    capacity = _COMMANDS_AN_EXCHANGE

    def __init__(
        self,
        make: Callable[..., ConnectionPool],
        timeout: float,
        master: Master | None = None,
        owned: Sentinel | None = None,
        *,
        for_log: bool,
    ) -> None:
        self._make = make
        self._timeout = timeout
        self._owned = owned
        self._client = Redis.from_pool(make())  # with `master` it is never used, for it has no address
        self._master = master
        self._address: Address | None = None
        connections = min(CONNECTIONS, self._client.connection_pool.max_connections)
        self.turn: AbstractAsyncContextManager[object] = asyncio.Semaphore(1 if for_log else max(1, connections - 1))

    async def exchange(self, commands: Sequence[Command]) -> Sequence[Answer]:
        """The answers to `commands`. Each command is sent only once, because the pool's connections don't retry."""
        client = self._client
        try:
            async with asyncio.timeout(self._timeout):
                client = await self._client_of_master()
                address = self._address
                answers = await _answers(client, commands)
                answers = await _confirmed(self._master, address, commands, answers)
            complaints = [answer for answer in answers if isinstance(answer, ResponseError)]
            for complaint in filter(is_demoted, complaints):
                raise complaint
        except BaseException:
            await self._reconnect(client)
            raise
        if not complaints:
            return answers
        return [explained(answer) if isinstance(answer, ResponseError) else answer for answer in answers]

    def translate(self, error: Exception) -> StoreUnavailable:
        return explained(error)

    async def aclose(self) -> None:
        for client in (self._client, self._owned):
            if client is not None:
                with suppress(redis.RedisError, OSError):
                    await client.aclose()

    async def _client_of_master(self) -> Redis:
        if self._master is not None:
            address = await self._master.address()
            if address != self._address:
                self._address = address
                await self._reconnect(self._client)
        return self._client

    async def _reconnect(self, client: Redis) -> None:
        """Use new connections from now on, because all of the client's may lead to one dead or demoted server.

        Running exchanges end on their connections.
        """
        if client is self._client:
            if self._master is not None:
                self._master.doubt()
            self._client = Redis.from_pool(self._make(**(self._address._asdict() if self._address else {})))
            pool: Any = client.connection_pool
            with suppress(redis.RedisError, OSError):
                await pool.update_active_connections_for_reconnect()
                await pool.disconnect(inuse_connections=False)


async def _confirmed(
    master: Master | None, address: Address | None, commands: Sequence[Command], answers: list[Answer]
) -> list[Answer]:
    """The answers, where the Sentinels confirm those of `Confirmed` commands, and those that found nothing.

    A session that an old master does not have may be at the new one. Raises ConnectionError if the master has moved.
    """
    to_confirm = [
        each is None or isinstance(command, Confirmed) for command, each in zip(commands, answers, strict=True)
    ]
    if master is None or not any(to_confirm):
        return answers
    named = await master.confirmed()
    if named is None:
        unconfirmed = StoreUnavailable("no Sentinel confirms the master")
        return [unconfirmed if needed else each for needed, each in zip(to_confirm, answers, strict=True)]
    if named != address:
        raise redis.ConnectionError("the Sentinels name another master by now")
    return answers


async def _answers(client: Any, commands: Sequence[Command]) -> list[Answer]:
    """The server's answers. A ResponseError is an answer, too."""
    if len(commands) == 1:  # a pipeline with one command costs half as much again
        try:
            return [await client.execute_command(*commands[0], **_AS_BYTES)]
        except ResponseError as complaint:
            return [complaint]
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command, **_AS_BYTES)
    answers: list[Answer] = await pipeline.execute(raise_on_error=False)
    return answers


class ClusterWire:
    """A wire to a cluster. It sends each command by itself, so that a node that stalls delays only its own slots."""

    capacity = 1
    turn: AbstractAsyncContextManager[object] = nullcontext()

    def __init__(
        self, client: RedisCluster, timeout: float, owned: RedisCluster | None = None, *, for_log: bool
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._owned = owned
        self._commands_a_node = 1 if for_log else _COMMANDS_A_NODE
        self._room: dict[str, asyncio.Semaphore] = {}

    async def exchange(self, commands: Sequence[Command]) -> Sequence[Answer]:
        """The answer of the node that has the command's key. The client follows redirections, and sends only once."""
        (command,) = commands
        key: Any = command[3] if command[0] in {"EVAL", "EVALSHA"} else command[1]
        # The client may ask a stalled node for the cluster's layout before it asks another, hence twice the timeout.
        async with asyncio.timeout(2 * self._timeout):
            try:
                await self._client.initialize()
                node: Any = self._client.get_node_from_key(key)
            except RedisClusterException as error:  # unlike the errors of commands, this text quotes no command
                raise redis.ConnectionError(str(error)) from error
            async with self._room_of(node):
                return [await self._answer(command, node)]

    def translate(self, error: Exception) -> StoreUnavailable:
        return explained(error)

    async def aclose(self) -> None:
        if self._owned is not None:
            with suppress(redis.RedisError, OSError):
                await self._owned.aclose()

    def _room_of(self, node: ClusterNode) -> asyncio.Semaphore:
        if node.name not in self._room:
            self._room[node.name] = asyncio.Semaphore(min(self._commands_a_node, node.max_connections))
        return self._room[node.name]

    async def _answer(self, command: Command, node: ClusterNode) -> Answer:
        while True:
            try:
                return await self._client.execute_command(*command, target_nodes=node, **_AS_BYTES)
            except MaxConnectionsError:  # the host's own commands use all connections, and nothing was sent
                await asyncio.sleep(_FREE_CONNECTION_POLL)
