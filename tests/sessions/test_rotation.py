"""Each row of the rotation table, at its boundaries."""

import itertools
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from asgi_jwt.sessions.rotation import (
    Decision,
    Presented,
    RotationPolicy,
    Verdict,
    decide,
    end_session,
    open_session,
)
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Client, Session

SECOND = Millis(1000)
MINUTE = Millis(60 * SECOND)
HOUR = Millis(3600 * SECOND)
DAY = Millis(24 * HOUR)
G = 30 * SECOND
R = DAY
START = 1_700_000_000_000
POLICY = RotationPolicy(grace=Millis(G), recovery=R, refresh_ttl=Millis(7 * DAY))
STRICT = replace(POLICY, grace=Millis(0))
UNRECOVERED = replace(POLICY, recovery=Millis(0))
SHORT = replace(POLICY, refresh_ttl=DAY)

CURRENT = Presented(5, "current")
SIBLING = Presented(5, "sibling")
PARENT = Presented(4, "rotated")
PARENT_SIBLING = Presented(4, "sibling of the rotated")
GRANDPARENT = Presented(3, "rotated")
AHEAD = Presented(6, "ahead")


def session(**changes: Any) -> Session:
    """A session of generation 5, whose window began at START."""
    opened = open_session(
        "alice", "s1", now=Millis(START - HOUR), refresh_ttl=Millis(7 * DAY), session_ttl=Millis(30 * DAY)
    )
    rotated = replace(opened, generation=5, rotated_branch="rotated", window_at=Millis(START), used_at=Millis(START))
    return replace(rotated, **changes)


def refresh(stored: Session | None, presented: Presented, elapsed: int, policy: RotationPolicy = POLICY) -> Decision:
    return decide(stored, presented, branch="fresh", now=Millis(START + elapsed), policy=policy)


OPENED = open_session("alice", "s1", now=Millis(START), refresh_ttl=Millis(7 * DAY), session_ttl=Millis(30 * DAY))
FIRST = Presented(0, "first")
USED = session(used_at=START + HOUR, expires_at=START + HOUR + 7 * DAY)
BEGUN = {"generation": 1, "rotated_branch": "first", "window_at": START}
ROTATED = {
    "generation": 6,
    "rotated_branch": "current",
    "window_at": START + HOUR,
    "seen": False,
    "used_at": START + HOUR,
    "expires_at": START + HOUR + 7 * DAY,
}
HEALED = {"generation": 8, "rotated_branch": "*", "window_at": START, "seen": True}


@pytest.mark.parametrize(
    ("presented", "seen", "elapsed", "policy", "verdict"),
    [
        (CURRENT, False, 0, POLICY, "SAME"),
        (CURRENT, False, 2 * G - 1, POLICY, "SAME"),
        (CURRENT, True, 2 * G - 1, POLICY, "SAME"),
        (SIBLING, True, 2 * G - 1, POLICY, "SAME"),
        (CURRENT, False, 2 * G, POLICY, "ROTATED"),
        (SIBLING, True, 2 * G, POLICY, "ROTATED"),
        (PARENT, False, 0, POLICY, "REPLAYED"),
        (PARENT, True, G - 1, POLICY, "REPLAYED"),
        (PARENT, True, G, POLICY, "REUSED"),
        (PARENT, False, G, POLICY, "RECOVERED"),
        (PARENT, False, R - 1, POLICY, "RECOVERED"),
        (PARENT, False, R, POLICY, "REUSED"),
        (PARENT_SIBLING, False, 0, POLICY, "REUSED"),
        (GRANDPARENT, False, 0, POLICY, "REUSED"),
        (AHEAD, True, 0, POLICY, "HEALED"),
        (Presented(2**70, "far ahead"), True, R, POLICY, "HEALED"),
        # A clock that is behind: what happened in its future has only just happened.
        (CURRENT, True, -2 * SECOND, POLICY, "SAME"),
        (PARENT, True, -2 * SECOND, POLICY, "REPLAYED"),
        (PARENT, True, G - 2 * SECOND, POLICY, "REPLAYED"),
        # Strict one-time use.
        (CURRENT, False, 0, STRICT, "ROTATED"),
        (CURRENT, False, -2 * SECOND, STRICT, "ROTATED"),
        (PARENT, False, 0, STRICT, "REUSED"),
        (PARENT, False, -2 * SECOND, STRICT, "REUSED"),
        (PARENT, False, G, STRICT, "REUSED"),
        (AHEAD, False, 0, STRICT, "HEALED"),
        # No recovery, but grace.
        (CURRENT, False, 0, UNRECOVERED, "SAME"),
        (PARENT, False, G - 1, UNRECOVERED, "REPLAYED"),
        (PARENT, False, G, UNRECOVERED, "REUSED"),
    ],
)
def test_first_line_that_fits_decides(
    presented: Presented, seen: bool, elapsed: int, policy: RotationPolicy, verdict: str
) -> None:
    """Each presentation gets the verdict of its row, up to the last millisecond of it."""
    assert refresh(session(seen=seen), presented, elapsed, policy).verdict == verdict


