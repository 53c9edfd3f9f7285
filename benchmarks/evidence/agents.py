"""How often an agent that runs as several processes, each with a private copy of one refresh token, is logged out.

`python -m benchmarks agents [--users N] [--seed N] [--json]`. Nothing is measured on a clock: five days of traffic,
drawn from the seed, are played to each kind of session alike.
"""

import json
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from random import Random
from typing import Any, NamedTuple

from asgi_jwt.stores.millis import Millis
from benchmarks.evidence.rotations import DAY, HOUR, MINUTE, SECOND, Ours, Rotation
from benchmarks.evidence.simulation import END, LEG, SKEW, TYPICAL_LEG, options_of, seeded

PROCESSES = 8
LATE = 8 * MINUTE
LOST_ANSWERS = 0.02


class Step(NamedTuple):
    """A refresh by one process, or (`replaced`) its end: it is started anew with the token of an older copy."""

    process: int
    there: int = 0
    back: int = 0
    lost: bool = False
    skew: int = 0
    replaced: bool = False


def steps(random: Random) -> list[tuple[int, Step]]:
    """Five days of bursts: all processes at once, some of them 8 minutes late, now and then two refreshes in one."""
    drawn: list[tuple[int, Step]] = []
    at = 0
    while at < END:
        at += int(random.uniform(5 * MINUTE, 40 * MINUTE))
        for process in range(PROCESSES):
            begins = at + random.randint(0, 2 * SECOND) + random.choice((0, 0, 0, LATE))
            for _ in range(random.choice((1, 1, 2))):
                there, back = (min(LEG, int(random.expovariate(1 / TYPICAL_LEG))) for _ in range(2))
                skew = random.randint(-SKEW, SKEW)
                drawn.append((begins, Step(process, there, back, random.random() < LOST_ANSWERS, skew)))
    drawn += [(hour, Step(random.randrange(PROCESSES), replaced=True)) for hour in range(HOUR, END, HOUR)]
    return drawn


def is_logged_out(rotation: Rotation, drawn: Sequence[tuple[int, Step]], random: Random) -> bool:
    """Whether any process is refused in the end."""
    copies = [0] * PROCESSES
    old = [0]
    queue: list[tuple[int, int, str, Step, int]] = [(at, n, "leaves", step, 0) for n, (at, step) in enumerate(drawn)]
    heapify(queue)
    while queue:
        at, n, event, step, token = heappop(queue)
        if event == "leaves" and step.replaced:
            copies[step.process] = random.choice(old)
            old.append(copies[(step.process + 1) % PROCESSES])
        elif event == "leaves":
            heappush(queue, (at + step.there, n, "arrives", step, copies[step.process]))
        elif event == "arrives":
            accepted, successor = rotation.refresh(token, at + step.skew)
            if not accepted:
                return True
            if successor is not None and not step.lost:
                heappush(queue, (at + step.back, n, "answered", step, successor))
        else:
            copies[step.process] = token
    return False


KINDS: dict[str, Callable[[], Rotation]] = {
    "any other": Ours,
    "any other, GRACE=0": lambda: Ours(grace=Millis(0)),
    "SHARED_CLIENTS": lambda: Ours(shared=True),
    "SHARED_CLIENTS, GRACE=0": lambda: Ours(shared=True, grace=Millis(0)),
    "bound to a key": lambda: Ours(bound=True),
    "bound to a key, GRACE=0": lambda: Ours(bound=True, grace=Millis(0)),
}


def simulate(way: Callable[[], Rotation], users: int, seed: int) -> float:
    """The agents in per cent that were logged out."""
    drawn = ((seeded(f"{seed} agent {n}"), way()) for n in range(users))
    return 100 * sum(is_logged_out(rotation, steps(random), random) for random, rotation in drawn) / users


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table, or with `--json` an object, of how many agents each kind of session logs out."""
    options = options_of("agents", __doc__, argv, users=50)
    results = {name: simulate(way, options.users, options.seed) for name, way in KINDS.items()}
    told: dict[str, Any] = {"agents": options.users, "processes": PROCESSES, "days": END // DAY, "results": results}
    if options.json:
        print(json.dumps(told, indent=2))
        return
    print(f"{options.users} agents of {PROCESSES} processes over {END // DAY} days\n\n{'session':40}{'logged out':>12}")
    for name, result in results.items():
        print(f"{name:40}{result:>10.1f} %")


if __name__ == "__main__":
    main()
