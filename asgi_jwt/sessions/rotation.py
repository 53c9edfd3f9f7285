"""All rules of rotation: when a refresh token may be exchanged, and when it ends its session.

A refresh token names a generation and a branch. Each rotation begins a generation. If a rotated token is presented
again, by a second tab or because the answer was lost, the new token is a sibling: it is of the same generation, on a
branch of its own. Only one branch of a generation can rotate. If a thief and the owner both use a session, one of them
soon presents a token of another branch, and the session ends (RFC 9700 section 4.14.2).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from types import MappingProxyType
from typing import Any, NamedTuple

from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Client, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationPolicy:
    """The time limits of rotation, in milliseconds.

    `grace`: how long after a rotation the rotated token still gets an answer. 0 is strict one-time use.
    `recovery`: the same limit while no token of the new generation was presented, because then the answer may have been
    lost. 0 switches recovery off.
    `refresh_ttl`: how long a session lives without a refresh.
    `shared_clients`: the ids of OAuth clients whose processes have private copies of one refresh token.
    """

    grace: Millis
    recovery: Millis
    refresh_ttl: Millis
    shared_clients: frozenset[str] = frozenset()

    def is_shared(self, session: Session) -> bool:
        """Whether several processes have copies of the session's refresh token, so that an old one is no theft."""
        return session.client_id in self.shared_clients


class Verdict(StrEnum):
    """The result for a presented refresh token."""

    INVALID = "INVALID"
    """The session is unknown, expired or ended. Nothing changes."""
    HEALED = "HEALED"
    """The token's generation is newer than the record, because the store lost writes in a failover.

    The record takes over the token's generation, and the client keeps the token.
    """
    SAME = "SAME"
    """The token is of the current generation and still fresh. The client keeps it."""
    ROTATED = "ROTATED"
    """The token is of the current generation. A new generation begins, with a new token."""
    REPLAYED = "REPLAYED"
    """The token was rotated a moment ago, so this is a second tab or a lost answer. The client gets a sibling."""
    RECOVERED = "RECOVERED"
    """The token was rotated long ago, but no token of the new generation was presented: the answer was lost.

    The client gets a sibling.
    """
    REUSED = "REUSED"
    """The token is older than that, or on a branch that did not rotate. It counts as stolen, and the session ends.

    In a session that is bound to a key it is REPLAYED instead: the token came with a proof, so it is its holder's.
    """


TOKEN_STAYS = (Verdict.SAME, Verdict.HEALED)
"""The verdicts that give no new refresh token. The client keeps the presented one."""

ANY_BRANCH = "*"
"""The `rotated_branch` of a healed session: the true one is lost, and each branch of that generation counts as it."""


class Presented(NamedTuple):
    """The claims `gen` and `br` of an authentic refresh token."""

    generation: int
    branch: str


class Decision(NamedTuple):
    """The verdict, the record to keep, and the branch of the client's next refresh token.

    `session` is the given object itself if nothing has to be written, and None if there is no session. `branch` is
    None if the client gets no token. With SAME and HEALED it is the branch of the presented token. `is_stale`: an old
    token of a shared session is answered, which would end any other session as stolen.
    """

    verdict: Verdict
    session: Session | None
    branch: str | None
    is_stale: bool = False


def judge(session: Session | None, presented: Presented, *, now: Millis, policy: RotationPolicy) -> Verdict:
    """The verdict, by the first rule that fits. `now` is in ms since the epoch."""
    verdict = _judge(session, presented, now=now, policy=policy)
    if verdict is not Verdict.REUSED or session is None:
        return verdict
    return Verdict.REPLAYED if session.jkt is not None or policy.is_shared(session) else verdict


