"""`python -m benchmarks verify | middleware | server | refresh`, with `--json`, `--rounds N`, `--quick`."""

import argparse
import json

from benchmarks.commands import COMMANDS, Effort

ROUNDS = {"verify": 60, "middleware": 40, "server": 11, "refresh": 20}


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("command", choices=COMMANDS, help="tokens, requests in the process, a server, or sessions")
    parser.add_argument("--json", action="store_true", help="JSON instead of tables")
    parser.add_argument("--rounds", type=int, help="how many rounds to take the medians of")
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it works: no figures to quote")
    given = parser.parse_args()
    if given.quick:
        effort = Effort(rounds=given.rounds or 2, batches=1, tokens=20, cache_size=64, seconds=0.1)
    else:
        effort = Effort(rounds=given.rounds or ROUNDS[given.command])
    report = COMMANDS[given.command](effort)
    print(json.dumps(report.to_json(), indent=2) if given.json else report)


if __name__ == "__main__":
    main()
