"""Users with several tabs, thieves and failovers, at random: what holds of the rules holds in every store."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Protocol, TypeVar

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from support.stores import url_of

from asgi_jwt.sessions.rotation import TOKEN_STAYS, Decision, Presented, RotationPolicy, Verdict, decide, open_session
from asgi_jwt.stores.base import Change, SessionStore, outcome
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Session, SessionKey
from asgi_jwt.stores.urls import open_store

T = TypeVar("T")

SECOND = Millis(1000)
MINUTE = Millis(60 * SECOND)
HOUR = Millis(60 * MINUTE)
DAY = Millis(24 * HOUR)
START = 1_700_000_000_000

LEG = 5 * SECOND
SKEW = 2 * SECOND
PARALLEL = 3
USERS = 2
SESSION_TTL = Millis(30 * DAY)
POLICY = RotationPolicy(
    grace=2 * (LEG + SKEW) + SECOND,  # as little as will do
    recovery=DAY,
    refresh_ttl=Millis(7 * DAY),
    shared_clients=frozenset({"agent"}),
)

HANDED_OUT = (Verdict.ROTATED, Verdict.REPLAYED, Verdict.RECOVERED)
STEPS = (0, SECOND, 4 * SECOND, 8 * SECOND, 16 * SECOND, 31 * SECOND, 15 * MINUTE, 12 * HOUR)

anyone = st.integers(0, USERS - 1)
skews = st.sampled_from([0, -SKEW, SKEW])


class Driver(Protocol):
    """Where the machine keeps its sessions."""

    def get(self, key: SessionKey) -> Session | None: ...

    def update(self, key: SessionKey, change: Change[T]) -> T: ...


class Rules:
    """The pure rules by themselves: a variable for each session."""

    def __init__(self) -> None:
        self._sessions: dict[SessionKey, Session] = {}

    def get(self, key: SessionKey) -> Session | None:
        return self._sessions.get(key)

    def update(self, key: SessionKey, change: Change[T]) -> T:
        changed, result, _ = outcome(change(self.get(key)))
        assert changed is not None
        self._sessions[key] = changed
        return result


class Store:
    """A store, in an event loop of its own."""

    def __init__(self, portal: BlockingPortal, store: SessionStore) -> None:
        self._portal = portal
        self._store = store

    def get(self, key: SessionKey) -> Session | None:
        return self._portal.call(self._store.get, key)

    def update(self, key: SessionKey, change: Change[T]) -> T:
        return self._portal.call(partial(self._store.update, key, change))


@dataclass
class Message:
    """A request or, when it `answers`, the answer to one; it arrives by `due` at the latest."""

    token: Presented
    answers: bool
    due: int


@dataclass
class User:
    """One login: a cookie jar for all tabs, what is on its way, and what a thief has of it."""

    key: SessionKey
    jar: Presented
    alive_until: int
    issued: list[Presented]
    past: list[Session]
    """Every state of the session that was committed, and that a failover may bring back."""
    messages: list[Message] = field(default_factory=list)
    disturbed: bool = False
    """By a theft, or a failover with something on its way: then the session may end."""
    ended: bool = False
    """By a REUSED."""
    out: bool = False
    """The client was told that it is over."""
    generations: set[int] = field(default_factory=set)
    loot: list[Presented] = field(default_factory=list)
    unknown_to_thief: set[Presented] = field(default_factory=set)
    thief_is_out: bool = False


class Rotation(RuleBasedStateMachine):
    """The world around `decide`, and what it promises to those in it."""

    def __init__(self, driver: Driver, serials: Iterator[int]) -> None:
        super().__init__()
        self.driver = driver
        self.serials = serials
        self.now = START
        self.users: list[User] = []
        self.agent: User
        self.failovers = 0

    # What happens

    @initialize()
    def open(self) -> None:
        self.users = [self._logged_in() for _ in range(USERS)]
        self.agent = self._logged_in("agent")

    @rule(age=st.sampled_from([0, 0, 1, 2, 5, 20]), skew=skews)
    def use_copy(self, age: int, skew: int) -> None:
        """A process of a shared client, or a thief among them, presents the newest token or any older one."""
        copies, before = self.agent.issued, self.driver.get(self.agent.key)
        decision = self._refresh(self.agent, copies[max(0, len(copies) - 1 - age)], skew)
        if decision.branch is None:
            assert decision.verdict is Verdict.INVALID
            assert self.now + skew >= self.agent.alive_until, "only when no process was there for too long"
            self.agent = self._logged_in("agent")
        assert not decision.is_stale or self.driver.get(self.agent.key) == before, "an old token extends nothing"

    @precondition(lambda self: any(user.out for user in self.users))
    @rule()
    def log_in_again(self) -> None:
        self.users = [self._logged_in() if user.out else user for user in self.users]

    @rule(skew=skews, answered=st.sampled_from([True, True, True, False]), step=st.sampled_from(STEPS))
    def load_pages(self, skew: int, answered: bool, step: int) -> None:
        """Everyone's request goes through at once, and its answer comes back, or is lost; then time passes."""
        for user in self.users:
            before = len(user.messages)
            self._arrive(user, user.jar, skew)
            for answer in user.messages[before:]:
                user.messages.remove(answer)
                if answered:
                    user.jar = answer.token
        self._wait(step)

    @rule(n=anyone)
    def send(self, n: int) -> None:
        """A tab asks for a new access token with the cookie of the jar."""
        user = self.users[n]
        if len(user.messages) < PARALLEL:
            user.messages.append(Message(user.jar, answers=False, due=self.now + LEG))

    @precondition(lambda self: any(user.messages for user in self.users))
    @rule(n=anyone, which=st.integers(0, PARALLEL - 1), skew=skews)
    def receive(self, n: int, which: int, skew: int) -> None:
        """Any message on its way comes through, whichever was sent first."""
        messages = self.users[n].messages
        if messages:
            self._receive(self.users[n], messages[which % len(messages)], skew)

    @precondition(lambda self: any(user.messages for user in self.users))
    @rule(n=anyone, which=st.integers(0, PARALLEL - 1))
    def lose(self, n: int, which: int) -> None:
        """Any message on its way is lost."""
        messages = self.users[n].messages
        if messages:
            del messages[which % len(messages)]

    @rule(step=st.sampled_from([*STEPS, *STEPS, 25 * HOUR, 8 * DAY]))
    def wait(self, step: int) -> None:
        self._wait(step)

    def _wait(self, step: int) -> None:
        """Time passes; whatever is due until then arrives in its time."""
        until = self.now + step
        while due := [(message.due, n) for n, user in enumerate(self.users) for message in user.messages]:
            soonest, n = min(due)
            if soonest > until:
                break
            self.now = max(self.now, soonest)
            user = self.users[n]
            self._receive(user, min(user.messages, key=lambda message: message.due), 0)
        self.now = until

    @precondition(lambda self: self.victim.thief_is_out or not self.victim.loot)
    @rule(which=st.sampled_from([0, 0, 0, 1, 2]))
    def steal(self, which: int) -> None:
        """A thief copies the victim's cookie, or any token handed out lately."""
        tokens = [self.victim.jar, *reversed(self.victim.issued)]
        self.victim.loot.append(tokens[which % len(tokens)])
        self.victim.disturbed = True
        self.victim.unknown_to_thief.clear()
        self.victim.thief_is_out = False

    @precondition(lambda self: self.victim.loot)
    @rule(which=st.sampled_from([0, 0, 1, 2]), skew=skews)
    def use_loot(self, which: int, skew: int) -> None:
        """The thief presents a token that he has; what he gets for it he keeps as well."""
        loot = self.victim.loot
        decision = self._refresh(self.victim, loot[-1 - which % len(loot)], skew)
        if decision.branch is not None:
            assert not self.victim.thief_is_out
            if decision.verdict not in TOKEN_STAYS:
                loot.append(self.victim.issued[-1])

    @precondition(lambda self: self.failovers < 2)
    @rule(n=anyone, writes=st.integers(1, 3))
    def fail_over(self, n: int, writes: int) -> None:
        """A replica takes over that has not heard of the last writes."""
        user = self.users[n]
        if len(user.past) > writes and (user is self.victim or not user.messages):
            self.failovers += 1
            del user.past[-writes:]
            restored = user.past[-1]
            self.driver.update(user.key, lambda _: (replace(restored), None))
            user.ended = restored.ended_at is not None
            user.generations = {generation for generation in user.generations if generation <= restored.generation}
            user.alive_until = min(user.alive_until, restored.expires_at)
            user.disturbed = user.disturbed or bool(user.messages)
            user.unknown_to_thief.clear()
            user.thief_is_out = False

    @property
    def victim(self) -> User:
        """Whom thieves rob, and failovers hit with requests on their way; the others live in peace."""
        return self.users[0]

    # What follows from it, and what must hold

    def _logged_in(self, client_id: str = "browser") -> User:
        key = SessionKey("alice", f"s{next(self.serials)}")
        session = open_session(
            key.subject,
            key.sid,
            now=Millis(self.now),
            refresh_ttl=POLICY.refresh_ttl,
            session_ttl=SESSION_TTL,
            client_id=client_id,
        )
        self.driver.update(key, lambda _: (session, None))
        first = Presented(0, "b0")
        return User(key, first, alive_until=session.expires_at, issued=[first], past=[session])

    def _receive(self, user: User, message: Message, skew: int) -> None:
        user.messages.remove(message)
        if message.answers:
            user.jar = message.token
        else:
            self._arrive(user, message.token, skew)

    def _arrive(self, user: User, token: Presented, skew: int) -> None:
        before = self.driver.get(user.key)
        decision = self._refresh(user, token, skew)
        user.out = user.out or decision.branch is None
        if not user.disturbed:
            self._require_no_false_logout(user, before, decision, self.now + skew)
        if decision.verdict not in TOKEN_STAYS and token in user.unknown_to_thief:
            user.thief_is_out = True  # his victim's second refresh, with a token that the first one handed out
        if decision.verdict in HANDED_OUT:
            user.unknown_to_thief.add(user.issued[-1])
            user.messages.append(Message(user.issued[-1], answers=True, due=self.now + LEG))

    def _require_no_false_logout(self, user: User, before: Session | None, decision: Decision, now: int) -> None:
        if decision.verdict is Verdict.REUSED:
            assert before is not None
            assert before.window_at is not None
            assert now - before.window_at >= POLICY.recovery, "only who sleeps too long after a lost answer"
        if decision.verdict is Verdict.INVALID and not user.ended:
            assert now >= user.alive_until - 2 * SKEW, "only who was away for too long"

    def _refresh(self, user: User, token: Presented, skew: int) -> Decision:
        now = self.now + skew
        branch = f"b{next(self.serials)}"

        def change(session: Session | None) -> tuple[Session | None, Decision]:
            decision = decide(session, token, branch=branch, now=Millis(now), policy=POLICY)
            return decision.session, decision

        before = self.driver.get(user.key)
        decision = self.driver.update(user.key, change)
        after = self.driver.get(user.key)

        assert before is not None
        assert after is not None
        assert decision.session is not None
        assert after == replace(decision.session, version=after.version), "the store keeps what was decided"
        assert after.ends_at == before.ends_at
        assert after.used_at >= before.used_at
        assert after.expires_at >= before.expires_at
        self._require_an_end_to_be_final(user, decision)
        if decision.verdict in (Verdict.ROTATED, Verdict.HEALED):
            assert after.generation not in user.generations, "a generation begins once"
            user.generations.add(after.generation)
        if decision.verdict is Verdict.ROTATED:
            user.alive_until = min(now + POLICY.refresh_ttl, after.ends_at)
        if decision.verdict in HANDED_OUT:
            user.issued.append(Presented(after.generation, branch))
        if after != before:
            user.past.append(after)
        return decision

    def _require_an_end_to_be_final(self, user: User, decision: Decision) -> None:
        if user.ended:
            assert decision.verdict is Verdict.INVALID
        user.ended = user.ended or decision.verdict is Verdict.REUSED


@contextmanager
def driven_by(kind: str, request: pytest.FixtureRequest) -> Iterator[Driver]:
    if kind == "rules":
        yield Rules()
        return
    store = open_store(url_of(kind, request))
    with start_blocking_portal() as portal:
        yield Store(portal, store)
        portal.call(store.aclose)


@pytest.mark.parametrize(
    ("kind", "examples"),
    [
        ("rules", 50),
        ("memory", 40),
        ("sqlite", 25),
        ("valkey", 15),
        ("postgres", 10),
        pytest.param("rules", 250, marks=pytest.mark.outside),
    ],
)
def test_rotation(kind: str, examples: int, request: pytest.FixtureRequest) -> None:
    """No honest user is logged out, a thief is out by the second refresh, and an end is final: by rule and store.

    No process of a shared client is refused, whatever copy it has.
    """
    serials = count()
    with driven_by(kind, request) as driver:

        class Driven(Rotation):
            def __init__(self) -> None:
                super().__init__(driver, serials)

        run_state_machine_as_test(
            Driven,
            settings=settings(
                max_examples=examples,
                stateful_step_count=60,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.generate, Phase.shrink),
            ),
        )
