"""Users on several processes that are killed at random, with clocks an hour apart and stores that stall or fail over.

    PYTHONPATH=tests python -m faults.endurance sqlite|valkey|sentinel|cluster [PROCESSES [SECONDS [SEED]]]

It ends with 0 when no invariant broke: one ROTATED a generation, no session revived, no access token taken of a session
that ended, no user logged out. What rests on a write that a failover's asynchronous replication lost, as the servers'
own histories show, is counted apart: an end counts again once its process had the time to put it back.
"""

import asyncio
import base64
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, Self

import redis
from faults.lineage import Lineage, Place
from support.valkey import Cluster, Valkey, Watched

import asgi_jwt

SCRIPT = Path(__file__).with_name("enduring_process.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(asgi_jwt.__file__).parents[1])}
HOUR = 3600
SKEWS = (0, 0, HOUR, -HOUR)

DEVICES = 24
NOTICED = 3.0
"""Seconds in which every process has read of an end: the interval, and what a busy machine takes."""

PUT_BACK = 5.0
"""Seconds in which a process that lives puts back what a failover lost of its entries."""

MET = 1.0
"""Seconds from a promoted master's first command to when it is known here."""


def payload(token: str) -> Any:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


LATEST: deque[tuple[int, list[Any], list[list[Any]]]] = deque(maxlen=500)
"""The latest operations: the process, the outcome, and which server answered each of its commands what, and where."""


class Write(NamedTuple):
    """A write that a store has acknowledged: what process made it, and where the master put it."""

    process: "Process"
    place: Place


class Process:
    """One process under test; a request that it does not live to answer is answered `killed`."""

    @classmethod
    async def started(cls, url: str, skew: int, lineage: Lineage) -> Self:
        pipe = asyncio.subprocess.PIPE
        command = sys.executable, str(SCRIPT), url, str(skew)
        return cls(
            await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=ENVIRONMENT, limit=2**20),
            lineage,
        )

    def __init__(self, process: asyncio.subprocess.Process, lineage: Lineage) -> None:
        self.process = process
        self.lineage = lineage
        self.killed_at = inf
        self.numbers = count()
        self.asked: dict[int, tuple[asyncio.Future[list[Any]], list[Write]]] = {}
        self.reading = asyncio.create_task(self.read())

    async def read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            number, told, seen, *outcome = json.loads(line)
            future, writes = self.asked.pop(number)
            LATEST.append((self.process.pid, outcome, seen))
            for each in told:
                self.lineage.note(each, time.monotonic())
                writes.append(Write(self, Place(each["master_replid"], each["master_repl_offset"])))
            future.set_result(outcome)
        for future, _ in self.asked.values():
            future.set_result(["killed"])
        self.asked.clear()

    async def ask(self, writes: list[Write], *request: str) -> list[Any]:
        """The outcome; to `writes` go those that the store acknowledged."""
        if self.reading.done():
            return ["killed"]
        assert self.process.stdin is not None
        number = next(self.numbers)
        future = asyncio.get_running_loop().create_future()
        self.asked[number] = future, writes
        self.process.stdin.write(json.dumps([number, *request]).encode() + b"\n")
        return await asyncio.wait_for(future, 60)

    async def kill(self) -> None:
        self.killed_at = time.monotonic()
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self.reading


@dataclass
class Device:
    """A user's device: the tokens that it holds, and what was written of its session."""

    subject: str
    sid: str = ""
    access: str = ""
    refresh: str = ""
    writes: list[Write] = field(default_factory=list)
    ending: bool = False
    """Whether it was to be logged out, and nobody knows if it was: its process was killed, or its store stalled."""


@dataclass
class Breach:
    """An invariant that broke, and the writes that it rests on."""

    what: str
    at: float
    writes: Sequence[Write]
    is_end: bool
    latest: Sequence[object]

    def lost_at(self, lineage: Lineage) -> float:
        """When one of the writes was lost, for good as far as anybody knew."""
        lost = ((lineage.lost_at(write.place), write.process) for write in self.writes)
        return min((at for at, process in lost if not self.is_end or process.killed_at < at + PUT_BACK), default=inf)


