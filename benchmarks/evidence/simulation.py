"""How often ways of rotating refresh tokens log honest users out, and how soon they shut a thief out.

`python -m benchmarks simulation [--users N] [--seed N] [--json]`. Nothing is measured on a clock: five days of
traffic, drawn from the seed, are played to each way alike.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from math import inf
from random import Random
from statistics import median
from typing import NamedTuple

from benchmarks.evidence.rotations import DAY, HOUR, MINUTE, SECOND, WAYS, Rotation

END = 5 * DAY
LEG = 5 * SECOND
TYPICAL_LEG = 300
SKEW = 2 * SECOND
LOST_ANSWERS = 0.03
THEFTS = 20


# Honest users


class Request(NamedTuple):
    """A refresh by one tab: when it leaves, how long either leg takes, and what befalls it."""

    at: int
    there: int
    back: int
    lost: bool
    skew: int


def requests(random: Random) -> list[Request]:
    """Five days of one user: visits of some page loads, each by one tab or by several that a browser restores."""
    drawn: list[Request] = []
    at = int(random.expovariate(1 / (3 * HOUR)))
    skews = [random.randint(-SKEW, SKEW) for _ in range(3)]
    while at < END:
        for _ in range(random.randint(1, 8)):
            for _ in range(random.choice((1, 1, 1, 1, 2, 3, 5))):
                tab = at + random.randint(0, 2 * SECOND)
                there, back = (min(LEG, int(random.expovariate(1 / TYPICAL_LEG))) for _ in range(2))
                drawn.append(Request(tab, there, back, random.random() < LOST_ANSWERS, random.choice(skews)))
            at += int(random.choice((5 * SECOND, MINUTE, 15 * MINUTE)) * random.uniform(0.5, 1.5))
        at += int(random.expovariate(1 / (4 * HOUR)))
    return drawn


def is_logged_out(rotation: Rotation, drawn: Sequence[Request]) -> bool:
    """Whether the user, whose tabs share one cookie jar, is refused in the end."""
    jar = 0
    queue: list[tuple[int, int, str, Request, int]] = [
        (request.at, n, "leaves", request, 0) for n, request in enumerate(drawn)
    ]
    heapify(queue)
    while queue:
        at, n, event, request, token = heappop(queue)
        if event == "leaves":
            heappush(queue, (at + request.there, n, "arrives", request, jar))
        elif event == "arrives":
            accepted, successor = rotation.refresh(token, at + request.skew)
            if not accepted:
                return True
            if successor is not None and not request.lost:
                heappush(queue, (at + request.back, n, "answered", request, successor))
        else:
            jar = token
    return False


# Thieves


class Use(NamedTuple):
    """A thief's next step: when, and whether he presents the token he stole rather than the newest he got for it."""

    at: int
    stolen: bool


Plan = Callable[[Sequence[int], Random], list[Use]]
"""What a thief does who knows when his victim refreshes."""


def every(interval: int) -> Plan:
    return lambda refreshes, _: [Use(at, False) for at in range(interval, refreshes[-1], interval)]


def around(offset: int, first: int = 0, *, stolen: bool = False) -> Plan:
    """So long after (before, when negative) each refresh of the victim, from the `first` on."""
    return lambda refreshes, _: [Use(at + offset, stolen) for at in refreshes[first:]]


def at_random(refreshes: Sequence[int], random: Random) -> list[Use]:
    return sorted(Use(random.randrange(refreshes[-1]), random.random() < 0.2) for _ in refreshes)


def recovers(refreshes: Sequence[int], _: Random) -> list[Use]:
    """Takes the victim's second refresh for an unseen answer's, and goes on with what he gets."""
    return [Use(refreshes[1] - SECOND, True), *[Use(at + 2 * MINUTE, False) for at in refreshes[1:]]]