@pytest.mark.parametrize(
    "stored",
    [
        None,
        session(ended_at=START),
        session(expires_at=START + 1),
        session(ends_at=START + 1),
    ],
    ids=["unknown", "ended", "idle for too long", "past its absolute end"],
)
@pytest.mark.parametrize("presented", [AHEAD, CURRENT, PARENT, GRANDPARENT, PARENT_SIBLING])
def test_invalid(stored: Session | None, presented: Presented) -> None:
    """Whatever is presented to a session that is not there, or over, is refused and changes nothing."""
    decision = refresh(stored, presented, 1)
    assert (decision.verdict, decision.branch) == (Verdict.INVALID, None)
    assert decision.session is stored


@pytest.mark.parametrize(
    ("stored", "presented", "elapsed", "policy", "verdict", "branch", "changes"),
    [
        # Until the very end of its idle time a session can be refreshed.
        (session(expires_at=START + 1), CURRENT, 0, POLICY, "SAME", "current", {"seen": True}),
        # Before the first rotation there is no window: the first token rotates in the same millisecond.
        *((OPENED, FIRST, 0, policy, "ROTATED", "fresh", BEGUN) for policy in (POLICY, STRICT, UNRECOVERED)),
        (OPENED, Presented(-1, "first"), 0, POLICY, "REUSED", None, {"ended_at": START}),
        # The first sight of a generation begins its window anew; the second costs no write, so none can be stretched.
        (session(), SIBLING, G, POLICY, "SAME", "sibling", {"seen": True, "window_at": START + G}),
        (session(seen=True), CURRENT, G, POLICY, "SAME", "current", None),
        (session(seen=True), SIBLING, HOUR, POLICY, "ROTATED", "fresh", ROTATED | {"rotated_branch": "sibling"}),
        # Rotation never moves `ends_at`, nor `expires_at` beyond it.
        (
            session(ends_at=START + DAY),
            CURRENT,
            HOUR,
            POLICY,
            "ROTATED",
            "fresh",
            ROTATED | {"expires_at": START + DAY},
        ),
        # Where the policy's idle time was cut, a rotation brings the session down to it.
        (session(), CURRENT, HOUR, SHORT, "ROTATED", "fresh", ROTATED | {"expires_at": START + HOUR + DAY}),
        # A server that is 2 s behind moves neither the last use nor the idle end back.
        (
            USED,
            CURRENT,
            HOUR - 2 * SECOND,
            POLICY,
            "ROTATED",
            "fresh",
            ROTATED | {"window_at": START + HOUR - 2 * SECOND},
        ),
        # Nor does it move a window back, which would be over at a server whose clock is ahead.
        (session(), CURRENT, -HOUR, POLICY, "SAME", "current", {"seen": True}),
        (session(), PARENT, -HOUR, POLICY, "REPLAYED", "fresh", None),
        (session(), AHEAD, -HOUR, POLICY, "HEALED", "ahead", HEALED | {"generation": 6}),
        # A token ahead of the store stays, and its generation becomes the stored one.
        (session(), Presented(8, "ahead"), SECOND, POLICY, "HEALED", "ahead", HEALED | {"window_at": START + SECOND}),
        # A session whose end had begun is refused, and ended by the refresh that comes upon it.
        (session(ending_at=START), CURRENT, 0, POLICY, "INVALID", None, {"ending_at": None, "ended_at": START}),
        (session(), PARENT, G - 1, POLICY, "REPLAYED", "fresh", None),
        (session(), PARENT, HOUR, POLICY, "RECOVERED", "fresh", {"window_at": START + HOUR}),
        (session(), GRANDPARENT, HOUR, POLICY, "REUSED", None, {"ended_at": START + HOUR}),
    ],
)
def test_what_is_kept_and_handed_out(
    stored: Session,
    presented: Presented,
    elapsed: int,
    policy: RotationPolicy,
    verdict: str,
    branch: str | None,
    changes: dict[str, Any] | None,
) -> None:
    """Each verdict changes these fields and no other, and hands out this branch; without changes nothing is written."""
    decision = refresh(stored, presented, elapsed, policy)
    assert (decision.verdict, decision.branch) == (verdict, branch)
    assert decision.session == replace(stored, **(changes or {}))
    assert (decision.session is stored) is (changes is None)


