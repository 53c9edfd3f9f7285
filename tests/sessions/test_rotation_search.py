"""Every schedule of a small world, searched to its end: what honest browsers and thieves can come to.

Time is counted in ticks. A state holds all that the rules can tell apart, relative to the present generation and the
present tick, with branches renamed in a fixed order; so there are few of them, and the search, which stops when no
new state is left, has seen schedules of any length.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import pytest

from asgi_jwt.sessions.rotation import ANY_BRANCH, TOKEN_STAYS, Decision, Presented, RotationPolicy, Verdict, decide
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Session

StateT = TypeVar("StateT", bound=Hashable)

NOW = Millis(1_000_000)
GENERATION = 1000
FOREVER = 10**9
MANY = 50_000


class Token(NamedTuple):
    """A refresh token: how far its generation is from the present one, and its branch."""

    offset: int
    branch: str

    def seen_from(self, rotations: int) -> "Token":
        return Token(self.offset - rotations, self.branch)


class Window(NamedTuple):
    """What a session's record holds that matters: the age of its window, whether it was seen, and whose it is."""

    age: int | None = None
    seen: bool = False
    rotated_branch: str | None = None

    def named(self, name: Callable[[str], str]) -> "Window":
        if self.rotated_branch in (None, ANY_BRANCH):
            return self
        return self._replace(rotated_branch=name(str(self.rotated_branch)))


def present(
    window: Window, token: Token, branch: str, skew: int, policy: RotationPolicy, client_id: str = "browser"
) -> tuple[Decision, Window, int]:
    """What the rules decide, the window that follows, and the number of rotations (0 or 1)."""
    session = Session(
        sid="s1",
        subject="alice",
        client_id=client_id,
        generation=GENERATION,
        rotated_branch=window.rotated_branch,
        window_at=None if window.age is None else NOW - window.age,
        seen=window.seen,
        created_at=Millis(0),
        used_at=Millis(0),
        expires_at=Millis(FOREVER),
        ends_at=Millis(FOREVER),
    )
    presented = Presented(GENERATION + token.offset, token.branch)
    decision = decide(session, presented, branch=branch, now=NOW + skew, policy=policy)
    kept = decision.session
    assert kept is not None
    age = None if kept.window_at is None else NOW - kept.window_at
    return decision, Window(age, kept.seen, kept.rotated_branch), kept.generation - GENERATION


def older(window: Window, oldest: int) -> Window:
    return window if window.age is None else window._replace(age=min(window.age + 1, oldest))


def renaming() -> Callable[[str], str]:
    """A function that gives the branches it is asked for names in the order of their first appearance."""
    names: dict[str, str] = {}
    return lambda branch: names.setdefault(branch, f"b{len(names)}")


def search(start: StateT, steps: Callable[[StateT], Iterable[StateT]]) -> set[StateT]:
    """All states that can be reached; they have to be few."""
    reached, waiting = {start}, [start]
    while waiting:
        assert len(reached) < MANY
        for state in steps(waiting.pop()):
            if state not in reached:
                reached.add(state)
                waiting.append(state)
    return reached


# Honest browsers


class Message(NamedTuple):
    """A request on its way, or (`answers`) the answer to one; and for how many ticks."""

    answers: bool
    token: Token
    age: int


class World(NamedTuple):
    """One cookie jar, shared by any number of tabs, and what is on its way.

    `before` is the window as it was before the present generation began; a failover brings it back, once.
    """

    window: Window = Window()
    jar: Token = Token(0, "b0")
    messages: tuple[Message, ...] = ()
    before: Window | None = None
    failed_over: bool = False

    def canonical(self) -> "World":
        name = renaming()
        window = self.window.named(name)
        jar = self.jar._replace(branch=name(self.jar.branch))
        before = self.before and self.before.named(name)
        messages = sorted(
            message._replace(token=message.token._replace(branch=name(message.token.branch)))
            for message in sorted(self.messages)
        )
        return World(window, jar, tuple(messages), before, self.failed_over)


class FalseLogoutError(Exception):
    """The rules ended an honest session."""


