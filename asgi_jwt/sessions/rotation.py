"""When a refresh token may be exchanged, and when its presentation ends the session: every rule, and nothing else.

A refresh token names a generation and a branch. Each rotation begins a generation; a token handed out again, to a
second tab or for an answer that was lost, is a sibling on a branch of its own. Of two holders one therefore is a
sibling of the branch that rotated, which is what tells a thief (RFC 9700 section 4.14.2) from an honest race.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from types import MappingProxyType
from typing import Any, NamedTuple

from asgi_jwt.stores.records import Client, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationPolicy:
    """How long what is allowed, in milliseconds.

    `grace`: how long after a rotation its parent token is answered again; 0 is strict one-time use. `recovery`: the
    same while nobody has shown a token of the new generation, so that its answer may have been lost; 0 switches that
    off. `refresh_ttl`: how long a session lives without being refreshed.
    """

    grace: int
    recovery: int
    refresh_ttl: int


class Verdict(StrEnum):
    """What became of a presented refresh token."""

    INVALID = "INVALID"
    """There is no such live session. Nothing changes."""
    HEALED = "HEALED"
    """The token is ahead of the store, which lost writes in a failover: the session catches up, and the token stays."""
    SAME = "SAME"
    """The token is of the current generation and still fresh: it stays."""
    ROTATED = "ROTATED"
    """A new generation begins."""
    REPLAYED = "REPLAYED"
    """The token was rotated a moment ago: a second tab, or a lost answer. A sibling is handed out."""
    RECOVERED = "RECOVERED"
    """As REPLAYED, long after: nobody has shown the new generation, so its answer never arrived."""
    REUSED = "REUSED"
    """A token that nobody honest still holds: the session has ended, for good."""


TOKEN_STAYS = (Verdict.SAME, Verdict.HEALED)
"""The verdicts that hand out no refresh token: the client keeps the presented one."""

ANY_BRANCH = "*"
"""The `rotated_branch` of a session that caught up, for its store lost the true one. No token has this branch."""


class Presented(NamedTuple):
    """What an authentic refresh token says of itself: its `gen` and `br` claims."""

    generation: int
    branch: str


class Decision(NamedTuple):
    """The verdict, the session as it is to be kept, and the branch of the refresh token to hand out.

    `session` is the very object that was given when there is nothing to write; None when there was none. `branch` is
    None when nothing is handed out, and the presented one with SAME and HEALED, where the client's token stays.
    """

    verdict: Verdict
    session: Session | None
    branch: str | None


def judge(session: Session | None, presented: Presented, *, now: int, policy: RotationPolicy) -> Verdict:
    """The verdict alone: the first rule that fits. `now` is in ms since the epoch. The order of the rules matters."""
    if session is None or session.ending_at is not None or not session.is_live(now):
        return Verdict.INVALID
    if presented.generation > session.generation:
        return Verdict.HEALED

    # Clocks of several servers differ: what lies ahead of ours has only just happened.
    elapsed = inf if session.window_at is None else max(0, now - session.window_at)

    if presented.generation == session.generation:
        # Twice as long as REPLAYED, so that a sibling still on its way is not overtaken by a rotation.
        return Verdict.SAME if elapsed < 2 * policy.grace else Verdict.ROTATED
    if presented.generation == session.generation - 1 and session.rotated_branch in (presented.branch, ANY_BRANCH):
        if elapsed < policy.grace:
            return Verdict.REPLAYED
        if policy.grace > 0 and not session.seen and elapsed < policy.recovery:
            return Verdict.RECOVERED
    return Verdict.REUSED


def decide(session: Session | None, presented: Presented, *, branch: str, now: int, policy: RotationPolicy) -> Decision:
    """Judge an authentic refresh token by its session as stored, and say what the session becomes.

    `branch` is a fresh random one, used if a token is to be handed out; `now` is in ms since the epoch. Pure: the same
    arguments give the same decision, so a store may ask again after a conflict.
    """
    verdict = judge(session, presented, now=now, policy=policy)
    if session is None:
        return Decision(verdict, None, None)
    # Where clocks differ by hours, a window that went back would be over at a server whose clock is ahead.
    window_at = max(now, session.window_at or now)
    if verdict is Verdict.ROTATED:
        return Decision(verdict, _rotated(session, presented, window_at, now, policy), branch)
    if verdict is Verdict.SAME:
        kept = session if session.seen else session.changed(seen=True, window_at=window_at)
        return Decision(verdict, kept, presented.branch)
    if verdict is Verdict.REPLAYED:
        return Decision(verdict, session, branch)
    if verdict is Verdict.RECOVERED:
        return Decision(verdict, session.changed(window_at=window_at), branch)
    if verdict is Verdict.HEALED:
        healed = {"generation": presented.generation, "rotated_branch": ANY_BRANCH, "seen": True}
        return Decision(verdict, session.changed(**healed, window_at=window_at), presented.branch)
    # An end that did not come to its tombstone is finished by the refresh that meets its mark.
    ends = verdict is Verdict.REUSED or session.ending_at is not None
    return Decision(verdict, end_session(session, now) if ends else session, None)


def _rotated(session: Session, presented: Presented, window_at: int, now: int, policy: RotationPolicy) -> Session:
    used_at = max(session.used_at, now)  # a server whose clock is behind takes no life from the session
    return session.changed(
        generation=presented.generation + 1,
        rotated_branch=presented.branch,
        window_at=window_at,
        seen=False,
        used_at=used_at,
        expires_at=min(used_at + policy.refresh_ttl, session.ends_at),
    )


def open_session(
    subject: str,
    sid: str,
    *,
    now: int,
    refresh_ttl: int,
    session_ttl: int,
    client_id: str | None = None,
    claims: Mapping[str, Any] = MappingProxyType({}),
    scopes: Iterable[str] = (),
    roles: Iterable[str] = (),
    client: Client | None = None,
) -> Session:
    """A new session, of generation 0; the branch of its first refresh token is the caller's to draw.

    `now` and both lives are in ms: `refresh_ttl` ends the session when it is not used, `session_ttl` in any case.
    """
    ends_at = now + session_ttl
    return Session(
        sid=sid,
        subject=subject,
        client_id=client_id,
        created_at=now,
        used_at=now,
        expires_at=min(now + refresh_ttl, ends_at),
        ends_at=ends_at,
        claims=MappingProxyType(dict(claims)),
        scopes=tuple(scopes),
        roles=tuple(roles),
        client=client or Client(),
    )


def end_session(session: Session, now: int) -> Session:
    """The session's tombstone as of `now` (ms); the very same object when it has ended already."""
    return session if session.ended_at is not None else session.changed(ended_at=now, ending_at=None)
