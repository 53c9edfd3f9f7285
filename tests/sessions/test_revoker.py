"""Sessions end and tokens are revoked in steps that survive every failure, and clocks that differ."""

from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from auth_service import AUDIENCE, NOW, Service, WatchedStore, payload

from asgi_jwt import Claims, Identity, TokenPair
from asgi_jwt.errors import (
    AuthError,
    InvalidGrant,
    MissingClaim,
    RevokedToken,
    StoreUnavailable,
    TokenReused,
)
from asgi_jwt.events import Refreshed, ReuseDetected, SessionEnded, TokensRevoked
from asgi_jwt.sessions import revoker
from asgi_jwt.stores.base import LOG_PAGE
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.records import Revocation, SessionKey
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

ALICE = Identity("alice", scopes="read")
HOUR = 3600


@dataclass
class Workers:
    """Two workers on one store, the clock of the other two seconds off."""

    skew: float = 2
    settings: dict[str, Any] = field(default_factory=dict)
    store: WatchedStore = field(default_factory=lambda: WatchedStore(MemoryStore()))

    def __post_init__(self) -> None:
        self.one = Service(self.store, settings=self.settings)
        self.other = Service(self.store, clock=Clock(NOW + self.skew), settings=self.settings)

    def turn(self, seconds: float) -> None:
        self.one.clock.turn(seconds)
        self.other.clock.turn(seconds)


async def passes(service: Service, pair: TokenPair) -> bool:
    """Whether the access token is let in."""
    try:
        await service.auth.verify(pair.access_token)
    except RevokedToken:
        return False
    return True


async def refreshed(service: Service, pair: TokenPair) -> TokenPair | None:
    try:
        return await service.auth.sessions.refresh(pair.refresh_token)
    except InvalidGrant:
        return None


def sid_of(pair: TokenPair) -> str:
    sid: str = payload(pair.access_token)["sid"]
    return sid


def entries(store: WatchedStore) -> list[Revocation]:
    assert isinstance(store.inner, MemoryStore)
    return [entry.revocation for entry in store.inner._log]


async def test_ending_a_session_ends_its_access_tokens() -> None:
    """Where a session ends, its tokens end at once in the same process, and in another within the interval."""
    workers = Workers()
    one, other = workers.one, workers.other
    pair, untouched = await one.auth.sessions.open(ALICE), await one.auth.sessions.open(ALICE)
    assert await passes(other, pair)
    assert one.auth.verify_cached(pair.access_token) is None
    assert await passes(one, pair)
    assert one.auth.verify_cached(pair.access_token) is not None
    assert await one.auth.sessions.end("alice", sid_of(pair))
    assert not await passes(one, pair)
    assert one.auth.verify_cached(pair.access_token) is None
    assert await passes(other, pair)
    workers.turn(1)
    assert not await passes(other, pair)
    assert [await passes(service, untouched) for service in (one, other)] == [True, True]


async def test_entry_outlives_every_token() -> None:
    """A session's entry is kept for the longest life of a token, the leeway of any service, the staleness of a copy
    and the difference of the clocks; the subject's as well."""
    service = Service()
    pair = await service.auth.sessions.open(ALICE)
    await service.auth.sessions.end_all("alice")
    until = (NOW + HOUR + 300 + 5 + 60) * 1000
    assert entries(service.store) == [
        Revocation("sid", "https://issuer.example", sid_of(pair), until, NOW * 1000),
        Revocation("sub", "https://issuer.example", "alice", until, NOW * 1000, True),
    ]


@pytest.mark.parametrize("skew", [-2, 0, 2])
async def test_log_out_everywhere_spares_a_login_right_after(skew: float) -> None:
    """All sessions end with their tokens, those without a session too; a login in the same second, at a worker whose
    clock is behind as well, is untouched."""
    workers = Workers(skew)
    one, other = workers.one, workers.other
    before = [await service.auth.sessions.open(ALICE) for service in (one, other)]
    bare = one.auth.issuer.access_token(ALICE)
    assert await one.auth.sessions.end_all("alice") == 2
    after = [await service.auth.sessions.open(ALICE) for service in (one, other)]
    bob = await one.auth.sessions.open(Identity("bob"))
    workers.turn(1)
    for service in (one, other):
        assert [await passes(service, pair) for pair in (*before, *after, bob)] == [False, False, True, True, True]
        with pytest.raises(RevokedToken):
            await service.auth.verify(bare)
    assert [await refreshed(other, pair) is None for pair in before + after] == [True, True, False, False]