class Browser(NamedTuple):
    """What may happen to an honest user.

    A request or an answer takes at most `leg` ticks, or is lost; at most `parallel` are on their way; and the clocks
    of the servers are at most `skew` ticks from the true time. With `failover` the store loses, once and at any time,
    its last rotation and all that it has written since.
    """

    policy: RotationPolicy
    leg: int
    skew: int = 0
    parallel: int = 3
    failover: bool = False

    def steps(self, world: World) -> Iterator[World]:
        return (step.canonical() for step in self._steps(world))

    def _steps(self, world: World) -> Iterator[World]:
        if len(world.messages) < self.parallel:
            yield world._replace(messages=(*world.messages, Message(False, world.jar, 0)))
        if self.failover and world.before is not None and not world.failed_over:
            yield self._fail_over(world, world.before)
        if all(message.age < self.leg for message in world.messages) and not self._sleeps_too_long(world):
            yield self._tick(world)
        for message in world.messages:
            rest = list(world.messages)
            rest.remove(message)
            if not message.answers:
                yield from (self._serve(world, message, rest, skew) for skew in {-self.skew, 0, self.skew})
            else:
                yield world._replace(jar=message.token, messages=tuple(rest))
                yield world._replace(messages=tuple(rest))  # the answer is lost

    def _sleeps_too_long(self, world: World) -> bool:
        """Who sleeps through all of the recovery after a lost answer is logged out, and that is meant so."""
        longest = self.policy.recovery - 2 * (self.leg + self.skew)
        return world.jar.offset < 0 and world.window.age is not None and world.window.age >= longest

    def _tick(self, world: World) -> World:
        oldest = max(2 * self.policy.grace, self.policy.recovery) + 2 * self.skew
        messages = tuple(message._replace(age=message.age + 1) for message in world.messages)
        before = world.before and older(world.before, oldest)
        return world._replace(window=older(world.window, oldest), messages=messages, before=before)

    def _fail_over(self, world: World, before: Window) -> World:
        messages = tuple(message._replace(token=message.token.seen_from(-1)) for message in world.messages)
        return World(before, world.jar.seen_from(-1), messages, failed_over=True)

    def _serve(self, world: World, request: Message, rest: list[Message], skew: int) -> World:
        decision, window, rotations = present(world.window, request.token, "fresh", skew, self.policy)
        if decision.verdict is Verdict.REUSED:
            raise FalseLogoutError(f"{request} in {world}")
        messages = [message._replace(token=message.token.seen_from(rotations)) for message in rest]
        if decision.verdict not in TOKEN_STAYS:  # else no cookie is sent
            messages.append(Message(True, Token(0, "fresh"), 0))
        before = world.window if rotations and self.failover and not world.failed_over else world.before
        return World(window, world.jar.seen_from(rotations), tuple(messages), before, world.failed_over)


def policy(grace: int, recovery: int) -> RotationPolicy:
    """A policy with a shared client, whose sessions are `Agents`. All others are sessions of another client."""
    return RotationPolicy(
        grace=Millis(grace),
        recovery=Millis(recovery),
        refresh_ttl=Millis(FOREVER),
        shared_clients=frozenset({"agent"}),
    )


@pytest.mark.parametrize(
    "browser",
    [
        Browser(policy(grace=2, recovery=8), leg=1),
        Browser(policy(grace=5, recovery=13), leg=2),
        Browser(policy(grace=4, recovery=13), leg=1, skew=1),
        Browser(policy(grace=2, recovery=8), leg=1, parallel=4),
        Browser(policy(grace=2, recovery=8), leg=1, failover=True),
    ],
    ids=["as long as the grace allows", "finer ticks", "clocks apart", "four in flight", "a failover"],
)
def test_no_honest_user_is_logged_out(browser: Browser) -> None:
    """P11: However requests race, arrive late or out of order, and answers are lost, no honest session ends."""
    reached = search(World(), browser.steps)
    assert len(reached) > 100


