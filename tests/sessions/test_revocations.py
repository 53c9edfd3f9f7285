"""The copy of the log: read when it is due and once for all, by a store that answers, stalls, fails or forgets."""

from collections import Counter
from functools import partial
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from support.waiting import PATIENCE

from asgi_jwt import Claims, events
from asgi_jwt.errors import RevocationsUnavailable, RevokedToken, StoreUnavailable
from asgi_jwt.events import (
    Event,
    EventSink,
    RevocationsNotRead,
    RevocationsReadAgain,
    RevocationsRebuilt,
    RevocationsStale,
)
from asgi_jwt.sessions.revocations import RevocationList, RevocationPolicy
from asgi_jwt.stores.base import LOG_PAGE, LogPage
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Revocation
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

ISSUER = "https://issuer.example"
NOW = Millis(1_800_000_000)
HOUR = Millis(3600)
CLAIMS = Claims({"iss": ISSUER, "sub": "alice", "sid": "s1", "jti": "j1", "iat": NOW, "exp": NOW + 900})
OTHER = Claims({**CLAIMS.to_dict(), "sid": "s2", "jti": "j2"})
DOWN = StoreUnavailable("down")


class Log(MemoryStore):
    """A store whose log can be closed behind a gate, broken and flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = anyio.Event()
        self.gate.set()
        self.fault: Exception | None = None
        self.reads = 0
        self.generation = 0

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        self.reads += 1
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        generation, inner = cursor or (self.generation, None)
        page = await super().read_revocations(inner if generation == self.generation else None)
        return page._replace(cursor=page.cursor and (self.generation, page.cursor))

    def flush(self) -> None:
        self._log.clear()
        self.generation += 1


class Reader:
    """A process's list on a log that others write to."""

    def __init__(self, log: Log | None = None, *, listener: Any = None, **policy: Any) -> None:
        self.log = log or Log()
        self.clock = Clock(NOW)
        self.monotonic = Clock(100)
        self.events: list[Event] = []
        self.list = RevocationList(
            lambda: self.log,
            RevocationPolicy(**policy),
            clock=self.clock,
            events=EventSink(listener or self.events.append),
            monotonic=self.monotonic,
        )

    def turn(self, seconds: float) -> None:
        """Let so much time pass."""
        self.clock.turn(seconds)
        self.monotonic.turn(seconds)

    async def revoke(self, *sids: str, seconds: float = HOUR) -> None:
        """As another process does it."""
        await self.log.append_revocations([a_session(sid, seconds=seconds) for sid in sids or ("s1",)], Millis(0))

    async def refuses(self, claims: Claims = CLAIMS) -> bool:
        """Whether a request with the token is refused for its revocation."""
        try:
            await self.list.check(claims)
        except RevokedToken:
            return True
        return False

    async def told(self) -> list[Event]:
        """The events so far, once their tasks have come to them."""
        await wait_all_tasks_blocked()
        return self.events


def a_session(sid: str = "s1", *, seconds: float = HOUR) -> Revocation:
    return Revocation("sid", ISSUER, sid, Millis(int((NOW + seconds) * 1000)))


@pytest.fixture
def reader() -> Reader:
    return Reader()


async def test_first_read(reader: Reader) -> None:
    """Before the first read nothing passes at sight; it brings all that the log has, page by page."""
    for kind in "tu":
        await reader.revoke(*(f"{kind}{n}" for n in range(LOG_PAGE)))
    await reader.revoke()
    assert (reader.list.passes(OTHER), reader.list.age, len(reader.list)) == (False, None, 0)
    await reader.list.check(OTHER)
    assert (reader.list.passes(OTHER), reader.list.age, len(reader.list)) == (True, 0, 2 * LOG_PAGE + 1)
    assert (reader.log.reads, reader.list.reads) == (3, 1)
    assert (reader.list.passes(CLAIMS), reader.list.is_revoked(CLAIMS), await reader.refuses()) == (False, True, True)


