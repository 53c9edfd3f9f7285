"""Users on several processes that are killed at random, with clocks an hour apart and stores that stall or fail over.

    PYTHONPATH=tests python -m faults.endurance sqlite|valkey|sentinel|cluster [PROCESSES [SECONDS [SEED]]]

It ends with 0 when no invariant broke: one ROTATED a generation, no session revived, no access token taken of a session
that ended, no user logged out. What a failover's asynchronous replication may have lost is counted apart.
"""

import asyncio
import base64
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

from support.valkey import Cluster, Valkey, Watched

import asgi_jwt

SCRIPT = Path(__file__).with_name("enduring_process.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(asgi_jwt.__file__).parents[1])}
HOUR = 3600
SKEWS = (0, 0, HOUR, -HOUR)

DEVICES = 24
NOTICED = 3.0
"""Seconds in which every process has read of an end: the interval, and what a busy machine takes."""

REPLICATED = 3.0
"""Seconds around a failover in which a write may be lost: asynchronous replication, and the Sentinels' switch."""


def payload(token: str) -> Any:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


class Process:
    """One process under test; a request that it does not live to answer is answered `killed`."""

    @classmethod
    async def started(cls, url: str, skew: int) -> Self:
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, str(SCRIPT), url, str(skew), stdin=pipe, stdout=pipe, env=ENVIRONMENT, limit=2**20
            )
        )

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.numbers = count()
        self.asked: dict[int, asyncio.Future[list[Any]]] = {}
        self.reading = asyncio.create_task(self.read())

    async def read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            number, *outcome = json.loads(line)
            self.asked.pop(number).set_result(outcome)
        for future in self.asked.values():
            future.set_result(["killed"])
        self.asked.clear()

    async def ask(self, *request: str) -> list[Any]:
        if self.reading.done():
            return ["killed"]
        assert self.process.stdin is not None
        number = next(self.numbers)
        future = self.asked[number] = asyncio.get_running_loop().create_future()
        self.process.stdin.write(json.dumps([number, *request]).encode() + b"\n")
        return await asyncio.wait_for(future, 60)

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self.reading


@dataclass
class Device:
    """A user's device: the tokens that it holds, and when it last wrote to the store with success."""

    subject: str
    sid: str = ""
    access: str = ""
    refresh: str = ""
    wrote_at: float = 0
    ending: bool = False
    """Whether it was to be logged out, and nobody knows if it was: its process was killed, or its store stalled."""


@dataclass
class World:
    """All that is known of what has to hold, and what did not."""

    url: str
    processes: list[Process]
    chance: random.Random
    outcomes: Counter[str] = field(default_factory=Counter)
    rotated_at: dict[tuple[str, int], float] = field(default_factory=dict)
    ended: dict[str, tuple[float, Device]] = field(default_factory=dict)
    failovers: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)

    def any_process(self) -> Process:
        return self.chance.choice(self.processes)

    def breaks(self, what: str, wrote_at: float) -> None:
        """An invariant broke, unless a failover may have lost the write that it rests on."""
        if any(abs(wrote_at - failover) < REPLICATED for failover in self.failovers):
            self.lost[what] += 1
        else:
            self.broken.append(f"{what}, {time.monotonic() - wrote_at:.1f} s after its last write")

    async def log_in(self, device: Device) -> None:
        while True:
            outcome = await self.any_process().ask("open", device.subject)
            if outcome[0] == "done":
                device.access, device.refresh = outcome[2:]
                device.sid, device.wrote_at = payload(device.access)["sid"], time.monotonic()
                device.ending = False
                return
            await asyncio.sleep(0.05)

    async def refresh(self, device: Device) -> None:
        """One tab, or two at once, in any processes. As a browser does, the device keeps what came last."""
        presented = device.refresh
        asked = [self.any_process().ask("refresh", presented) for _ in range(self.chance.choice((1, 1, 2)))]
        for outcome in await asyncio.gather(*asked):
            self.outcomes[" ".join(str(part) for part in outcome[:2])] += 1
            if outcome[0] == "refused":
                if not device.ending:
                    self.breaks(f"a user was logged out: {outcome[1]}", device.wrote_at)
                device.sid = ""
            elif outcome[0] == "done":
                device.access, device.refresh, device.wrote_at = outcome[2], outcome[3], time.monotonic()
                if outcome[1] == "ROTATED":
                    self.note_rotation(device.sid, payload(presented)["gen"])
        if device.sid == "":
            await self.log_in(device)

    def note_rotation(self, sid: str, generation: int) -> None:
        if (sid, generation) in self.rotated_at:
            self.breaks("one generation has ROTATED twice", self.rotated_at[sid, generation])
        self.rotated_at[sid, generation] = time.monotonic()

    async def log_out(self, device: Device) -> None:
        device.ending = True
        outcome = await self.any_process().ask("end", device.subject, device.sid)
        self.outcomes[f"end {outcome[0]}"] += 1
        if outcome[0] == "done":
            now = time.monotonic()
            self.ended[device.sid] = now, Device(device.subject, device.sid, device.access, device.refresh, now)
            await self.log_in(device)

    async def look_back(self) -> None:
        """Whether a session that ended a while ago is refused everywhere."""
        old = [each for at, each in self.ended.values() if time.monotonic() - at > NOTICED]
        if old:
            device = self.chance.choice(old)
            taken = await self.any_process().ask("verify", device.access)
            revived = await self.any_process().ask("refresh", device.refresh)
            self.outcomes[f"ended: {taken[0]}, {revived[0]}"] += 1
            if taken[0] == "done":
                self.breaks("a revoked token was taken", device.wrote_at)
            if revived[0] == "done":
                self.breaks("a session was revived", device.wrote_at)
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
            self.processes[number] = await Process.started(self.url, self.chance.choice(SKEWS))


