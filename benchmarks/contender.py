"""A contender, and how its time is taken."""

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

Pass = Callable[[], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """`run` makes `calls` calls of what is to be timed."""

    run: Pass
    calls: int


@dataclass(frozen=True, kw_only=True)
class Contender:
    """What runs in a worker.

    `cases` by their names; `accepts` tells whether the contender lets a token in, `requests` whether it lets a request
    in that is wrong in the way its name says; `distributions` are those whose versions count; `notes` say what a
    reader has to know of the setup.
    """

    cases: Mapping[str, Case]
    accepts: Callable[[str], Awaitable[bool]]
    requests: Mapping[str, Callable[[], Awaitable[bool]]] = field(default_factory=dict)
    distributions: Sequence[str] = ()
    notes: Sequence[str] = ()

    async def take_times(self, seconds: float) -> dict[str, float]:
        """Microseconds of processor time per call of each case: the median of its runs, as many as `seconds` allow.

        The cases take turns, so that noise hits all alike, and each has one at least.
        """
        taken: dict[str, list[float]] = {name: [] for name in self.cases}
        deadline = time.perf_counter() + seconds
        while not all(taken.values()) or time.perf_counter() < deadline:
            for name, case in self.cases.items():
                # Not the clock on the wall: what else runs on the machine is nobody's cost here.
                start = time.process_time()
                await case.run()
                taken[name].append((time.process_time() - start) / case.calls * 1e6)
        return {name: statistics.median(times) for name, times in taken.items()}
