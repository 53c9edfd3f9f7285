"""The list of revocations on a real server: counted, stopped, stalled, flushed, trimmed, failed over and rebuilt."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from support.app import AUDIENCE, ISSUER, NOW, REFRESH_SECRET, SECRET
from support.stores import using
from support.valkey import Front, Valkey, poll

from asgi_jwt import Auth, Identity, Settings
from asgi_jwt.errors import RevocationsUnavailable, RevokedToken
from asgi_jwt.stores.base import LOG_PAGE
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.packed import pack_revocation
from asgi_jwt.stores.records import Revocation
from asgi_jwt.stores.redis import RedisStore
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

LOG = "asgi-jwt:revocations"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Process:
    """An Auth as one of several processes has it, with a clock to turn and what it told of."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.clock = Clock(NOW)
        self.events: list[str] = []
        given = {"issuer": ISSUER, "audience": AUDIENCE, "secret": SECRET, "refresh_secret": REFRESH_SECRET}
        self.auth = Auth(
            Settings(**{**given, "store": url, **settings}),
            clock=self.clock,
            on_event=lambda event: self.events.append(event.name),
        )

    def tokens(self, count: int) -> list[str]:
        return [self.auth.issuer.access_token(Identity(f"user-{n}")) for n in range(count)]

    async def passes(self, *tokens: str, later: float = 0) -> list[bool]:
        """Which tokens pass, so many seconds later."""
        self.clock.turn(later)
        return [await self._passes(token) for token in tokens]

    async def _passes(self, token: str) -> bool:
        if self.auth.verify_cached(token) is not None:
            return True
        try:
            await self.auth.verify(token)
        except RevokedToken:
            return False
        return True


@asynccontextmanager
async def processes(url: str, **settings: Any) -> AsyncIterator[tuple[Process, Process]]:
    one, other = [Process(url, **settings) for _ in range(2)]
    yield one, other
    for process in (one, other):
        await process.auth.aclose()


async def test_ten_thousand_requests_in_five_seconds(own_valkey: Valkey) -> None:
    """P17: They cause eight reads of the log at the store at the most, and no other command."""
    async with processes(own_valkey.url) as (process, _):
        (token,) = process.tokens(1)
        await process.passes(token)
        commands = ("xrange", "evalsha", "eval", "get")
        before = [own_valkey.calls(command) for command in commands]
        for _ in range(10_000):
            assert await process.passes(token, later=5 / 10_000) == [True]
        counts = [own_valkey.calls(command) - count for command, count in zip(commands, before, strict=True)]
        assert 4 <= counts[1] <= counts[0] <= 8
        assert counts[2:] == [0, 0]


@pytest.mark.parametrize("outage", ["closed", "open"])
@pytest.mark.parametrize("stop", ["pause", "stop"])
async def test_without_the_store(own_valkey: Valkey, stop: str, outage: str) -> None:
    """Whether the server hangs or is gone: for three seconds tokens pass, those revoked don't, and nobody waits. Past
    the staleness it is a 503, or tokens pass. It is told of, and over when the store is back, which may have lost its
    log: no token that was revoked passes, before or after."""
    async with processes(own_valkey.url, revocation_outage=outage) as (one, other):
        alice, bob, carol = one.tokens(3)
        await one.auth.revoke_token(bob)
        assert await other.passes(alice, bob, carol) == [True, False, True]
        getattr(own_valkey, stop)()
        with anyio.fail_after(30):  # 300 times a quarter of a second would take longer
            for _ in range(3):
                for _ in range(50):
                    assert await other.passes(alice, bob) == [True, False]
                other.clock.turn(1)
        await wait_all_tasks_blocked()
        assert "revocations_stale" not in other.events
        other.clock.turn(3)
        if outage == "closed":
            with pytest.raises(RevocationsUnavailable):
                await other.passes(alice)
            assert await other.passes(bob) == [False]
        else:
            assert await other.passes(alice, bob) == [True, False]
        (own_valkey.resume if stop == "pause" else own_valkey.start)()
        poll(lambda: own_valkey.ask("PING"))
        one.clock.turn(7)
        await one.auth.revoke_token(carol)
        assert await other.passes(alice, bob, carol, later=1) == [True, False, False]
        await wait_all_tasks_blocked()
        told = {"revocations_not_read", "revocations_stale", "revocations_read_again"}
        assert sorted(other.events) == sorted(told | {"revocations_rebuilt"} if stop == "stop" else told)