@dataclass
class World:
    """All that is known of what has to hold, and what did not."""

    url: str
    chance: random.Random
    lineage: Lineage = field(default_factory=Lineage)
    processes: list[Process] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    rotated: dict[tuple[str, int], list[Write]] = field(default_factory=dict)
    ended: dict[str, tuple[float, Device]] = field(default_factory=dict)
    breaches: list[Breach] = field(default_factory=list)

    def any_process(self) -> Process:
        return self.chance.choice(self.processes)

    async def start_process(self) -> Process:
        return await Process.started(self.url, self.chance.choice(SKEWS), self.lineage)

    def breaks(self, what: str, writes: Sequence[Write], *, is_end: bool = False) -> None:
        self.breaches.append(Breach(what, time.monotonic(), [*writes], is_end, [*LATEST]))

    def was_lost(self, breach: Breach) -> bool:
        return breach.lost_at(self.lineage) <= breach.at + MET

    @property
    def broken(self) -> list[str]:
        """What broke that no replication lost."""
        return [breach.what for breach in self.unexplained]

    @property
    def unexplained(self) -> list[Breach]:
        return [breach for breach in self.breaches if not self.was_lost(breach)]

    @property
    def lost(self) -> Counter[str]:
        """What broke because replication lost a write that it rests on."""
        return Counter(breach.what for breach in self.breaches if self.was_lost(breach))

    async def log_in(self, device: Device) -> None:
        while True:
            device.writes = []
            outcome = await self.any_process().ask(device.writes, "open", device.subject)
            if outcome[0] == "done":
                device.access, device.refresh = outcome[2:]
                device.sid, device.ending = payload(device.access)["sid"], False
                return
            await asyncio.sleep(0.05)

    async def refresh(self, device: Device) -> None:
        """One tab, or two at once, in any processes. As a browser does, the device keeps what came last."""
        presented = device.refresh
        tabs: list[list[Write]] = [[] for _ in range(self.chance.choice((1, 1, 2)))]
        asked = [self.any_process().ask(writes, "refresh", presented) for writes in tabs]
        outcomes = await asyncio.gather(*asked)
        device.writes += chain.from_iterable(tabs)
        for outcome, writes in zip(outcomes, tabs, strict=True):
            self.outcomes[" ".join(str(part) for part in outcome[:2])] += 1
            if outcome[0] == "refused":
                if not device.ending:
                    # Of a session that is unknown the very login was lost.
                    known = any("TokenReused" in each for each in outcomes)
                    writes = device.writes if known else device.writes[:1]
                    self.breaks(f"a user was logged out: {outcome[1]}", writes)
                device.sid = ""
            elif outcome[0] == "done":
                device.access, device.refresh = outcome[2:]
                if outcome[1] == "ROTATED":
                    self.note_rotation(device.sid, payload(presented)["gen"], writes)
        if device.sid == "":
            await self.log_in(device)

    def note_rotation(self, sid: str, generation: int, writes: list[Write]) -> None:
        if (sid, generation) in self.rotated:
            self.breaks("one generation has ROTATED twice", self.rotated[sid, generation] + writes)
        self.rotated[sid, generation] = writes

    async def log_out(self, device: Device) -> None:
        device.ending = True
        writes: list[Write] = []
        outcome = await self.any_process().ask(writes, "end", device.subject, device.sid)
        self.outcomes[f"end {outcome[0]}"] += 1
        if outcome[0] == "done":
            ended = Device(device.subject, device.sid, device.access, device.refresh, writes)
            self.ended[device.sid] = time.monotonic(), ended
            await self.log_in(device)

    async def look_back(self) -> None:
        """Whether a session that ended a while ago is refused everywhere."""
        old = [each for at, each in self.ended.values() if time.monotonic() - at > NOTICED]
        if old:
            device = self.chance.choice(old)
            taken = await self.any_process().ask([], "verify", device.access)
            revived = await self.any_process().ask([], "refresh", device.refresh)
            self.outcomes[f"ended: {taken[0]}, {revived[0]}"] += 1
            if taken[0] == "done":
                self.breaks("a revoked token was taken", device.writes, is_end=True)
            if revived[0] == "done":
                self.breaks("a session was revived", device.writes, is_end=True)
                self.ended.pop(device.sid, None)

    async def live(self, device: Device, end: float) -> None:
        await self.log_in(device)
        while time.monotonic() < end:
            await asyncio.sleep(self.chance.uniform(0.05, 0.6))
            turn = self.chance.random()
            if turn < 0.08:
                await self.log_out(device)
            elif turn < 0.25:
                await self.look_back()
            else:
                await self.refresh(device)

    async def kill_some(self, end: float) -> None:
        while time.monotonic() < end:
            await asyncio.sleep(self.chance.uniform(0.5, 3))
            number = self.chance.randrange(len(self.processes))
            await self.processes[number].kill()
            self.processes[number] = await self.start_process()