async def test_copy_is_read_on_when_it_is_older_than_the_interval(reader: Reader) -> None:
    """Within the interval no request reads; the next one after it has what is new before it is answered."""
    await reader.list.check(CLAIMS)
    await reader.revoke()
    reader.clock.turn(0.99)
    assert (reader.list.passes(CLAIMS), await reader.refuses()) == (True, False)
    reader.clock.turn(0.02)
    assert (reader.list.passes(CLAIMS), await reader.refuses()) == (False, True)
    assert (reader.log.reads, reader.list.interval) == (2, 1)
    assert (await reader.refuses(OTHER), reader.log.reads) == (False, 2)


async def test_interval_of_nothing() -> None:
    """With the interval 0 every request reads."""
    reader = Reader(interval=0)
    for reads in (1, 2, 3):
        await reader.list.check(OTHER)
        assert (reader.log.reads, reader.list.passes(OTHER)) == (reads, False)


async def test_token_is_looked_up_when_something_was_added() -> None:
    """A token that passed passes at sight, until anything is revoked: then it is looked up anew, by each list. Entries
    that this process has put into the log count before they are read."""
    one, other = Reader(), Reader()
    for reader in (one, other):
        await reader.list.check(CLAIMS)
        assert reader.list.passes(CLAIMS)
    one.list.add([a_session("s2")])
    assert (one.list.passes(CLAIMS), one.list.passes(OTHER)) == (True, False)
    one.list.add([a_session(), Revocation("jti", ISSUER, "j3", (Millis(Millis(NOW + HOUR) * 1000)))])
    assert [reader.list.passes(CLAIMS) for reader in (one, other, one)] == [False, True, False]
    assert (one.list.is_revoked(CLAIMS), one.list.has_session(ISSUER, "s1")) == (True, True)
    assert [one.list.has_token(ISSUER, jti) for jti in ("j3", "j1")] == [True, False]
    assert one.log.reads == 1


async def test_clock_that_was_set_back(reader: Reader) -> None:
    """A copy from the future is as good as an old one: it is read on."""
    await reader.list.check(CLAIMS)
    reader.clock.turn(-3600)
    assert not reader.list.passes(CLAIMS)
    await reader.list.check(CLAIMS)
    assert (reader.list.passes(CLAIMS), reader.log.reads) == (True, 2)


@pytest.mark.parametrize("skew", [-3 * HOUR, 3 * HOUR])
async def test_clocks_that_are_off(reader: Reader, skew: float) -> None:
    """A clock that is set by hours, and set back, takes no entry from the mirror; an entry of a process whose clock is
    hours off is mirrored for its life."""
    made = int(NOW + skew) * 1000
    await reader.log.append_revocations(
        [Revocation("sid", ISSUER, "s1", Millis(made + HOUR * 1000), Millis(made))], Millis(made)
    )
    for seconds in (0, skew, -skew):
        reader.clock.turn(seconds)
        assert await reader.refuses()
    reader.turn(HOUR + 120)
    await reader.list.poll()
    assert (await reader.refuses(), len(reader.list)) == (False, 0)


async def test_all_wait_for_one_read(reader: Reader) -> None:
    """However many ask at once, the log is read once, and a cancelled one takes the read from nobody."""
    reader.log.gate = anyio.Event()
    passed: list[bool] = []

    async def ask() -> None:
        passed.append(not await reader.refuses(OTHER))

    async with anyio.create_task_group() as group, anyio.create_task_group() as leaving:
        leaving.start_soon(ask)
        await wait_all_tasks_blocked()
        for _ in range(100):
            group.start_soon(ask)
        await wait_all_tasks_blocked()
        leaving.cancel_scope.cancel()
        assert passed == []
        reader.log.gate.set()
    assert (passed, reader.log.reads) == ([True] * 100, 1)


async def test_notes_of_tokens_are_bounded(reader: Reader) -> None:
    """However many tokens pass, the mirror notes 4096 of them at the most."""
    await reader.list.check(OTHER)
    tokens = [Claims({**CLAIMS.to_dict(), "jti": f"{n}"}) for n in range(5000)]
    assert all(reader.list.passes(claims) for claims in tokens for _ in range(2))
    assert len(reader.list._passed) <= 4096