async def test_revoked_subjects_lost_sessions() -> None:
    """A session that the store has lost, or that is of a host's own, gets no entry: its tokens are refused with the
    subject's all the same, and those of a login right after are not."""
    workers = Workers()
    one, other = workers.one, workers.other
    lost = await one.auth.sessions.open(ALICE)
    await workers.store.inner.update(SessionKey("alice", sid_of(lost)), lambda _: (None, None))
    own = one.auth.issuer.access_token(ALICE, session_id="the host's own")
    workers.turn(63)
    await one.auth.revoke_subject("alice")
    after = await other.auth.sessions.open(ALICE)
    workers.turn(1)
    for service in (one, other):
        assert [await passes(service, pair) for pair in (lost, after)] == [False, True]
        with pytest.raises(RevokedToken):
            await service.auth.verify(own)


async def test_another_subjects_session_is_not_revoked() -> None:
    """Whoever names the `sid` of somebody else, or one made up, writes nothing into the log."""
    service = Service()
    pair = await service.auth.sessions.open(ALICE)
    for subject, sid in (("bob", sid_of(pair)), ("alice", "made-up")):
        assert not await service.auth.sessions.end(subject, sid)
    await service.auth.sessions.end("alice", sid_of(pair))
    assert not await service.auth.sessions.end("alice", sid_of(pair))
    assert len(entries(service.store)) == 1


async def test_reuse_ends_the_access_tokens_too() -> None:
    """A refresh token that only a thief still has ends what he got for it, the moment it is shown."""
    workers = Workers()
    first = await workers.one.auth.sessions.open(ALICE)
    second = await workers.one.auth.sessions.refresh(first.refresh_token)
    workers.turn(60)
    third = await workers.one.auth.sessions.refresh(second.refresh_token)
    assert await passes(workers.other, third)
    with pytest.raises(TokenReused):
        await workers.one.auth.sessions.refresh(first.refresh_token)
    workers.turn(1)
    for service in (workers.one, workers.other):
        assert [await passes(service, pair) for pair in (second, third)] == [False, False]
    assert workers.one.events[-3:] == [Refreshed("REUSED"), ReuseDetected(), SessionEnded("reuse")]
    assert len(entries(workers.store)) == 1


async def test_reuse_that_shows_only_at_the_commit() -> None:
    """A token that becomes a reused one while its refresh is under way ends nothing before the entry is written."""
    service = Service()
    first = await service.auth.sessions.open(ALICE)
    second = await service.auth.sessions.refresh(first.refresh_token)
    await service.auth.sessions.refresh(second.refresh_token)
    service.clock.turn(29)
    order: list[str] = []

    def load_identity(subject: str, session: Any) -> Identity:
        service.clock.turn(2)  # the grace ends
        order.append(f"{service.store.writes} writes, {len(entries(service.store))} entries")
        return ALICE

    service.store.writes = 0
    with pytest.raises(TokenReused):
        await service.auth.sessions.refresh(first.refresh_token, load_identity=load_identity)
    assert order == ["0 writes, 0 entries"]
    assert (service.store.writes, len(entries(service.store))) == (1, 1)


# The calls of the store that can fail, for each way in which a session ends: the last one ends it.
CALLS = [
    ("end", ("update", 1)),
    *[("end_all", call) for call in (("list", 1), ("update", 1))],
    *[("reuse", call) for call in (("get", 1), ("update", 1))],
    *[("gone", call) for call in (("get", 1), ("update", 1))],
]


async def end(service: Service, way: str, pair: TokenPair) -> None:
    sessions = service.auth.sessions
    if way == "end":
        await sessions.end("alice", sid_of(pair))
    elif way == "end_all":
        await sessions.end_all("alice")
    elif way == "reuse":
        await sessions.refresh(pair.refresh_token)
    else:
        await sessions.refresh(pair.refresh_token, load_identity=lambda subject, session: None)