@pytest.mark.parametrize("meanwhile", ["FLUSHALL", f"XTRIM {LOG} MAXLEN 0", f"XTRIM {LOG} MAXLEN 1", f"DEL {LOG}"])
async def test_log_that_is_trimmed_or_flushed(own_valkey: Valkey, meanwhile: str) -> None:
    """A process that is running forgets nothing of what the log had, and reads all that comes."""
    async with processes(own_valkey.url) as (one, other):
        tokens = one.tokens(5)
        for token in tokens[:2]:
            await one.auth.revoke_token(token)
        assert await other.passes(*tokens) == [False, False, True, True, True]
        await one.auth.revoke_token(tokens[2])
        own_valkey.ask(*meanwhile.split())
        for token in tokens[3:]:
            await one.auth.revoke_token(token)
        kept = meanwhile.endswith("MAXLEN 1")
        assert await other.passes(*tokens, later=1) == [False, False, not kept, False, False]
        assert await one.passes(*tokens, later=1) == [False] * 5


@pytest.mark.parametrize("behind", [0, 3600])
async def test_failover_that_loses_entries(own_valkey: Valkey, other_valkey: Valkey, behind: int) -> None:
    """A replica takes over that never saw the last entries, its clock an hour behind or not: a process that is
    running loses none of them, and none of those that come."""
    async with Front(own_valkey) as address, processes(address.url) as (one, other):
        tokens = one.tokens(4)
        await one.auth.revoke_token(tokens[0])
        other_valkey.follow(own_valkey)
        other_valkey.ask("REPLICAOF", "NO", "ONE")
        await one.auth.revoke_token(tokens[1])
        assert await other.passes(*tokens) == [False, False, True, True]
        ((first, fields),) = other_valkey.ask("XRANGE", LOG, "-", "+")
        if behind:  # as if that server had written its entries an hour ago, and went on from there
            milliseconds = int(first.split(b"-")[0]) - behind * 1000
            other_valkey.ask("DEL", LOG)
            other_valkey.ask("XADD", LOG, f"{milliseconds}-0", *chain.from_iterable(fields.items()))
        address.server = other_valkey
        own_valkey.stop()
        if behind:
            jti = (await one.auth.authentic(tokens[2]))["jti"]
            record = pack_revocation(Revocation("jti", ISSUER, jti, (Millis(Millis(NOW + 3600) * 1000))))
            other_valkey.ask("XADD", LOG, f"{milliseconds + 1}-0", "u", (NOW + 3600) * 1000, "r", record)
        else:
            await one.auth.revoke_token(tokens[2])
        assert await other.passes(*tokens, later=1) == [False, False, False, True]


READERS = 50
ENTRIES = 46_000
"""Of an hour: one each 78 ms, so that a minute has 769."""
FILL = "for n = 0, ARGV[1] - 1 do redis.call('XADD', KEYS[1], ARGV[2] + n * 78 .. '-0', 'u', 0, 'r', ARGV[3]) end"


async def read_to_the_end(store: RedisStore, cursors: list[object]) -> tuple[set[int], list[object]]:
    """How many entries readers are sent that begin at these cursors, and where they stand then."""
    sent, ends = set[int](), list[object]()

    async def read(cursor: object) -> None:
        count, more = 0, True
        while more:
            entries, cursor, _, more = await store.read_revocations(cursor)
            count += len(entries)
        sent.add(count)
        ends.append(cursor)

    async with anyio.create_task_group() as readers:
        for cursor in cursors:
            readers.start_soon(read, cursor)
    return sent, ends


async def test_rebuild_is_no_stampede(own_valkey: Valkey) -> None:
    """Fifty readers that lose their place in a long log are sent a minute of it, in a page each; fifty that start are
    sent all of it; no reader fails."""
    begin = NOW * 1000
    record = pack_revocation(Revocation("sid", ISSUER, "s" * 22, Millis(begin + 7_200_000), Millis(begin)))
    own_valkey.ask("EVAL", FILL, 1, LOG, ENTRIES, begin, record)
    async with using(RedisStore.from_url(f"{own_valkey.url}?timeout=30")) as store:
        before = own_valkey.scripts()
        sent, cursors = await read_to_the_end(store, [None] * READERS)
        assert sent == {ENTRIES}
        scripts = own_valkey.scripts()
        # Some find out that the server lacks the script.
        assert 0 <= scripts - before - READERS * ENTRIES // LOG_PAGE <= READERS
        assert own_valkey.ask("XDEL", LOG, f"{begin + (ENTRIES - 1) * 78}-0") == 1
        sent, _ = await read_to_the_end(store, cursors)
        assert sent == {60_000 // 78}
        assert own_valkey.scripts() - scripts == READERS
