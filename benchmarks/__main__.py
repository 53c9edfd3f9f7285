"""`python -m benchmarks verify | middleware | server | refresh | postgres | growth | remote | revocations | cost |
frameworks`.

`--json`, `--rounds N` and `--quick` go with each.

`python -m benchmarks simulation` plays ways of rotating refresh tokens to honest users and to thieves, and
`python -m benchmarks agents` kinds of sessions to agents that run as several processes.
"""

import argparse
import json
import sys
from dataclasses import replace

from benchmarks.commands import COMMANDS
from benchmarks.evidence import agents, simulation
from benchmarks.rounds import Effort

EVIDENCE = {"simulation": simulation.main, "agents": agents.main}
EFFORTS = {
    "verify": Effort(rounds=40, seconds=0.05),
    "middleware": Effort(rounds=40, seconds=0.05),
    "server": Effort(rounds=31, seconds=0.5),
    "refresh": Effort(rounds=20, seconds=0.05),
    "postgres": Effort(rounds=40, seconds=0),
    "growth": Effort(rounds=100, seconds=0),
    "revocations": Effort(rounds=200, seconds=0.01),
    "remote": Effort(rounds=40, seconds=0),
    "cost": Effort(rounds=31, seconds=0),
    "dpop": Effort(rounds=200, seconds=0),
    "frameworks": Effort(rounds=100, seconds=0.02),
}
QUICK = Effort(rounds=2, seconds=0.01, tokens=8, cache_size=64, counts=False, most=200)


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("command", choices=[*COMMANDS, *EVIDENCE], help="what to measure, or to simulate")
    parser.add_argument("--json", action="store_true", help="JSON instead of tables")
    parser.add_argument("--rounds", type=int, help="how many rounds to take the medians of")
    parser.add_argument("--most", type=int, default=1_000_000, help="with growth: how many sessions at the most")
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it works: no figures to quote")
    for name, evidence in EVIDENCE.items():
        if sys.argv[1:2] == [name]:
            evidence(sys.argv[2:])
            return
    given = parser.parse_args()
    effort = QUICK if given.quick else EFFORTS[given.command]
    if given.rounds is not None:
        effort = replace(effort, rounds=given.rounds)
    effort = replace(effort, most=min(given.most, effort.most))
    report = COMMANDS[given.command](effort)
    print(json.dumps(report.to_json(), indent=2) if given.json else report)


if __name__ == "__main__":
    main()
