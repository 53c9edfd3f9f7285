"""Sessions end and tokens are revoked in an order that survives every failure between its steps."""

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
    SessionOver,
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


@pytest.fixture(autouse=True)
def _no_tombstones_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again after a while, which no test here outlasts unless it wants to."""
    monkeypatch.setattr(revoker, "_BETWEEN_ATTEMPTS", HOUR)


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
    return [entry for _, entry in store.inner._log]


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
        Revocation("sid", "https://issuer.example", sid_of(pair), until),
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


# The calls of the store that can fail, for each way in which a session ends: the last one is the tombstone.
CALLS = [
    *[("end", call) for call in (("update", 1), ("append_revocations", 1), ("update", 2))],
    *[("end_all", call) for call in (("list", 1), ("append_revocations", 1), ("update", 1))],
    *[("reuse", call) for call in (("get", 1), ("append_revocations", 1), ("update", 1))],
    *[("gone", call) for call in (("get", 1), ("update", 1), ("append_revocations", 1), ("update", 2))],
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


@pytest.mark.parametrize("way", ["end", "end_all"])
async def test_tombstone_that_failed_is_written_later(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that gave up after a 503, and a session that nobody refreshes: the process itself ends it for good."""
    monkeypatch.setattr(revoker, "_BETWEEN_ATTEMPTS", 0.01)
    service = Service()
    pair = await service.auth.sessions.open(ALICE)
    updates = service.store.calls["update"]
    service.store.down_at = {("update", updates + number) for number in range(1 if way == "end_all" else 2, 6)}
    with pytest.raises(StoreUnavailable):
        await end(service, way, pair)
    with anyio.fail_after(10):
        await service.auth.revoker._finishing.wait()
    assert service.events.count(SessionEnded("ended")) == 1
    assert service.store.calls["update"] == updates + 6
    service.clock.turn(2 * HOUR)
    with pytest.raises(SessionOver):
        await service.auth.sessions.refresh(pair.refresh_token)


@pytest.mark.parametrize("way", ["end", "end_all", "reuse"])
@pytest.mark.parametrize("taken", [True, False])
async def test_entry_that_may_be_there_or_not(way: str, taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that the store took without saying so refuses tokens: the session does not come back when it lapses.
    Where it did not take it, the session goes on as before."""
    monkeypatch.setattr(revoker, "_BETWEEN_ATTEMPTS", 0.01)
    service = Service()
    pair = await service.auth.sessions.open(ALICE)
    current = await service.auth.sessions.refresh(pair.refresh_token)
    service.clock.turn(60)
    current = await service.auth.sessions.refresh(current.refresh_token)
    append = service.store.append_revocations

    async def and_fail(revocations: Any, now: int) -> None:
        if taken:
            await append(revocations, now)
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(service.store, "append_revocations", and_fail)
        with pytest.raises(StoreUnavailable):
            await end(service, way, pair)
    assert not service.auth.revocations.has_session("https://issuer.example", sid_of(pair))
    await anyio.sleep(0.05)
    assert service.auth.revoker._finishing.under_way
    service.clock.turn(1 if taken else 61)
    with anyio.fail_after(10):
        await service.auth.revoker._finishing.wait()
    session = await service.session(pair.refresh_token)
    assert session is not None
    assert (session.ended_at is not None) is taken
    assert await passes(service, current) is not taken


async def test_caller_who_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is cancelled between the entry and the tombstone leaves neither without the other."""
    monkeypatch.setattr(revoker, "_BETWEEN_ATTEMPTS", 0.01)
    service = Service()
    pair = await service.auth.sessions.open(ALICE)
    append = service.store.append_revocations

    async def and_wait(revocations: Any, now: int) -> None:
        await append(revocations, now)
        await anyio.sleep_forever()

    with anyio.move_on_after(0.05), monkeypatch.context() as patch:
        patch.setattr(service.store, "append_revocations", and_wait)
        await service.auth.sessions.end("alice", sid_of(pair))
    assert service.store.writes == 1
    service.clock.turn(1)
    with anyio.fail_after(10):
        await service.auth.revoker._finishing.wait()
    session = await service.session(pair.refresh_token)
    assert session is not None
    assert session.ended_at is not None
    assert not await passes(service, pair)


async def test_event_loop_that_goes_away() -> None:
    """A call that is thrown away with its event loop begins nothing, for there is nothing to begin it in."""
    service = Service()
    pair = await service.auth.sessions.open(ALICE)

    async def never(revocations: Any, now: int) -> None:
        await anyio.sleep_forever()

    service.store.append_revocations = never  # type: ignore[method-assign]
    call: Any = service.auth.sessions.end("alice", sid_of(pair))
    call.send(None)
    call.close()
    assert not service.auth.revoker._finishing.under_way


@pytest.mark.parametrize("end_of_it", ["lapse", "close", "retry"])
async def test_tombstones_are_not_tried_for_ever(end_of_it: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the entry has lapsed, the Auth is closed or somebody else has ended it, it is given up."""
    monkeypatch.setattr(revoker, "_BETWEEN_ATTEMPTS", 0.01)
    service = Service()
    pair = await service.auth.sessions.open(ALICE)
    service.store.down = {"update"}
    with pytest.raises(StoreUnavailable):
        await service.auth.sessions.end_all("alice")
    ending = service.auth.revoker
    if end_of_it == "lapse":
        service.clock.turn(2 * HOUR)
    elif end_of_it == "close":
        ending.close()
    else:
        service.store.down = set()
        assert await service.auth.sessions.end("alice", sid_of(pair))
    with anyio.fail_after(10):
        await ending._finishing.wait()
    assert ending._unfinished == {}


async def test_many_sessions_end_at_once() -> None:
    """However many sessions a subject has, their entries are appended by the page, before any tombstone."""
    service = Service()
    pairs = [await service.auth.sessions.open(ALICE) for _ in range(LOG_PAGE)]
    service.store.calls.clear()
    assert await service.auth.sessions.end_all("alice") == LOG_PAGE
    assert service.store.calls == {"list": 1, "append_revocations": 2, "update": LOG_PAGE}
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
    assert entries(workers.store) == [Revocation("jti", said["iss"], said["jti"], until)]
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
    for jti in ({}, {"jti": 7}):
        claims = Claims({"iss": "https://issuer.example", "sub": "alice", "exp": NOW + 60, "aud": AUDIENCE, **jti})
        with pytest.raises(MissingClaim):
            await service.auth.revoke_token(claims)
    assert entries(service.store) == []


async def test_token_without_an_end() -> None:
    """A token of another issuer may hold for ages: its entry then has the latest end that every store can tell."""
    service = Service()
    await service.auth.revoke_token(Claims({"iss": "https://p.example", "sub": "a", "jti": "j", "exp": 2.0**62}))
    assert entries(service.store) == [Revocation("jti", "https://p.example", "j", 2**53)]