@pytest.mark.parametrize("skew", [-2, 2])
@pytest.mark.parametrize("between", ["nothing", "a refresh at once", "a refresh after the interval"])
@pytest.mark.parametrize(("way", "failing"), CALLS)
async def test_no_order_of_failures(skew: float, way: str, failing: tuple[str, int], between: str) -> None:
    """Whichever step fails, and whoever refreshes in between: no access token lives behind a session that is dead, and
    no session whose tokens were refused once comes back when its entry lapses."""
    workers = Workers(skew, {"access_ttl": 300})
    before = Service(workers.store, settings={"access_ttl": HOUR})  # as all workers were, a moment ago
    one, other = workers.one, workers.other
    first = await before.auth.sessions.open(ALICE)
    current = await before.auth.sessions.refresh(first.refresh_token)
    shown = current
    if way == "reuse":
        workers.turn(60)
        before.clock.turn(60)
        shown, current = first, await before.auth.sessions.refresh(current.refresh_token)
    pairs = [first, shown, current]
    assert all([await passes(service, current) for service in (one, other)])

    method, number = failing
    workers.store.down_at = {(method, workers.store.calls[method] + number)}
    with pytest.raises(StoreUnavailable):
        await end(one, way, shown)

    async def dead() -> bool:
        session = await one.session(first.refresh_token)
        assert session is not None
        return session.ended_at is not None

    async def check() -> bool:
        """Whether the session was refused."""
        workers.turn(1)
        passed = [await passes(service, pair) for service in (one, other) for pair in pairs]
        assert not (await dead() and any(passed))
        assert len(set(passed)) == 1
        return not passed[0]

    if between == "a refresh after the interval":
        workers.turn(1)
    for service in (other, one) if between != "nothing" else ():
        again = await refreshed(service, current)
        if again is not None:
            current = again
            pairs.append(again)
    refused = await check()
    # Half-way through, the entry is there and the tombstone is not: the refresh that comes next writes it.
    assert (await refreshed(other, current) is None) is refused
    assert await dead() is refused
    for seconds in (300, HOUR, HOUR):
        workers.turn(seconds)
        assert await dead() is refused
    assert (await refreshed(one, current) is None) is refused


@pytest.mark.parametrize("way", ["end", "end_all", "reuse", "gone"])
async def test_end_that_succeeded_without_an_answer(way: str) -> None:
    """A store that ended the session, and failed to say so, leaves neither the tombstone nor the entry without the
    other; the caller hears of the failure."""
    service = Service()
    first = await service.auth.sessions.open(ALICE)
    current = await service.auth.sessions.refresh(first.refresh_token)
    service.clock.turn(60)
    current = await service.auth.sessions.refresh(current.refresh_token)
    update = service.store.update

    async def and_fail(key: Any, change: Any) -> None:
        await update(key, change)
        raise StoreUnavailable("no answer")

    service.store.update = and_fail  # type: ignore[assignment, method-assign]
    with pytest.raises(StoreUnavailable):
        await end(service, way, first if way == "reuse" else current)
    session = await service.session(first.refresh_token)
    assert session is not None
    assert session.ended_at is not None
    service.clock.turn(1)
    assert not await passes(service, current)


async def test_mark_is_finished_by_a_refresh() -> None:
    """A session whose end was cut short after its mark is refused by the next refresh, which ends it."""
    workers = Workers()
    pair = await workers.one.auth.sessions.open(ALICE)
    key = SessionKey("alice", sid_of(pair))
    await workers.store.inner.update(key, lambda session: (session and session.marked(NOW * 1000), None))
    assert await passes(workers.other, pair)
    assert await refreshed(workers.other, pair) is None
    workers.turn(1)
    assert [await passes(service, pair) for service in (workers.one, workers.other)] == [False, False]
    session = await workers.store.inner.get(key)
    assert session is not None
    assert (session.ending_at, session.ended_at) == (None, (NOW + 2) * 1000)


@pytest.mark.parametrize("by", ["list", "end", "end_all"])
async def test_mark_is_finished_by_the_user(by: str) -> None:
    """A session whose end was cut short after its mark ends when the user looks at the sessions, or logs out again."""
    service = Service()
    pair, other = await service.auth.sessions.open(ALICE), await service.auth.sessions.open(ALICE)
    key = SessionKey("alice", sid_of(pair))
    await service.store.inner.update(key, lambda session: (session and session.marked(NOW * 1000), None))
    if by == "list":
        assert [session.sid for session in await service.auth.sessions.list("alice")] == [sid_of(other)]
    else:
        assert await (service.auth.sessions.end(*key) if by == "end" else service.auth.sessions.end_all("alice"))
    assert [await passes(service, each) for each in (pair, other)] == [False, by != "end_all"]
    session = await service.store.inner.get(key)
    assert session is not None
    assert session.ended_at is not None


async def test_own_session_ends_last() -> None:
    """While anything of a log out everywhere is left to do, the session that asks for it goes on."""
    service = Service()
    own, *others = [await service.auth.sessions.open(ALICE) for _ in range(3)]
    update, dead = service.store.update, sid_of(others[0])

    async def but_one(key: SessionKey, change: Any) -> Any:
        if key.sid == dead:
            raise StoreUnavailable("no answer")
        return await update(key, change)

    service.store.update = but_one  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await service.auth.revoker.end_all("alice", last=sid_of(own))
    service.clock.turn(1)
    assert [await passes(service, pair) for pair in (own, *others)] == [True, True, False]
    service.store.update = update  # type: ignore[method-assign]
    assert await service.auth.revoker.end_all("alice", last=sid_of(own)) == 2
    assert not any([await passes(service, pair) for pair in (own, *others)])


