"""Ways of rotating refresh tokens, for the simulation to compare: ours and those in use elsewhere."""

from collections.abc import Callable
from itertools import count
from typing import NamedTuple, Protocol

from asgi_jwt.sessions.rotation import TOKEN_STAYS, Presented, RotationPolicy, decide, open_session
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Session

SECOND = Millis(1000)
MINUTE = Millis(60 * SECOND)
HOUR = Millis(60 * MINUTE)
DAY = Millis(24 * HOUR)

GRACE = Millis(30 * SECOND)
RECOVERY = Millis(DAY)


class Answer(NamedTuple):
    """What a refresh gives: refused, or accepted, with a new token or (None) the presented one's staying."""

    accepted: bool
    token: int | None = None


REFUSED = Answer(False)
STAYS = Answer(True)


class Rotation(Protocol):
    """A way of rotating, with one session of its own. Its first token is 0."""

    def refresh(self, token: int, now: int) -> Answer: ...


class OneTimeUse:
    """RFC 9700 section 4.14.2 to the letter: a token presented twice ends the session."""

    def __init__(self) -> None:
        self._current: int | None = 0
        self._serials = count(1)

    def refresh(self, token: int, now: int) -> Answer:
        if token != self._current:
            self._current = None
            return REFUSED
        self._current = next(self._serials)
        return Answer(True, self._current)


class IndependentChains:
    """A used token works on for the grace; whatever it is exchanged for begins a chain of its own."""

    def __init__(self) -> None:
        self._used: dict[int, int | None] = {0: None}
        self._ended = False
        self._serials = count(1)

    def refresh(self, token: int, now: int) -> Answer:
        used = self._used[token]
        if self._ended or (used is not None and now - used >= GRACE):
            self._ended = True
            return REFUSED
        self._used[token] = now if used is None else used
        child = next(self._serials)
        self._used[child] = None
        return Answer(True, child)


class ParentAccepted:
    """The token of the generation before the present one is accepted for ever, and gets one of the present one."""

    def __init__(self) -> None:
        self._generation = 0
        self._generations = {0: 0}
        self._ended = False
        self._serials = count(1)

    def refresh(self, token: int, now: int) -> Answer:
        generation = self._generations[token]
        if self._ended or generation < self._generation - 1:
            self._ended = True
            return REFUSED
        self._generation = max(self._generation, generation + 1)
        child = next(self._serials)
        self._generations[child] = self._generation
        return Answer(True, child)


class IdempotentSuccessor:
    """For the grace, a used token gets the very successor it got before."""

    def __init__(self) -> None:
        self._parent: int | None = None
        self._current: int | None = 0
        self._rotated_at = 0
        self._serials = count(1)

    def refresh(self, token: int, now: int) -> Answer:
        if token == self._current:
            self._parent, self._current, self._rotated_at = token, next(self._serials), now
        elif token != self._parent or now - self._rotated_at >= GRACE:
            self._parent = self._current = None
            return REFUSED
        return Answer(True, self._current)


class Ours:
    """`asgi_jwt.sessions.rotation.decide`. `shared`: for a client in `SHARED_CLIENTS`. `bound`: to a key (DPoP)."""

    def __init__(self, *, grace: Millis = GRACE, shared: bool = False, bound: bool = False) -> None:
        self.policy = RotationPolicy(
            grace=grace,
            recovery=RECOVERY,
            refresh_ttl=Millis(7 * DAY),
            shared_clients=frozenset({"agent"} if shared else ()),
        )
        self._session: Session | None = open_session(
            "user",
            "session",
            now=Millis(0),
            refresh_ttl=self.policy.refresh_ttl,
            session_ttl=Millis(30 * DAY),
            client_id="agent",
            jkt="thumbprint" if bound else None,
        )
        self._tokens = {0: Presented(0, "0")}
        self._serials = count(1)

    def refresh(self, token: int, now: int) -> Answer:
        serial = next(self._serials)
        decision = decide(self._session, self._tokens[token], branch=str(serial), now=Millis(now), policy=self.policy)
        self._session = decision.session
        if decision.branch is None:
            return REFUSED
        if decision.verdict in TOKEN_STAYS:
            return STAYS
        assert self._session is not None
        self._tokens[serial] = Presented(self._session.generation, decision.branch)
        return Answer(True, serial)


WAYS: dict[str, Callable[[], Rotation]] = {
    "one-time use": OneTimeUse,
    "grace, independent chains": IndependentChains,
    "parent accepted": ParentAccepted,
    "idempotent successor": IdempotentSuccessor,
    "asgi_jwt": Ours,
}
