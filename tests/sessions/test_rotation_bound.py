"""Sessions that are bound to a key, played over five days by a holder with many stale copies of its refresh token."""

from itertools import pairwise
from random import Random

import pytest

from asgi_jwt.sessions.rotation import Presented, RotationPolicy, Verdict, decide, open_session
from asgi_jwt.stores.millis import Millis

MINUTE = 60_000
DAY = 24 * 60 * MINUTE
START = Millis(1_800_000_000_000)
PROCESSES = 8


def play(seed: int, grace: int, jkt: str | None) -> set[Verdict]:
    """The verdicts of eight processes with private copies.

    They refresh in bursts at once or up to 8 minutes apart, two at a time in one process; one answer in 50 is lost, and
    each hour a process is replaced from an old copy.
    """
    random = Random(seed)  # noqa: S311
    policy = RotationPolicy(grace=Millis(grace), recovery=Millis(DAY), refresh_ttl=Millis(7 * DAY))
    session = open_session("a", "s", now=START, refresh_ttl=policy.refresh_ttl, session_ttl=Millis(30 * DAY), jkt=jkt)
    first = Presented(0, "first")
    history, copies, verdicts = [first], [first] * PROCESSES, set[Verdict]()
    hours = [START + hour * 60 * MINUTE for hour in range(5 * 24 + 1)]
    for begins, ends in pairwise(hours):
        copies[random.randrange(PROCESSES)] = random.choice(history)
        for at in sorted(random.randrange(begins, ends) for _ in range(4)):
            late = random.choice([0, 8 * MINUTE])
            for process in random.sample(range(PROCESSES), PROCESSES):
                presented = copies[process]
                for _ in range(random.choice([1, 1, 2])):
                    now = Millis(at + random.randint(0, late))
                    branch = random.randbytes(8).hex()
                    verdict, kept, given, *_ = decide(session, presented, branch=branch, now=now, policy=policy)
                    verdicts.add(verdict)
                    assert kept is not None
                    session = kept
                    if given is not None and random.random() > 0.02:
                        copies[process] = Presented(session.generation, given)
                        history.append(copies[process])
    return verdicts


@pytest.mark.parametrize("grace", [30_000, 0])
@pytest.mark.parametrize("seed", range(5))
def test_a_holder_with_stale_copies_is_never_logged_out(seed: int, grace: int) -> None:
    """A stale token with a good proof is the same holder's, however old; without a binding the session ends."""
    assert play(seed, grace, "key") <= {Verdict.SAME, Verdict.ROTATED, Verdict.REPLAYED, Verdict.RECOVERED}
    assert Verdict.REUSED in play(seed, grace, None)