async def test_many_sessions_end_at_once() -> None:
    """However many sessions a subject has, each ends in one step, and the subject's entry comes last."""
    service = Service()
    pairs = [await service.auth.sessions.open(ALICE) for _ in range(LOG_PAGE)]
    service.store.calls.clear()
    assert await service.auth.sessions.end_all("alice") == LOG_PAGE
    assert service.store.calls == {"list": 1, "append_revocations": 1, "update": LOG_PAGE}
    assert [entry.kind for entry in entries(service.store)] == [*["sid"] * LOG_PAGE, "sub"]
    assert not any([await passes(service, pair) for pair in pairs[:10]])


async def test_revoke_token() -> None:
    """One access token is refused from then on, until its own end; its session, and its other tokens, live on."""
    workers = Workers()
    pair = await workers.one.auth.sessions.open(ALICE)
    again = await workers.one.auth.sessions.refresh(pair.refresh_token)
    for token in (pair.access_token, pair.access_token.encode(), await workers.one.auth.authentic(pair.access_token)):
        await workers.one.auth.revoke_token(token)
    workers.turn(1)
    for service in (workers.one, workers.other):
        assert [await passes(service, each) for each in (pair, again)] == [False, True]
    said = payload(pair.access_token)
    until = (said["exp"] + 300) * 1000
    assert entries(workers.store) == [Revocation("jti", said["iss"], said["jti"], until, NOW * 1000)]
    assert workers.one.events.count(TokensRevoked("jti")) == 1
    assert await refreshed(workers.other, again) is not None


async def test_revoke_token_that_does_not_hold() -> None:
    """What is no token, or has expired, says so, and nothing is written; nor is one that has no name."""
    service = Service()
    pair = await service.auth.sessions.open(ALICE)
    for token, error in (("rubbish", "token_malformed"), (pair.refresh_token, "header_type_invalid")):
        with pytest.raises(AuthError) as refused:
            await service.auth.revoke_token(token)
        assert refused.value.reason == error
    for said in ({}, {"jti": 7}, {"sid": ["s"]}):
        claims = Claims({"iss": "https://issuer.example", "sub": "alice", "exp": NOW + 60, "aud": AUDIENCE, **said})
        with pytest.raises(MissingClaim):
            await service.auth.revoke_token(claims)
    assert entries(service.store) == []


async def test_token_without_an_end() -> None:
    """A token of another issuer may hold for ages: its entry then has the latest end that every store can tell."""
    service = Service()
    await service.auth.revoke_token(Claims({"iss": "https://p.example", "sub": "a", "jti": "j", "exp": 2.0**62}))
    assert entries(service.store) == [Revocation("jti", "https://p.example", "j", 2**53, NOW * 1000)]