@asynccontextmanager
async def a_store(kind: str, home: Path) -> AsyncIterator[tuple[str, Any]]:
    """The URL of a store, and its servers."""
    if kind == "sqlite":
        yield f"sqlite:///{home / 'sessions.db'}", None
        return
    servers: Any = await asyncio.to_thread({"valkey": Valkey, "sentinel": Watched, "cluster": Cluster}[kind], home)
    try:
        yield servers.url, servers
    finally:
        servers.stop()


def stall(server: Valkey) -> None:
    server.pause()
    time.sleep(0.5)
    server.resume()


async def trouble_now_and_then(trouble: Callable[[], None], world: World, end: float) -> None:
    while time.monotonic() < end - 10:
        await asyncio.sleep(world.chance.uniform(6, 10))
        await asyncio.to_thread(trouble)


async def follow(servers: Sequence[Valkey], lineage: Lineage, end: float) -> None:
    """Learn of each server that becomes a master, by whatever failover."""
    while time.monotonic() < end:
        for server in servers:
            with suppress(redis.RedisError, OSError):
                lineage.note(await asyncio.to_thread(server.ask, "INFO", "replication"), time.monotonic())
        await asyncio.sleep(0.05)


async def endure(kind: str, processes: int, seconds: float, seed: int) -> World:
    """What became of a store's users in this time."""
    with tempfile.TemporaryDirectory() as home:
        async with a_store(kind, Path(home)) as (url, servers):
            world = World(url, random.Random(seed))  # noqa: S311 (a seed makes a run again)
            world.processes += await asyncio.gather(*(world.start_process() for _ in range(processes)))
            end = time.monotonic() + seconds
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(world.kill_some(end))
                    if kind == "sentinel":
                        tasks.create_task(follow([servers.master, servers.replica], world.lineage, end))
                        tasks.create_task(trouble_now_and_then(servers.switch, world, end))
                    elif kind != "sqlite":
                        server = servers.nodes[0] if kind == "cluster" else servers
                        tasks.create_task(trouble_now_and_then(partial(stall, server), world, end))
                    for n in range(DEVICES):
                        tasks.create_task(world.live(Device(f"user-{n}"), end))
            finally:
                await asyncio.gather(*(process.kill() for process in world.processes))
    return world


def main(kind: str, processes: int = 4, seconds: float = 600, seed: int = 1) -> int:
    world = asyncio.run(endure(kind, processes, seconds, seed))
    told = (
        f"{kind}, {processes} processes, {seconds:g} s, seed {seed}, {len(world.lineage.parents)} failovers",
        f"outcomes: {dict(world.outcomes.most_common())}",
        f"lost by replication: {dict(world.lost)}",
        f"broken: {world.broken or 'nothing'}",
    )
    evidence = (f"{breach.at} {breach.what}: {breach.writes}" for breach in world.unexplained)
    latest = (str(each) for breach in world.unexplained[:1] for each in breach.latest)
    sys.stdout.write("\n".join((*told, *evidence, *latest)) + "\n")
    return 1 if world.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
