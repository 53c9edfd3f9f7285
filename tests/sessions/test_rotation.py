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
from asgi_jwt.stores.records import Client, Session

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 3600 * SECOND
DAY = 24 * HOUR
G = 30 * SECOND
R = DAY
START = 1_700_000_000_000
POLICY = RotationPolicy(grace=G, recovery=R, refresh_ttl=7 * DAY)
STRICT = replace(POLICY, grace=0)
UNRECOVERED = replace(POLICY, recovery=0)

CURRENT = Presented(5, "current")
SIBLING = Presented(5, "sibling of the current")
PARENT = Presented(4, "rotated")
PARENT_SIBLING = Presented(4, "sibling of the rotated")
GRANDPARENT = Presented(3, "rotated")
AHEAD = Presented(6, "ahead")


def session(**changes: Any) -> Session:
    """A session of generation 5, whose window began at START."""
    opened = open_session("alice", "s1", now=START - HOUR, refresh_ttl=7 * DAY, session_ttl=30 * DAY)
    rotated = replace(opened, generation=5, rotated_branch="rotated", window_at=START, used_at=START)
    return replace(rotated, **changes)


def refresh(stored: Session | None, presented: Presented, elapsed: int, policy: RotationPolicy = POLICY) -> Decision:
    return decide(stored, presented, branch="fresh", now=START + elapsed, policy=policy)


@pytest.mark.parametrize(
    ("presented", "seen", "elapsed", "policy", "verdict"),
    [
        (CURRENT, False, 0, POLICY, Verdict.SAME),
        (CURRENT, False, 2 * G - 1, POLICY, Verdict.SAME),
        (CURRENT, True, 2 * G - 1, POLICY, Verdict.SAME),
        (SIBLING, True, 2 * G - 1, POLICY, Verdict.SAME),
        (CURRENT, False, 2 * G, POLICY, Verdict.ROTATED),
        (SIBLING, True, 2 * G, POLICY, Verdict.ROTATED),
        (PARENT, False, 0, POLICY, Verdict.REPLAYED),
        (PARENT, True, G - 1, POLICY, Verdict.REPLAYED),
        (PARENT, True, G, POLICY, Verdict.REUSED),
        (PARENT, False, G, POLICY, Verdict.RECOVERED),
        (PARENT, False, R - 1, POLICY, Verdict.RECOVERED),
        (PARENT, False, R, POLICY, Verdict.REUSED),
        (PARENT_SIBLING, False, 0, POLICY, Verdict.REUSED),
        (GRANDPARENT, False, 0, POLICY, Verdict.REUSED),
        (AHEAD, True, 0, POLICY, Verdict.HEALED),
        (Presented(2**70, "far ahead"), True, R, POLICY, Verdict.HEALED),
        # A clock that is behind: what happened in its future has only just happened.
        (CURRENT, True, -2 * SECOND, POLICY, Verdict.SAME),
        (PARENT, True, -2 * SECOND, POLICY, Verdict.REPLAYED),
        (PARENT, True, G - 2 * SECOND, POLICY, Verdict.REPLAYED),
        # Strict one-time use.
        (CURRENT, False, 0, STRICT, Verdict.ROTATED),
        (CURRENT, False, -2 * SECOND, STRICT, Verdict.ROTATED),
        (PARENT, False, 0, STRICT, Verdict.REUSED),
        (PARENT, False, -2 * SECOND, STRICT, Verdict.REUSED),
        (PARENT, False, G, STRICT, Verdict.REUSED),
        (AHEAD, False, 0, STRICT, Verdict.HEALED),
        # No recovery, but grace.
        (CURRENT, False, 0, UNRECOVERED, Verdict.SAME),
        (PARENT, False, G - 1, UNRECOVERED, Verdict.REPLAYED),
        (PARENT, False, G, UNRECOVERED, Verdict.REUSED),
    ],
)
def test_first_line_that_fits_decides(
    presented: Presented, seen: bool, elapsed: int, policy: RotationPolicy, verdict: Verdict
) -> None:
    """Each presentation gets the verdict of its row, up to the last millisecond of it."""
    assert refresh(session(seen=seen), presented, elapsed, policy).verdict is verdict


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
@pytest.mark.parametrize("presented", [AHEAD, CURRENT, PARENT, GRANDPARENT])
def test_invalid(stored: Session | None, presented: Presented) -> None:
    """Whatever is presented to a session that is not there, or over, is refused and changes nothing."""
    verdict, kept, branch = refresh(stored, presented, 1)

    assert verdict is Verdict.INVALID
    assert kept is stored
    assert branch is None