@pytest.mark.parametrize("skew", [-12 * HOUR, 12 * HOUR])
async def test_token_revoked_by_a_clock_that_is_off(skew: float) -> None:
    """A token is refused for the rest of its life, also where a process revokes it by a clock that is hours off."""
    service = Service(clock=Clock(NOW + skew))
    for issued in ({"iat": NOW}, {}):
        end = NOW + 24 * HOUR
        claims = Claims({"iss": "https://p.example", "sub": "a", "jti": f"j{len(issued)}", "exp": end, **issued})
        await service.auth.revoke_token(claims)
    whole, unknown = [entry.life(0) // 1000 for entry in entries(service.store)]
    assert whole >= 24 * HOUR
    assert unknown == 24 * HOUR - skew + 300


async def test_token_issued_long_ago() -> None:
    """A token's entry is kept for its rest of life and a day at the most, whenever it says that it was issued."""
    service = Service()
    await service.auth.revoke_token(
        Claims({"iss": "https://p.example", "sub": "a", "jti": "j", "iat": 0, "exp": NOW + HOUR})
    )
    assert [entry.life(0) // 1000 for entry in entries(service.store)] == [HOUR + 24 * HOUR + 300]


async def test_logged_out_everywhere_by_a_clock_ahead() -> None:
    """Sessions that have expired by the clock of a process that is ahead live by others: they end, too."""
    workers = Workers(skew=2 * HOUR, settings={"refresh_ttl": HOUR})
    pair = await workers.one.auth.sessions.open(ALICE)
    await workers.other.auth.sessions.end_all("alice")
    workers.turn(1)
    assert not await passes(workers.one, pair)
    assert await refreshed(workers.one, pair) is None


class Empty(MemoryStore):
    """A server that restarted empty, or lost its last writes in a failover: the log's place is lost."""

    def lose(self, *, sessions: bool) -> None:
        self._log.clear()
        self.lost = True
        if sessions:
            self._subjects.clear()

    lost = False

    async def read_revocations(self, cursor: Any = None) -> Any:
        page = await super().read_revocations(None if self.lost else cursor)
        continues, self.lost = page.continues and not self.lost, False
        return page._replace(continues=continues)


async def test_lost_entries_are_put_back() -> None:
    """A process puts what it has written back into a log that lost it, once, with what is left of its life."""
    store, elapsed = Empty(), Clock(100)
    service = Service(WatchedStore(store))
    service.auth.revoker._monotonic = elapsed
    pair, bob = await service.auth.sessions.open(ALICE), await service.auth.sessions.open(Identity("bob"))
    await service.auth.sessions.end_all("alice")
    await service.auth.revoke_token(bob.access_token)
    written = entries(service.store)
    await service.auth.revocations.poll()
    elapsed.turn(1000)
    store.lose(sessions=True)
    service.clock.turn(2)
    await service.auth.revocations.poll()
    with anyio.fail_after(30):
        await service.auth.revoker._putting_back.wait()
    assert [(entry.kind, entry.value, entry.time) for entry in entries(service.store)] == [
        (entry.kind, entry.value, entry.time) for entry in written
    ]
    assert [entry.life(0) for entry in entries(service.store)] == [entry.life(0) - 1_000_000 for entry in written]
    new = Service(service.store, clock=service.clock)
    for refused in (pair.access_token, bob.access_token):
        with pytest.raises(RevokedToken):
            await new.auth.verify(refused)
    elapsed.turn(2 * HOUR)
    store.lose(sessions=True)
    service.clock.turn(2)
    await service.auth.revocations.poll()
    with anyio.fail_after(30):
        await service.auth.revoker._putting_back.wait()
    assert entries(service.store) == []
    await service.auth.revoke_subject("bob")
    assert [written.revocation.value for written in service.auth.revocations.own._written.values()] == ["bob"]


@pytest.mark.parametrize("place", ["with its place", "alone"])
async def test_session_that_a_failover_revived(place: str) -> None:
    """Where the tombstone is lost with the entry, the process that ended the session ends it again: also where the log
    goes on from the place up to which this process had read it, and was never read further before."""
    store = Empty()
    service = Service(WatchedStore(store))
    pair = await service.auth.sessions.open(ALICE)
    live = await service.session(pair.refresh_token)
    assert live is not None
    await service.auth.revoke_token(service.auth.issuer.access_token(ALICE))
    await service.auth.revocations.poll()
    bare = service.auth.issuer.access_token(ALICE)
    await service.auth.revoke_token(bare)
    await service.auth.sessions.end("alice", sid_of(pair))
    for _ in range(2):  # what was put back is lost again
        if place == "alone":
            del store._log[1:]
        else:
            service.clock.turn(2)
            await service.auth.revocations.poll()
            store.lose(sessions=False)
        store._subjects["alice"][live.sid] = live
        service.clock.turn(2)
        await service.auth.revocations.poll()
        with anyio.fail_after(30):
            await service.auth.revoker._putting_back.wait()
        again = await service.session(pair.refresh_token)
        assert again is not None
        assert again.ended_at is not None
        assert {sid_of(pair), payload(bare)["jti"]} <= {entry.value for entry in entries(service.store)}


async def test_putting_back_waits_for_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries go back by the page, and a page that fails goes back later; a closed Auth puts nothing back."""
    monkeypatch.setattr(revoker, "_BETWEEN_PAGES", 0.01)
    store = Empty()
    service = Service(WatchedStore(store))
    for n in range(2 * LOG_PAGE):
        claims = {"iss": "https://p.example", "sub": "a", "jti": f"j{n}", "exp": NOW + HOUR}
        await service.auth.revoke_token(Claims(claims))
    await service.auth.revocations.poll()
    written = entries(service.store)

    async def lose() -> None:
        store.lose(sessions=True)
        service.clock.turn(2)
        service.store.calls.clear()
        service.store.down_at = {("append_revocations", 1), ("append_revocations", 3)}
        await service.auth.revocations.poll()

    await lose()
    with anyio.fail_after(30):
        await service.auth.revoker._putting_back.wait()
    assert service.store.calls["append_revocations"] == 4
    assert [entry.value for entry in entries(service.store)] == [entry.value for entry in written]
    await lose()
    service.auth.revoker.close()
    with anyio.fail_after(30):
        await service.auth.revoker._putting_back.wait()
    assert entries(service.store) == []