@pytest.mark.parametrize(
    ("presented", "elapsed", "verdict"),
    [
        (Presented(8, "ahead"), 2 * G - 1, Verdict.SAME),
        (Presented(8, "a sibling"), 0, Verdict.SAME),
        (Presented(8, "ahead"), 2 * G, Verdict.ROTATED),
        (Presented(7, "any"), 0, Verdict.REPLAYED),
        (Presented(7, "any"), G - 1, Verdict.REPLAYED),
        (Presented(7, "any"), G, Verdict.REUSED),
        (Presented(6, "any"), 0, Verdict.REUSED),
    ],
)
def test_after_healed(presented: Presented, elapsed: int, verdict: Verdict) -> None:
    """A store that caught up doesn't know which branch rotated: for the grace every branch before may be on its way."""
    healed = refresh(session(), Presented(8, "ahead"), 0).session
    assert refresh(healed, presented, elapsed).verdict is verdict


@pytest.mark.parametrize("servers", list(itertools.product((0, HOUR), repeat=6)))
def test_servers_whose_clocks_are_an_hour_apart(servers: tuple[int, ...]) -> None:
    """Tabs that race at servers whose clocks are an hour apart log nobody out, whichever server each one meets."""
    stored: Session | None = session(window_at=START + HOUR, seen=True)
    jar, now = CURRENT, START
    for first, second in zip(servers[::2], servers[1::2], strict=True):
        now += 10 * MINUTE
        presented = jar
        for skew in (first, second):
            decision = decide(stored, presented, branch=f"b{now + skew}", now=Millis(now + skew), policy=POLICY)
            assert decision.verdict not in (Verdict.REUSED, Verdict.INVALID)
            stored = decision.session
            assert stored is not None
            assert decision.branch is not None
            jar = Presented(stored.generation, decision.branch)


@pytest.mark.parametrize("session_ttl", [30 * DAY, DAY])
def test_open_session(session_ttl: int) -> None:
    """A new session is of generation 0, unrotated, with both of its ends set, neither past the other, and its parts
    frozen."""
    claims, client = {"email": "alice@example.com"}, Client("browser", "192.0.2.1")
    given: dict[str, Any] = {"client_id": "web", "scopes": ("read",), "roles": ("admin",), "client": client}
    opened = open_session(
        "alice",
        "s1",
        now=Millis(START),
        refresh_ttl=Millis(7 * DAY),
        session_ttl=Millis(session_ttl),
        claims=claims,
        **given,
    )
    claims["email"] = "eve@example.com"
    assert opened == Session(
        sid="s1",
        subject="alice",
        created_at=Millis(START),
        used_at=Millis(START),
        expires_at=Millis(START + min(7 * DAY, session_ttl)),
        ends_at=Millis(START + session_ttl),
        claims=MappingProxyType({"email": "alice@example.com"}),
        **given,
    )
    assert OPENED.client == Client()


def test_end_session() -> None:
    """Ending a session makes it a tombstone once; ending it again keeps the very object and the first time."""
    ended = end_session(session(), Millis(START + 1))
    assert ended == session(ended_at=START + 1)
    assert end_session(ended, Millis(START + 2)) is ended