def test_live_until_the_last_millisecond() -> None:
    """A session can be refreshed until the very end of its idle time."""
    assert refresh(session(expires_at=START + 2), CURRENT, 1).verdict is Verdict.SAME


@pytest.mark.parametrize("policy", [POLICY, STRICT, UNRECOVERED])
def test_first_refresh_of_all_rotates(policy: RotationPolicy) -> None:
    """Before the first rotation there is no window, so the first token rotates at once, in the same millisecond."""
    opened = open_session("alice", "s1", now=START, refresh_ttl=7 * DAY, session_ttl=30 * DAY)

    verdict, kept, branch = refresh(opened, Presented(0, "first"), 0, policy)

    assert verdict is Verdict.ROTATED
    assert branch == "fresh"
    assert kept == replace(opened, generation=1, rotated_branch="first", window_at=START)


def test_token_older_than_the_first_is_reuse() -> None:
    """A generation below an unrotated session's own has no window to be forgiven in."""
    opened = open_session("alice", "s1", now=START, refresh_ttl=7 * DAY, session_ttl=30 * DAY)
    assert refresh(opened, Presented(-1, "first"), 0).verdict is Verdict.REUSED


def test_same_marks_the_generation_seen_once() -> None:
    """The first sight of a generation is written and begins its window anew; the presented token stays."""
    verdict, kept, branch = refresh(session(), SIBLING, G)

    assert verdict is Verdict.SAME
    assert branch == SIBLING.branch
    assert kept == session(seen=True, window_at=START + G)


def test_same_writes_nothing_the_second_time() -> None:
    """A generation that was seen already costs no write, so the window can't be stretched by asking often."""
    stored = session(seen=True)
    assert refresh(stored, CURRENT, G) == (Verdict.SAME, stored, CURRENT.branch)
    assert refresh(stored, CURRENT, G).session is stored


def test_rotated_begins_a_generation() -> None:
    """A rotation remembers whose token made it, opens a window, moves the idle end and nothing else."""
    verdict, kept, branch = refresh(session(seen=True), SIBLING, HOUR)

    assert verdict is Verdict.ROTATED
    assert branch == "fresh"
    assert kept == session(
        generation=6,
        rotated_branch=SIBLING.branch,
        window_at=START + HOUR,
        seen=False,
        used_at=START + HOUR,
        expires_at=START + HOUR + 7 * DAY,
    )


def test_idle_end_never_passes_the_absolute_end() -> None:
    """Rotation never moves `ends_at`, nor `expires_at` beyond it."""
    stored = session(ends_at=START + DAY)
    kept = refresh(stored, CURRENT, HOUR).session

    assert kept is not None
    assert (kept.expires_at, kept.ends_at) == (START + DAY, START + DAY)


def test_clock_behind_shortens_no_session() -> None:
    """Neither the last use nor the idle end moves back when the server that rotates is 2 s behind."""
    stored = session(used_at=START + HOUR, expires_at=START + HOUR + 7 * DAY)
    kept = refresh(stored, CURRENT, HOUR - 2 * SECOND).session

    assert kept is not None
    assert (kept.used_at, kept.expires_at) == (stored.used_at, stored.expires_at)


def test_shorter_life_holds_from_the_next_rotation() -> None:
    """When the policy's idle time was cut, a rotation brings the session down to it."""
    kept = refresh(session(), CURRENT, HOUR, replace(POLICY, refresh_ttl=DAY)).session

    assert kept is not None
    assert kept.expires_at == START + HOUR + DAY


def test_healed_catches_up_with_the_token() -> None:
    """A token ahead of the store stays, and its generation becomes the stored one, within any window."""
    verdict, kept, branch = refresh(session(seen=False), Presented(8, "ahead"), SECOND)

    assert verdict is Verdict.HEALED
    assert branch == "ahead"
    assert kept == session(generation=8, rotated_branch="*", window_at=START + SECOND, seen=True)


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