@pytest.mark.parametrize(
    ("outage", "turns", "stale"),
    [("closed", [1.1] * 4, False), ("closed", [5.1, 1, 60], True), ("open", [5.1, 1, 60], True)],
    ids=["short", "long, closed", "long, open"],
)
async def test_outage(outage: Any, turns: list[float], stale: bool) -> None:
    """While the store is down for less than the staleness, tokens pass by the copy; past it they are refused with 503,
    or pass. Those revoked never pass, nobody waits, and each thing is told once."""
    reader = Reader(outage=outage)
    await reader.revoke()
    await reader.list.check(OTHER)
    reader.log.fault = DOWN
    for seconds in turns:
        reader.clock.turn(seconds)
        if stale and outage == "closed":
            with pytest.raises(RevocationsUnavailable) as refused:
                await reader.list.check(OTHER)
            assert (refused.value.status, refused.value.retry_after) == (503, 1)
        else:
            await reader.list.check(OTHER)
        assert await reader.refuses()
        assert reader.list.out_of_reach is (stale and outage == "closed")
        await wait_all_tasks_blocked()
    assert reader.log.reads == 1 + len(turns)
    reader.log.fault = None
    reader.clock.turn(0.3)
    await reader.list.check(OTHER)
    assert not reader.list.out_of_reach
    expected = [RevocationsNotRead("down"), RevocationsReadAgain(), *[RevocationsStale(outage)] * stale]
    assert Counter(await reader.told()) == Counter(expected)
    assert reader.list.passes(OTHER)


@pytest.mark.parametrize("outage", ["closed", "open"])
async def test_store_that_is_down_at_the_start(outage: Any) -> None:
    """A process that never read the log refuses, or knows of nothing, until it has."""
    reader = Reader(outage=outage)
    await reader.revoke()
    reader.log.fault = DOWN
    if outage == "closed":
        with pytest.raises(RevocationsUnavailable):
            await reader.list.check(CLAIMS)
    else:
        await reader.list.check(CLAIMS)
    reader.log.fault = None
    reader.clock.turn(0.3)
    assert await reader.refuses()


async def test_after_a_quiet_time(reader: Reader) -> None:
    """A copy that nobody asked for since long is no outage: the next request waits for the read, however long it is."""
    await reader.list.check(CLAIMS)
    await reader.revoke()
    reader.clock.turn(1800)
    reader.log.gate = anyio.Event()
    refused: list[bool] = []

    async def ask() -> None:
        refused.append(await reader.refuses())

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.sleep(0.3)
        assert refused == []
        reader.log.gate.set()
    assert refused == [True]


async def test_store_that_stalls_holds_up_nobody_for_long(reader: Reader) -> None:
    """A read that does not come back is waited for a quarter of a second by those who can do without, from its
    beginning: later ones pass at once."""
    await reader.list.check(OTHER)
    reader.log.gate = anyio.Event()
    reader.clock.turn(2)
    began = anyio.current_time()
    await reader.list.check(OTHER)
    assert anyio.current_time() - began > 0.2
    with anyio.fail_after(PATIENCE):
        for _ in range(1000):  # a quarter of a second for each would be longer than that
            await reader.list.check(OTHER)
    assert reader.log.reads == 2
    reader.clock.turn(60)
    with anyio.move_on_after(0.2) as scope:
        await reader.list.check(OTHER)
    assert scope.cancelled_caught  # too old to go by, and nothing has failed yet
    reader.log.gate.set()
    await reader.list.check(OTHER)
    assert reader.log.reads == 3


async def test_failing_reads_are_not_repeated_at_once(reader: Reader) -> None:
    """A store that is down is asked four times a second, however many requests come."""
    reader.log.fault = DOWN
    began = anyio.current_time()
    for _ in range(3):
        for _ in range(100):
            with pytest.raises(RevocationsUnavailable, match="down"):
                await reader.list.check(OTHER)
        await anyio.sleep(0.13)
    taken = anyio.current_time() - began
    assert 2 <= reader.log.reads <= 1 + taken / 0.25


