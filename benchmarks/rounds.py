"""Workers, and the rounds that are interleaved between them."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.fixture import Fixture

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long to measure: `rounds` of `seconds` for each contender, with `tokens`; `cache_size` when memory is.

    `counts`: whether instructions are counted too, which takes two minutes. `most`: sessions of `growth`.
    """

    rounds: int
    seconds: float
    tokens: int = 64
    cache_size: int = 4096
    counts: bool = True
    most: int = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Result:
    """Of one contender: `times` holds the microseconds of each case in each round."""

    accepts: list[str]
    notes: list[str]
    versions: dict[str, str]
    times: dict[str, list[float]]

    def median(self, case: str) -> float:
        """The median over the rounds, in microseconds."""
        return statistics.median(self.times[case])

    def added(self, case: str = "wrapped") -> float:
        """What `case` costs more than `bare`: the median over the rounds of their difference, in microseconds."""
        return statistics.median(cost - bare for cost, bare in zip(self.times[case], self.times["bare"], strict=True))


class Worker:
    """A process that answers each JSON line with one."""

    def __init__(self, kind: str, setup: Mapping[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.worker", kind],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.introduction = self.ask(setup)

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The answer. Raises `RuntimeError` when the process has died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker died with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it: its input has an end, and so has it."""
        self._process.communicate()


@contextmanager
def worker(kind: str, setup: Mapping[str, Any]) -> Iterator[Worker]:
    """A worker while it lasts."""
    started = Worker(kind, setup)
    try:
        yield started
    finally:
        started.close()


def compare(
    group: str, contenders: Iterable[str], fixture: Fixture, *, rounds: int, seconds: float
) -> tuple[dict[str, Result], dict[str, str]]:
    """The results, and the contenders left out with the module that each lacks."""
    results: dict[str, Result] = {}
    left_out: dict[str, str] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in contenders:
            setup = {"group": group, "contender": name, "fixture": asdict(fixture)}
            started = stack.enter_context(worker("contender", setup))
            said = started.introduction
            if "missing" in said:
                left_out[name] = said["missing"]
            else:
                workers[name] = started
                results[name] = Result(**said, times={})
        for _ in range(rounds):
            for name, working in workers.items():
                for case, microseconds in working.ask({"seconds": seconds}).items():
                    results[name].times.setdefault(case, []).append(microseconds)
    return results, left_out