@pytest.mark.parametrize("presented", [CURRENT, PARENT, AHEAD])
def test_window_never_goes_back(presented: Presented) -> None:
    """A server whose clock is behind moves no window back: it would be over at a server whose clock is ahead."""
    kept = refresh(session(), presented, -HOUR).session
    assert kept is not None
    assert kept.window_at == START


@pytest.mark.parametrize("servers", list(itertools.product((0, HOUR), repeat=6)))
def test_servers_whose_clocks_are_an_hour_apart(servers: tuple[int, ...]) -> None:
    """Tabs that race at servers whose clocks are an hour apart log nobody out, whichever server each one meets."""
    stored: Session | None = session(window_at=START + HOUR, seen=True)
    jar, now = CURRENT, START
    for first, second in zip(servers[::2], servers[1::2], strict=True):
        now += 10 * MINUTE
        presented = jar
        for skew in (first, second):
            decision = decide(stored, presented, branch=f"b{now + skew}", now=now + skew, policy=POLICY)
            assert decision.verdict not in (Verdict.REUSED, Verdict.INVALID)
            stored = decision.session
            assert stored is not None
            assert decision.branch is not None
            jar = Presented(stored.generation, decision.branch)


def test_mark_ends() -> None:
    """A session whose end had begun is refused, and ended by the refresh that comes upon it."""
    verdict, kept, branch = refresh(session(ending_at=START), CURRENT, SECOND)
    assert (verdict, kept, branch) == (Verdict.INVALID, session(ended_at=START + SECOND), None)


def test_replayed_writes_nothing() -> None:
    """A second tab gets a sibling, and the store keeps what it has."""
    stored = session()
    verdict, kept, branch = refresh(stored, PARENT, G - 1)

    assert verdict is Verdict.REPLAYED
    assert kept is stored
    assert branch == "fresh"


def test_recovered_begins_the_window_anew() -> None:
    """A lost answer is made good long after, and its sibling gets a window of its own."""
    verdict, kept, branch = refresh(session(), PARENT, HOUR)

    assert verdict is Verdict.RECOVERED
    assert branch == "fresh"
    assert kept == session(window_at=START + HOUR)


def test_reused_ends_the_session() -> None:
    """Theft ends the session as of now, hands out nothing, and is no use of it by its owner."""
    verdict, kept, branch = refresh(session(), GRANDPARENT, HOUR)

    assert verdict is Verdict.REUSED
    assert branch is None
    assert kept == session(ended_at=START + HOUR)


@pytest.mark.parametrize("presented", [AHEAD, CURRENT, PARENT, GRANDPARENT, PARENT_SIBLING])
def test_nothing_revives_an_ended_session(presented: Presented) -> None:
    """After a reuse every token of the session is refused, those ahead of it included."""
    ended = refresh(session(), GRANDPARENT, HOUR).session
    assert refresh(ended, presented, HOUR + 1) == (Verdict.INVALID, ended, None)


def test_open_session() -> None:
    """A new session is of generation 0, unrotated, with both of its ends set and its parts frozen."""
    claims = {"email": "alice@example.com"}
    client = Client("browser", "192.0.2.1")
    opened = open_session(
        "alice",
        "s1",
        now=START,
        refresh_ttl=7 * DAY,
        session_ttl=30 * DAY,
        client_id="web",
        claims=claims,
        scopes=["read"],
        roles=["admin"],
        client=client,
    )
    claims["email"] = "eve@example.com"

    assert opened == Session(
        sid="s1",
        subject="alice",
        client_id="web",
        created_at=START,
        used_at=START,
        expires_at=START + 7 * DAY,
        ends_at=START + 30 * DAY,
        claims=MappingProxyType({"email": "alice@example.com"}),
        scopes=("read",),
        roles=("admin",),
        client=client,
    )


def test_open_session_never_outlives_its_absolute_end() -> None:
    """An idle life longer than the absolute one is cut."""
    opened = open_session("alice", "s1", now=START, refresh_ttl=7 * DAY, session_ttl=DAY)
    assert opened.expires_at == opened.ends_at == START + DAY
    assert opened.client == Client()


def test_end_session() -> None:
    """Ending a session makes it a tombstone once; ending it again keeps the very object and the first time."""
    ended = end_session(session(), START + 1)

    assert ended == session(ended_at=START + 1)
    assert end_session(ended, START + 2) is ended