@pytest.mark.parametrize(
    "browser",
    [
        Browser(policy(grace=5, recovery=14), leg=3),
        Browser(policy(grace=5, recovery=14), leg=2, skew=1),
        Browser(policy(grace=0, recovery=14), leg=1),
    ],
    ids=["legs longer than half the grace", "legs and clocks together", "strict one-time use"],
)
def test_search_finds_false_logouts(browser: Browser) -> None:
    """Where twice the leg and the clocks' difference outlast the grace, or without it, honest users are logged out."""
    with pytest.raises(FalseLogoutError):
        search(World(), browser.steps)


# A thief


class Heist(NamedTuple):
    """A victim's cookie jar, and what a thief has: the tokens that may still be of use to him.

    `since` counts the ticks since the victim's last refresh; `refreshes` those refreshes since the theft, `renewals`
    those of them that handed out a token. `thieved` says that the thief's last step was a success.
    """

    window: Window = Window()
    jar: Token = Token(0, "b0")
    loot: frozenset[Token] | None = None
    since: int = 0
    refreshes: int = 0
    renewals: int = 0
    thieved: bool = False

    def canonical(self) -> "Heist":
        """Of tokens that differ in nothing but their branch the thief needs one, and of overtaken ones none."""
        if self.loot is None:
            return self._named(frozenset())._replace(loot=None)
        useful = set()
        for token in self.loot:
            if token in (self.jar, (-1, self.window.rotated_branch)):
                useful.add(token)
            elif token.offset == 0:
                useful.add(Token(0, "sibling"))
        return self._named(frozenset(useful))

    def _named(self, loot: frozenset[Token]) -> "Heist":
        name = renaming()
        window = self.window.named(name)
        overtaken = self.jar.offset < -1
        jar = Token(-2, "overtaken") if overtaken else self.jar._replace(branch=name(self.jar.branch))
        named = frozenset(token._replace(branch=name(token.branch)) for token in sorted(loot))
        return self._replace(window=window, jar=jar, loot=named)


class Theft(NamedTuple):
    """A thief who steals once and then times himself freely, and a victim who waits `spacing` ticks in between."""

    policy: RotationPolicy
    spacing: int

    def steps(self, heist: Heist) -> Iterator[Heist]:
        if heist.loot == frozenset():  # nothing left that could be of use
            return iter(())
        return (step.canonical() for step in self._steps(heist._replace(thieved=False)))

    def _steps(self, heist: Heist) -> Iterator[Heist]:
        longest = max(2 * self.policy.grace, self.policy.recovery, self.spacing) + 1
        yield heist._replace(window=older(heist.window, longest), since=min(heist.since + 1, longest))
        if heist.loot is None:
            yield heist._replace(loot=frozenset([heist.jar]))
        if heist.since >= self.spacing:
            yield from self._refresh(heist)
        for token in heist.loot or ():
            yield from self._steal_on(heist, token)

    def _refresh(self, heist: Heist) -> Iterator[Heist]:
        decision, window, rotations = present(heist.window, heist.jar, "victim's", 0, self.policy)
        if decision.branch is not None:
            stays = decision.verdict in TOKEN_STAYS
            stolen = heist.loot is not None
            yield heist._replace(
                window=window,
                jar=heist.jar if stays else Token(0, "victim's"),
                loot=heist.loot and frozenset(token.seen_from(rotations) for token in heist.loot),
                since=0,
                refreshes=heist.refreshes + stolen,
                renewals=heist.renewals + (stolen and not stays),
            )

    def _steal_on(self, heist: Heist, token: Token) -> Iterator[Heist]:
        decision, window, rotations = present(heist.window, token, "thief's", 0, self.policy)
        if decision.branch is not None:
            loot = {held.seen_from(rotations) for held in heist.loot or ()}
            if decision.verdict not in TOKEN_STAYS:
                loot.add(Token(0, "thief's"))
            yield heist._replace(window=window, jar=heist.jar.seen_from(rotations), loot=frozenset(loot), thieved=True)