def _judge(session: Session | None, presented: Presented, *, now: Millis, policy: RotationPolicy) -> Verdict:
    """The verdict about a session that is neither shared nor bound to a key."""
    if session is None or session.ending_at is not None or not session.is_live(now):
        return Verdict.INVALID
    if presented.generation > session.generation:
        return Verdict.HEALED

    # The clocks of servers differ. If `window_at` is in the future by this clock, `elapsed` is 0.
    elapsed = inf if session.window_at is None else max(0, now - session.window_at)

    if presented.generation == session.generation:
        # SAME lasts twice as long as REPLAYED, so that a rotation can't overtake a sibling that is still on its way.
        return Verdict.SAME if elapsed < 2 * policy.grace else Verdict.ROTATED
    if presented.generation == session.generation - 1 and session.rotated_branch in (presented.branch, ANY_BRANCH):
        if elapsed < policy.grace:
            return Verdict.REPLAYED
        if policy.grace > 0 and not session.seen and elapsed < policy.recovery:
            return Verdict.RECOVERED
    return Verdict.REUSED


def decide(
    session: Session | None, presented: Presented, *, branch: str, now: Millis, policy: RotationPolicy
) -> Decision:
    """The verdict about an authentic refresh token, with the session's next record.

    `session` is the stored record. `branch` is a new random branch, for the case that the client gets a token. `now` is
    in ms since the epoch. The function is pure, so a store may call it again after a conflict.
    """
    verdict = judge(session, presented, now=now, policy=policy)
    if session is None:
        return Decision(verdict, None, None)
    # The window, in which older tokens are answered, begins at `window_at`. It never moves back: otherwise it would be
    # over at once at a server whose clock is ahead.
    window_at = max(now, session.window_at or now)
    if verdict is Verdict.ROTATED:
        return Decision(verdict, _rotated(session, presented, window_at, now, policy), branch)
    if verdict is Verdict.SAME:
        kept = session if session.seen else session.changed(seen=True, window_at=window_at)
        return Decision(verdict, kept, presented.branch)
    if verdict is Verdict.REPLAYED:
        is_stale = session.jkt is None and _judge(session, presented, now=now, policy=policy) is Verdict.REUSED
        return Decision(verdict, session, branch, is_stale)
    if verdict is Verdict.RECOVERED:
        return Decision(verdict, session.changed(window_at=window_at), branch)
    if verdict is Verdict.HEALED:
        healed = {"generation": presented.generation, "rotated_branch": ANY_BRANCH, "seen": True}
        return Decision(verdict, session.changed(**healed, window_at=window_at), presented.branch)
    # `ending_at` without `ended_at`: an earlier end was interrupted. This refresh writes the missing tombstone.
    ends = verdict is Verdict.REUSED or session.ending_at is not None
    return Decision(verdict, end_session(session, now) if ends else session, None)


def _rotated(session: Session, presented: Presented, window_at: Millis, now: Millis, policy: RotationPolicy) -> Session:
    used_at = max(session.used_at, now)  # a server whose clock is behind must not shorten the session's life
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
    now: Millis,
    refresh_ttl: Millis,
    session_ttl: Millis,
    client_id: str | None = None,
    claims: Mapping[str, Any] = MappingProxyType({}),
    scopes: Iterable[str] = (),
    roles: Iterable[str] = (),
    client: Client | None = None,
    jkt: str | None = None,
    acr: str | None = None,
    amr: Iterable[str] = (),
    remember: bool = True,
) -> Session:
    """A new session of generation 0. The caller chooses the branch of its first refresh token.

    `jkt` is the thumbprint of the key that the session is bound to. `now` is in ms since the epoch. The session ends
    after `refresh_ttl` ms without a refresh, and after `session_ttl` ms in any case.
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
        jkt=jkt,
        acr=acr,
        amr=tuple(amr),
        remember=None if remember else False,
    )


def end_session(session: Session, now: Millis) -> Session:
    """The tombstone of the session, ended at `now` (ms). A session that has ended already is returned unchanged."""
    return session if session.ended_at is not None else session.changed(ended_at=now, ending_at=None)