Trouble = Callable[[World], None]


@asynccontextmanager
async def a_store(kind: str, home: Path) -> AsyncIterator[tuple[str, Trouble | None]]:
    """The URL of a store, and what may befall it."""
    if kind == "sqlite":
        yield f"sqlite:///{home / 'sessions.db'}", None
        return
    servers: Any = await asyncio.to_thread({"valkey": Valkey, "sentinel": Watched, "cluster": Cluster}[kind], home)

    def stall(_: World) -> None:
        server = servers.nodes[0] if kind == "cluster" else servers
        server.pause()
        time.sleep(0.5)
        server.resume()

    def fail_over(world: World) -> None:
        world.failovers.append(time.monotonic())
        servers.switch()
        world.failovers.append(time.monotonic())

    try:
        yield servers.url, fail_over if kind == "sentinel" else stall
    finally:
        servers.stop()


async def trouble_now_and_then(trouble: Trouble, world: World, end: float) -> None:
    while time.monotonic() < end - 10:
        await asyncio.sleep(world.chance.uniform(6, 10))
        await asyncio.to_thread(trouble, world)


async def endure(kind: str, processes: int, seconds: float, seed: int) -> World:
    """What became of a store's users in this time."""
    with tempfile.TemporaryDirectory() as home:
        async with a_store(kind, Path(home)) as (url, trouble):
            chance = random.Random(seed)  # noqa: S311 (a seed makes a run again)
            started = [Process.started(url, chance.choice(SKEWS)) for _ in range(processes)]
            world = World(url, await asyncio.gather(*started), chance)
            end = time.monotonic() + seconds
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(world.kill_some(end))
                    if trouble is not None:
                        tasks.create_task(trouble_now_and_then(trouble, world, end))
                    for n in range(DEVICES):
                        tasks.create_task(world.live(Device(f"user-{n}"), end))
            finally:
                await asyncio.gather(*(process.kill() for process in world.processes))
    return world


def main(kind: str, processes: int = 4, seconds: float = 600, seed: int = 1) -> int:
    world = asyncio.run(endure(kind, processes, seconds, seed))
    told = (
        f"{kind}, {processes} processes, {seconds:g} s, seed {seed}, {len(world.failovers) // 2} failovers",
        f"outcomes: {dict(world.outcomes.most_common())}",
        f"may be lost by replication: {dict(world.lost)}",
        f"broken: {world.broken or 'nothing'}",
    )
    sys.stdout.write("\n".join(told) + "\n")
    return 1 if world.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
