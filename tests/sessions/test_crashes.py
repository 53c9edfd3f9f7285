"""A process that dies, or whose store fails, after any write to it, with each order in which stores write an end."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest
from support.app import NOW, Service, WatchedStore, payload

from asgi_jwt import Identity, TokenPair
from asgi_jwt.errors import InvalidGrant, RevokedToken, StoreUnavailable
from asgi_jwt.stores.base import Change, T, outcome
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Revocation, Session, SessionKey
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

ALICE = Identity("alice")
HOUR = Millis(3600)


class Killed(BaseException):
    """The process is gone: no line of it runs any more."""


class Dying(MemoryStore):
    """A store with transactions. After the write numbered `dies_after` it raises `fault`: its process dies, or hears of
    a failure."""

    fault: type[BaseException] = Killed

    def __init__(self) -> None:
        self.elapsed = Clock(0)
        super().__init__(monotonic=self.elapsed)
        self.writes = 0
        self.dies_after = 0

    def wrote(self) -> None:
        self.writes += 1
        if self.writes == self.dies_after:
            raise self.fault

    async def write(self, key: SessionKey, session: Session | None) -> None:
        await super().update(key, lambda stored: (session and session.changed(), None))
        self.wrote()

    async def log(self, entries: Sequence[Revocation]) -> None:
        await super().append_revocations(entries, Millis(0))
        self.wrote()

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        stored = await self.get(key)
        changed, result, entries = outcome(change(stored))
        if changed is not stored:
            await self.write_all(key, stored, changed, entries)
        return result

    async def write_all(
        self, key: SessionKey, stored: Session | None, changed: Session | None, entries: Sequence[Revocation]
    ) -> None:
        await super().update(key, lambda _: (changed, None, entries))
        self.wrote()

    async def append_revocations(self, revocations: Sequence[Revocation], now: int) -> None:
        await self.log(revocations)


class MarkFirst(Dying):
    """As a store without transactions is to write: mark, entries, tombstone."""

    async def write_all(
        self, key: SessionKey, stored: Session | None, changed: Session | None, entries: Sequence[Revocation]
    ) -> None:
        if entries and stored is not None:
            if stored.ending_at is None:
                await self.write(key, stored.marked(Millis(0)))
            await self.log(entries)
        await self.write(key, changed)


class EntryFirst(Dying):
    """The entry, then the tombstone."""

    async def write_all(
        self, key: SessionKey, stored: Session | None, changed: Session | None, entries: Sequence[Revocation]
    ) -> None:
        if entries:
            await self.log(entries)
        await self.write(key, changed)


class TombstoneFirst(Dying):
    """The tombstone, then the entry."""

    async def write_all(
        self, key: SessionKey, stored: Session | None, changed: Session | None, entries: Sequence[Revocation]
    ) -> None:
        await self.write(key, changed)
        if entries:
            await self.log(entries)


class World:
    """Two sessions of a user, each with a token that a thief may show, and processes on one store.

    Two processes, the clock of the second ahead by `skew` seconds, survive each failure of the store. Without a `skew`
    a process does one thing, and the next one has just started: it knows what the store knows.
    """

    def __init__(self, store: Dying, skew: int | None) -> None:
        self.store = store
        self.survive = skew is not None
        self.clocks = [Clock(NOW), Clock(NOW + (skew or 0))]
        self.services: dict[int, Service] = {}
        self.stolen: str = ""
        self.pairs: list[TokenPair] = []

    async def begin(self) -> None:
        # Tokens live longer than those of today's settings, as in all processes a moment ago.
        process = Service(WatchedStore(self.store), clock=self.clocks[0], settings={"access_ttl": HOUR})
        for _ in range(2):
            first = await process.auth.sessions.open(ALICE)
            self.pairs.append(await process.auth.sessions.refresh(first.refresh_token))
            self.stolen = self.stolen or first.refresh_token
        self.turn(60)
        self.pairs = [await process.auth.sessions.refresh(pair.refresh_token) for pair in self.pairs]
        await self.refused()
        self.store.writes = 0

    def process(self, number: int = 0) -> Service:
        if number not in self.services or not self.survive:
            settings = {"access_ttl": 300}
            self.services[number] = Service(WatchedStore(self.store), clock=self.clocks[number], settings=settings)
        return self.services[number]

    def turn(self, seconds: float) -> None:
        for clock in (*self.clocks, self.store.elapsed):
            clock.turn(seconds)

    async def end(self, way: str) -> None:
        sessions = self.process().auth.sessions
        sid = payload(self.pairs[0].access_token)["sid"]
        if way == "logout":
            await sessions.end("alice", sid)
        elif way == "logout everywhere":
            await sessions.end_all("alice")
        else:
            token = self.stolen if way == "theft" else self.pairs[0].refresh_token
            with suppress(InvalidGrant):
                await sessions.refresh(token, load_identity=None if way == "theft" else lambda *_: None)

    async def refused(self) -> list[bool]:
        """Of which sessions the access tokens are refused, by both processes, an interval later."""
        self.turn(1)
        one, other = [await self._refused_by(self.process(number)) for number in (0, 1)]
        assert one == other
        return one

    async def _refused_by(self, process: Service) -> list[bool]:
        refused = []
        for pair in self.pairs:
            try:
                await process.auth.verify(pair.access_token)
            except RevokedToken:
                refused.append(True)
            else:
                refused.append(False)
        return refused

    async def dead(self) -> list[bool]:
        """Which sessions have a tombstone."""
        process = self.process()
        sessions = [await process.session(pair.refresh_token) for pair in self.pairs]
        return [session is None or session.ended_at is not None for session in sessions]

    async def lapse(self) -> None:
        """Let all entries lapse, and the log forget them."""
        self.turn(2 * HOUR)
        for _ in range(2):
            await self.store.append_revocations([Revocation("jti", "https://other.example", "-", Millis(1))], 0)
        self.turn(2)

    async def refreshes(self) -> list[bool]:
        """Which sessions can be refreshed, by the other process."""
        sessions, able = self.process(1).auth.sessions, []
        for n, pair in enumerate(self.pairs):
            try:
                self.pairs[n] = await sessions.refresh(pair.refresh_token)
            except InvalidGrant:
                able.append(False)
            else:
                able.append(True)
        return able


def failed(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(failed(each) for each in error.exceptions)
    return isinstance(error, Killed | StoreUnavailable)


async def faults(
    make: Callable[[], Dying], skew: int | None, way: str, after: int, then: str
) -> tuple[list[str], bool]:
    """What is wrong after so many writes of an end, the last of which fails; and whether it came to the end before."""
    world = World(make(), skew)
    await world.begin()
    world.store.fault = Killed if skew is None else StoreUnavailable
    world.store.dies_after = after
    completed = True
    try:
        await world.end(way)
    except BaseException as error:
        if not failed(error):
            raise
        completed = False
    world.store.dies_after = 0
    found = []
    if then == "refresh":
        await world.refreshes()
    elif then == "retry":
        await world.end(way)
    over = [True, way == "logout everywhere"]
    refused, dead = await world.refused(), await world.dead()
    if any(is_dead and not is_refused for is_dead, is_refused in zip(dead, refused, strict=True)):
        found.append("an access token lives behind a dead session")
    if (completed or then == "retry") and (refused, dead) != (over, over):
        found.append("a session that was to end goes on")
    if not over[1] and (refused[1] or dead[1]):
        found.append("a session of another device ended")
    await world.lapse()
    revived = await world.refreshes()
    if any(was_refused and lives for was_refused, lives in zip(refused, revived, strict=True)):
        found.append("a session that was refused came back")
    return found, completed


async def all_faults(make: Callable[[], Dying], skew: int | None = None) -> set[str]:
    """With each way of ending, each write that is the last, and whatever comes after."""
    found: set[str] = set()
    for way in ("logout", "logout everywhere", "theft", "gone"):
        for then in ("nothing", "refresh", "retry"):
            for after in range(1, 20):
                faulty, completed = await faults(make, skew, way, after, then)
                found.update(faulty)
                if completed:
                    break
            else:
                raise AssertionError("an end takes more than 19 writes")
    return found


@pytest.mark.parametrize("skew", [None, -2, 2], ids=["killed", "store fails, behind", "store fails, ahead"])
@pytest.mark.parametrize("make", [Dying, MarkFirst])
async def test_no_failure_brings_a_session_back(make: Callable[[], Dying], skew: int | None) -> None:
    """P14: A session that was refused once stays refused, and none is dead whose access token lives, wherever a process
    dies or its store fails; tried again, an end comes to its end."""
    assert await all_faults(make, skew) == set()


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (EntryFirst, "a session that was refused came back"),
        (TombstoneFirst, "an access token lives behind a dead session"),
    ],
)
async def test_other_orders_are_found_out(make: Callable[[], Dying], fault: str) -> None:
    """The model finds the faults of an order that has some."""
    assert fault in await all_faults(make)