THIEVES: dict[str, Plan] = {
    "at random": at_random,
    "every minute": every(MINUTE),
    "every 20 seconds": every(20 * SECOND),
    "just before each refresh": around(-SECOND),
    "just before each refresh, the stolen one": around(-SECOND, stolen=True),
    "just after each refresh": around(SECOND),
    "two minutes after each refresh": around(2 * MINUTE),
    "just before each from the second on, the stolen one": around(-SECOND, 1, stolen=True),
    "just after each from the third on": around(SECOND, 2),
    "recovers just before the second refresh": recovers,
}


def refreshes_until_out(rotation: Rotation, plan: Plan, random: Random) -> float:
    """The refresh of the victim, counted from the theft, after which the thief has no success; inf after a day of it.

    The victim refreshes every 5 to 30 minutes and was robbed right after a refresh.
    """
    refreshes, at = [], 0
    while at < DAY:
        at += int(random.uniform(5 * MINUTE, 30 * MINUTE))
        refreshes.append(at)
    jar = rotation.refresh(0, 0).token or 0
    loot = [jar]
    refreshed = last_success = 0
    uses = [(use.at, "thief", use.stolen) for use in plan(refreshes, random)]
    for now, who, stolen in sorted([*uses, *[(at, "victim", False) for at in refreshes]]):
        answer = rotation.refresh(jar if who == "victim" else loot[0 if stolen else -1], now)
        if who == "victim":
            refreshed += 1
            if not answer.accepted:  # logs in anew, to a session that nobody has robbed
                return last_success + 1
            jar = jar if answer.token is None else answer.token
        elif answer.accepted:
            last_success = refreshed
            if answer.token is not None:
                loot.append(answer.token)
    return last_success + 1 if last_success < len(refreshes) - 5 else inf


class Result(NamedTuple):
    """False logouts in per cent of the users; the refresh after which a thief is out, and the thief it took longest."""

    false_logouts: float
    thief_median: float
    thief_worst: float
    worst_thief: str


def seeded(text: str) -> Random:
    return Random(text)  # noqa: S311 (drawn are users, not secrets)


def simulate(way: Callable[[], Rotation], users: int, seed: int) -> Result:
    out = sum(is_logged_out(way(), requests(seeded(f"{seed} user {n}"))) for n in range(users))
    thefts = [
        (refreshes_until_out(way(), plan, seeded(f"{seed} thief {n}")), name)
        for name, plan in THIEVES.items()
        for n in range(THEFTS)
    ]
    worst, name = max(thefts, key=lambda theft: theft[0])
    return Result(100 * out / users, median(refreshes for refreshes, _ in thefts), worst, name)


def options_of(name: str, about: str | None, argv: Sequence[str] | None, *, users: int) -> argparse.Namespace:
    """The options of a simulation: `users`, `seed` and `json`."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=about)
    parser.add_argument("--users", type=int, default=users)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table, or with `--json` an object, of what each way of rotating does to users and thieves."""
    options = options_of("simulation", __doc__, argv, users=400)
    results = {name: simulate(way, options.users, options.seed) for name, way in WAYS.items()}
    if options.json:
        # JSON has no infinity: a thief who is never out is null.
        shown = {
            name: {key: None if value == inf else value for key, value in result._asdict().items()}
            for name, result in results.items()
        }
        print(
            json.dumps({"users": options.users, "seed": options.seed, "days": END // DAY, "results": shown}, indent=2)
        )
        return
    print(f"{options.users} users over {END // DAY} days; thieves of {len(THIEVES)} kinds, {THEFTS} of each\n")
    print(f"{'rotation':28}{'false logouts':>14}{'thief out after the refresh':>30}   slowest")
    print(f"{'':28}{'':>14}{'median':>19}{'worst':>11}")
    for name, result in results.items():
        median_, worst = (f"{value:g}" if value < inf else "never" for value in result[1:3])
        print(f"{name:28}{result.false_logouts:>12.1f} %{median_:>19}{worst:>11}   {result.worst_thief}")


if __name__ == "__main__":
    main()