@pytest.mark.parametrize("lapsed", [False, True])
async def test_log_that_was_flushed(reader: Reader, lapsed: bool) -> None:
    """When the log is gone the copy keeps what it has, takes over what comes, and that is told once; that the last
    entry read is gone because it lapsed is nothing to tell of."""
    await reader.revoke(seconds=60 if lapsed else HOUR)
    await reader.list.check(OTHER)
    reader.log.flush()
    await reader.revoke("s2")
    for _ in range(2):
        reader.turn(61 if lapsed else 2)
        assert await reader.refuses(OTHER)
        assert lapsed or await reader.refuses()
    assert await reader.told() == ([] if lapsed else [RevocationsRebuilt()])


async def test_revocations_leave_when_they_lapse(reader: Reader) -> None:
    """What has lapsed leaves the copy with a read, any number of them, and no request pays for it."""
    reader.list.add([a_session(f"t{n}", seconds=60) for n in range(2500)])
    await reader.revoke(seconds=600)
    await reader.list.check(OTHER)
    assert len(reader.list) == 2501
    reader.turn(180)
    await reader.list.check(OTHER)
    await wait_all_tasks_blocked()
    assert len(reader.list) == 1


async def test_log_without_an_end() -> None:
    """A store that says for ever that there is more is one that can't be read."""

    class Endless(Log):
        async def read_revocations(self, cursor: Any = None) -> LogPage:
            return LogPage([], 1, True, True)

    reader = Reader(Endless())
    await reader.list.poll()
    assert await reader.told() == [RevocationsNotRead("the log of revocations has no end")]


async def test_fault_of_the_stores_own(reader: Reader, caplog: pytest.LogCaptureFixture) -> None:
    """A store that raises what it should not is out of reach too, and the log has the traceback."""
    reader.log.fault = ZeroDivisionError("within the store")
    with pytest.raises(RevocationsUnavailable):
        await reader.list.check(OTHER)
    assert RevocationsNotRead("ZeroDivisionError") in await reader.told()
    assert "within the store" in caplog.text


async def test_poll(reader: Reader) -> None:
    """A task that looks after others asks once an interval, shares the read with requests, and is never refused."""
    await reader.list.poll()
    await reader.revoke()
    await reader.list.poll()
    assert (reader.log.reads, reader.list.is_revoked(CLAIMS)) == (1, False)
    reader.clock.turn(reader.list.interval)
    async with anyio.create_task_group() as group:
        for ask in (reader.list.poll, partial(reader.list.check, OTHER)):
            group.start_soon(ask)
    assert (reader.log.reads, reader.list.is_revoked(CLAIMS)) == (2, True)
    reader.log.fault = DOWN
    reader.clock.turn(6)
    await reader.list.poll()
    assert reader.list.out_of_reach


async def test_warm_up(reader: Reader) -> None:
    """The start sets off the first read, and waits for nothing; later it does nothing."""
    ages = [reader.list.age]
    for seconds in (0, 60):
        reader.clock.turn(seconds)
        reader.list.warm_up()
        ages.append(reader.list.age)
        await wait_all_tasks_blocked()
        ages.append(reader.list.age)
    assert (reader.log.reads, ages) == (1, [None, None, 0, 60, 60])


async def test_listener_that_takes_its_time_holds_up_no_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """`on_event` hears of what the read met in a task of its own."""
    monkeypatch.setattr(events, "ON_EVENT_TIMEOUT", 2 * PATIENCE)
    heard = anyio.Event()

    async def listen(event: Event) -> None:
        await heard.wait()

    reader = Reader(listener=listen)
    await reader.revoke()
    await reader.list.check(OTHER)
    reader.log.flush()
    reader.clock.turn(2)
    with anyio.fail_after(PATIENCE):
        await reader.list.check(OTHER)
    heard.set()
