"""The list of revocations on a real server: counted, stopped, stalled, flushed, trimmed and failed over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from auth_service import AUDIENCE, ISSUER, NOW, REFRESH_SECRET, SECRET
from support.valkey import Front, Valkey, poll

from asgi_jwt import Auth, Identity, Settings
from asgi_jwt.errors import RevocationsUnavailable, RevokedToken
from asgi_jwt.stores.packed import pack_revocation
from asgi_jwt.stores.records import Revocation
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

    def token(self, name: str) -> str:
        return self.auth.issuer.access_token(Identity(name))

    async def passes(self, *tokens: str) -> list[bool]:
        return [await self._passes(token) for token in tokens]

    async def _passes(self, token: str) -> bool:
        if self.auth.verify_cached(token) is not None:
            return True
        try:
            await self.auth.verify(token)
        except RevokedToken:
            return False
        return True

    async def passes_a_second_later(self, *tokens: str, seconds: float = 1) -> list[bool]:
        self.clock.turn(seconds)
        return await self.passes(*tokens)


@asynccontextmanager
async def processes(url: str, count: int = 2, **settings: Any) -> AsyncIterator[list[Process]]:
    made = [Process(url, **settings) for _ in range(count)]
    yield made
    for process in made:
        await process.auth.aclose()


async def test_ten_thousand_requests_in_five_seconds(valkey: Valkey) -> None:
    """They cause eight reads of the log at the store at the most, and no other command."""
    async with processes(valkey.url, 1) as (process,):
        token = process.token("alice")
        await process.passes(token)
        commands = ("xrange", "evalsha", "eval", "get")
        before = [valkey.calls(command) for command in commands]
        for _ in range(10_000):
            process.clock.turn(5 / 10_000)
            assert await process._passes(token)
        reads, evaluated, *others = [
            valkey.calls(command) - count for command, count in zip(commands, before, strict=True)
        ]
        assert 4 <= evaluated <= reads <= 8
        assert others == [0, 0]


@pytest.mark.parametrize("stop", ["pause", "stop"])
async def test_three_seconds_without_the_store(valkey: Valkey, stop: str) -> None:
    """Whether it hangs or is gone: tokens pass, those revoked don't, and nobody waits for it."""
    async with processes(valkey.url) as (one, other):
        alice, bob = one.token("alice"), one.token("bob")
        await one.auth.revoke_token(bob)
        assert await other.passes(alice, bob) == [True, False]
        getattr(valkey, stop)()
        with anyio.fail_after(30):  # 300 times a quarter of a second would take longer
            for _ in range(3):
                for _ in range(50):
                    assert await other.passes(alice, bob) == [True, False]
                other.clock.turn(1)
        (valkey.resume if stop == "pause" else valkey.start)()
        poll(lambda: valkey.ask("PING"))
        assert await other.passes_a_second_later(alice, bob) == [True, False]
        assert "revocations_stale" not in other.events


@pytest.mark.parametrize("outage", ["closed", "open"])
async def test_longer_without_the_store(valkey: Valkey, outage: str) -> None:
    """Past the staleness it is a 503, or tokens pass; it is told of, and over when the store is back, which has lost
    its log: no token that was revoked passes, before or after."""
    async with processes(valkey.url, revocation_outage=outage) as (one, other):
        alice, bob, carol = [one.token(name) for name in ("alice", "bob", "carol")]
        await one.auth.revoke_token(bob)
        assert await other.passes(alice, bob, carol) == [True, False, True]
        valkey.stop()
        other.clock.turn(6)
        if outage == "closed":
            with pytest.raises(RevocationsUnavailable):
                await other.passes(alice)
            assert await other.passes(bob) == [False]
        else:
            assert await other.passes(alice, bob) == [True, False]
        valkey.start()
        one.clock.turn(7)
        await one.auth.revoke_token(carol)
        assert await other.passes_a_second_later(alice, bob, carol) == [True, False, False]
        await wait_all_tasks_blocked()
        assert sorted(other.events) == [
            "revocations_not_read",
            "revocations_read_again",
            "revocations_rebuilt",
            "revocations_stale",
        ]


@pytest.mark.parametrize("meanwhile", ["FLUSHALL", f"XTRIM {LOG} MAXLEN 0", f"XTRIM {LOG} MAXLEN 1", f"DEL {LOG}"])
async def test_log_that_is_trimmed_or_flushed(valkey: Valkey, meanwhile: str) -> None:
    """A process that is running forgets nothing of what the log had, and reads all that comes."""
    async with processes(valkey.url) as (one, other):
        names = [f"user-{n}" for n in range(5)]
        tokens = [one.token(name) for name in names]
        for token in tokens[:2]:
            await one.auth.revoke_token(token)
        assert await other.passes(*tokens) == [False, False, True, True, True]
        await one.auth.revoke_token(tokens[2])
        valkey.ask(*meanwhile.split())
        for token in tokens[3:]:
            await one.auth.revoke_token(token)
        kept = meanwhile.endswith("MAXLEN 1")
        assert await other.passes_a_second_later(*tokens) == [False, False, not kept, False, False]
        assert await one.passes_a_second_later(*tokens) == [False] * 5


@pytest.mark.parametrize("behind", [0, 3600])
async def test_failover_that_loses_entries(valkey: Valkey, other_valkey: Valkey, behind: int) -> None:
    """A replica takes over that never saw the last entries, its clock an hour behind or not: a process that is
    running loses none of them, and none of those that come."""
    async with Front(valkey) as address, processes(f"redis://127.0.0.1:{address.port}") as (one, other):
        tokens = [one.token(f"user-{n}") for n in range(4)]
        await one.auth.revoke_token(tokens[0])
        other_valkey.ask("REPLICAOF", "127.0.0.1", valkey.port)
        poll(lambda: other_valkey.ask("XLEN", LOG) == 1)
        other_valkey.ask("REPLICAOF", "NO", "ONE")
        await one.auth.revoke_token(tokens[1])
        assert await other.passes(*tokens) == [False, False, True, True]
        ((first, fields),) = other_valkey.ask("XRANGE", LOG, "-", "+")
        if behind:  # as if that server had written its entries an hour ago, and went on from there
            milliseconds = int(first.split(b"-")[0]) - behind * 1000
            other_valkey.ask("DEL", LOG)
            other_valkey.ask("XADD", LOG, f"{milliseconds}-0", *chain.from_iterable(fields.items()))
        address.server = other_valkey
        valkey.stop()
        if behind:
            revocation = await _entry_of(one, tokens[2])
            other_valkey.ask("XADD", LOG, f"{milliseconds + 1}-0", *revocation)
        else:
            await one.auth.revoke_token(tokens[2])
        assert await other.passes_a_second_later(*tokens) == [False, False, False, True]


async def _entry_of(process: Process, token: str) -> list[Any]:
    claims = await process.auth.authentic(token)
    revocation = Revocation("jti", ISSUER, claims["jti"], (NOW + 3600) * 1000)
    return ["u", revocation.until, "r", pack_revocation(revocation)]