@pytest.mark.parametrize(
    ("theft", "refreshes"),
    [
        (Theft(policy(grace=2, recovery=12), spacing=4), 3),
        (Theft(policy(grace=2, recovery=12), spacing=6), 3),
        (Theft(policy(grace=2, recovery=12), spacing=8), 2),
        (Theft(policy(grace=2, recovery=12), spacing=11), 2),
        (Theft(policy(grace=2, recovery=0), spacing=8), 1),
        (Theft(policy(grace=0, recovery=12), spacing=4), 0),
    ],
    ids=["2G apart", "3G apart", "4G apart", "nearly R apart", "no recovery", "strict"],
)
def test_thief_is_out(theft: Theft, refreshes: int) -> None:
    """P13: However he times himself, a thief has no success once his victim was handed two tokens after the theft.

    A refresh that is SAME hands out none, and a thief can make his victim's next one so: by the sight of a token of
    the present generation, and by a recovery. Counting those, his last success comes after the third refresh at the
    latest, and after the second where they are 4G apart, as they are with access tokens that live for minutes.
    """
    successes = [heist for heist in search(Heist(), theft.steps) if heist.thieved]

    assert max(heist.renewals for heist in successes) <= 1
    assert max(heist.refreshes for heist in successes) == refreshes


# Several processes, and a thief beside them


class Crew(NamedTuple):
    """Processes with private copies of one session's refresh token, and the answers on their way to them.

    The rules tell tokens that are more than one generation old apart no longer, so all of them are one token.
    """

    window: Window = Window()
    copies: tuple[Token, ...] = (Token(0, "b0"), Token(0, "b0"))
    answers: tuple[tuple[int, Token], ...] = ()

    def canonical(self) -> "Crew":
        name = renaming()
        window = self.window.named(name)

        def named(token: Token) -> Token:
            return Token(-2, "old") if token.offset < -1 else token._replace(branch=name(token.branch))

        copies = tuple(named(token) for token in self.copies)
        return Crew(window, copies, tuple((process, named(token)) for process, token in self.answers))


class Agents(NamedTuple):
    """What may happen to the processes of an agent: at any time any of them refreshes, gets an answer or never gets it,
    or is replaced from the oldest copy. Up to `parallel` answers are on their way, of one process or of several."""

    policy: RotationPolicy
    client_id: str = "agent"
    parallel: int = 2

    def steps(self, crew: Crew) -> Iterator[Crew]:
        return (step.canonical() for step in self._steps(crew))

    def _steps(self, crew: Crew) -> Iterator[Crew]:
        oldest = max(2 * self.policy.grace, self.policy.recovery)
        yield crew._replace(window=older(crew.window, oldest))
        for process, token in enumerate(crew.copies):
            yield self._with_copy(crew, process, Token(-2, "old"))
            if len(crew.answers) < self.parallel:
                yield self._refresh(crew, process, token)
        for n, (process, token) in enumerate(crew.answers):
            rest = crew._replace(answers=crew.answers[:n] + crew.answers[n + 1 :])
            yield rest  # the answer is lost
            yield self._with_copy(rest, process, token)

    def _with_copy(self, crew: Crew, process: int, token: Token) -> Crew:
        return crew._replace(copies=(*crew.copies[:process], token, *crew.copies[process + 1 :]))

    def _refresh(self, crew: Crew, process: int, token: Token) -> Crew:
        decision, window, rotations = present(crew.window, token, "fresh", 0, self.policy, self.client_id)
        if decision.branch is None:
            raise FalseLogoutError(f"{token} in {crew}")
        assert not decision.is_stale or window == crew.window, "an old token extends nothing"
        copies = tuple(copy.seen_from(rotations) for copy in crew.copies)
        answers = [(each, answer.seen_from(rotations)) for each, answer in crew.answers]
        if decision.verdict not in TOKEN_STAYS:
            answers.append((process, Token(0, "fresh")))
        return Crew(window, copies, tuple(answers))


@pytest.mark.parametrize("grace", [2, 0])
def test_shared_session(grace: int) -> None:
    """No process of a shared client is ever refused, and any process of another client may be, with GRACE=0 too."""
    assert len(search(Crew(), Agents(policy(grace, recovery=8)).steps)) > 100
    with pytest.raises(FalseLogoutError):
        search(Crew(), Agents(policy(grace, recovery=8), client_id="browser").steps)
