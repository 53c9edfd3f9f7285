"""Sessions end and tokens are revoked: what is refused then, for how long, and what is put back."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import anyio
import pytest
from support.app import AUDIENCE, ISSUER, NOW, Service, WatchedStore, payload
from support.waiting import PATIENCE

from asgi_jwt import Claims, Identity, TokenPair
from asgi_jwt.errors import AuthError, InvalidGrant, MissingClaim, RevokedToken, StoreUnavailable, TokenReused
from asgi_jwt.events import Refreshed, ReuseDetected, SessionEnded, StoreFailed, TokensRevoked
from asgi_jwt.sessions import own_entries, revoker
from asgi_jwt.sessions.gate import AdmissionGate
from asgi_jwt.stores.base import LOG_PAGE
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Revocation, SessionKey
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

ALICE = Identity("alice", scopes="read")
HOUR = Millis(3600)
PARTNER = {"iss": "https://p.example", "sub": "a", "jti": "j"}


async def passes(service: Service, token: TokenPair | str) -> bool:
    """Whether the access token is let in."""
    try:
        await service.auth.verify(token if isinstance(token, str) else token.access_token)
    except RevokedToken:
        return False
    return True


async def refreshed(service: Service, pair: TokenPair) -> TokenPair | None:
    try:
        return await service.auth.sessions.refresh(pair.refresh_token)
    except InvalidGrant:
        return None


def key_of(pair: TokenPair) -> SessionKey:
    said = payload(pair.access_token)
    return SessionKey(said["sub"], said["sid"])


def entries(service: Service) -> list[Revocation]:
    assert isinstance(service.store.inner, MemoryStore)
    return [entry.revocation for entry in service.store.inner._log]


async def reuse(service: Service, first: TokenPair, last: TokenPair) -> None:
    with pytest.raises(TokenReused):
        await service.auth.sessions.refresh(first.refresh_token)
    assert service.events[-3:] == [Refreshed("REUSED"), ReuseDetected(), SessionEnded("reuse")]


async def revoke_token(service: Service, first: TokenPair, last: TokenPair) -> None:
    for token in (last.access_token, last.access_token.encode(), await service.auth.authentic(last.access_token)):
        await service.auth.revoke_token(token)
    assert service.events.count(TokensRevoked("jti")) == 1
    said = payload(last.access_token)
    assert entries(service) == [Revocation("jti", ISSUER, said["jti"], (said["exp"] + 300) * 1000, said["iat"] * 1000)]


ENDS: dict[str, tuple[Callable[[Service, TokenPair, TokenPair], Awaitable[object]], set[str], bool]] = {
    "end": (lambda service, first, _: service.auth.sessions.end(*key_of(first)), {"first", "last"}, True),
    "reuse": (reuse, {"first", "last"}, True),
    "revoke_token": (revoke_token, {"last"}, False),
    "end_all": (
        lambda service, *_: service.auth.sessions.end_all("alice"),
        {"first", "last", "second", "lost", "own", "bare"},
        True,
    ),
    "revoke_subject": (
        lambda service, *_: service.auth.revoke_subject("alice"),
        {"first", "last", "second", "lost", "own", "bare"},
        True,
    ),
}


@pytest.mark.parametrize("skew", [-2, 0, 2])
@pytest.mark.parametrize("way", ENDS)
async def test_access_tokens_are_refused_everywhere(way: str, skew: float) -> None:
    """Access tokens are refused at once in the process that revokes them, and in another within the interval; others,
    of logins in the same second too, are not, and no session ends that need not."""
    end, refused, over = ENDS[way]
    one = Service()
    other = Service(one.store, clock=Clock(NOW + skew))
    tokens: dict[str, Any] = {"first": await one.auth.sessions.open(ALICE), "lost": await one.auth.sessions.open(ALICE)}
    middle = await one.auth.sessions.refresh(tokens["first"].refresh_token)
    # A session that the store has lost, one of a host's own, and a token without a session get no entry of their own.
    await one.store.inner.update(key_of(tokens["lost"]), lambda _: (None, None))
    tokens["own"] = one.auth.issuer.access_token(ALICE, session_id="the host's own")
    for service in (one, other):
        service.clock.turn(63)
    tokens["last"] = await one.auth.sessions.refresh(middle.refresh_token)
    tokens["second"] = await other.auth.sessions.open(ALICE)
    tokens["bare"] = one.auth.issuer.access_token(ALICE)
    tokens["bob"] = await one.auth.sessions.open(Identity("bob"))
    for service in (one, other):
        assert all([await passes(service, token) for token in tokens.values()])
    await end(one, tokens["first"], tokens["last"])
    assert {name for name, token in tokens.items() if not await passes(one, token)} == refused
    assert (one.auth.verify_cached(tokens["last"].access_token), await passes(other, tokens["last"])) == (None, True)
    for n, service in enumerate((one, other)):
        tokens[f"after {n}"] = await service.auth.sessions.open(ALICE)
        service.clock.turn(1)
    for service in (one, other):
        assert {name for name, token in tokens.items() if not await passes(service, token)} == refused
    assert [await refreshed(other, tokens[name]) is None for name in ("last", "second", "bob", "after 0")] == [
        over,
        "second" in refused,
        False,
        False,
    ]


async def test_entry_outlives_every_token() -> None:
    """A session's entry is kept for the longest life of a token, the leeway of any service, the staleness of a copy
    and the difference of the clocks; the subject's as well."""
    service = Service()
    pair = await service.auth.sessions.open(ALICE)
    await service.auth.sessions.end_all("alice")
    until = (NOW + HOUR + 300 + 5 + 60) * 1000
    assert entries(service) == [
        Revocation("sid", ISSUER, key_of(pair).sid, Millis(until), Millis(NOW * 1000)),
        Revocation("sub", ISSUER, "alice", Millis(until), Millis(NOW * 1000), True),
    ]


@pytest.mark.parametrize(
    ("skew", "times", "life"),
    [
        # By a clock that is hours off, for the whole life where the token tells it.
        (12 * HOUR, {"iat": NOW, "exp": NOW + 24 * HOUR}, 24 * HOUR + 300),
        (-12 * HOUR, {"iat": NOW, "exp": NOW + 24 * HOUR}, 36 * HOUR + 300),
        (12 * HOUR, {"exp": NOW + 24 * HOUR}, 12 * HOUR + 300),
        (-12 * HOUR, {"exp": NOW + 24 * HOUR}, 36 * HOUR + 300),
        # A day at the most for whatever it says of its past.
        (0, {"iat": 0, "exp": NOW + HOUR}, HOUR + 24 * HOUR + 300),
        # The latest end that every store can tell.
        (0, {"exp": 2.0**62}, 2**53 // 1000 - NOW),
    ],
)
async def test_life_of_a_tokens_entry(skew: float, times: dict[str, float], life: float) -> None:
    """A token is refused for the rest of its life, whenever it was issued and whatever the clock that revokes it."""
    service = Service(clock=Clock(NOW + skew))
    await service.auth.revoke_token(Claims({**PARTNER, **times}))
    (entry,) = entries(service)
    assert entry[:3] == ("jti", PARTNER["iss"], "j")
    assert entry.life(Millis(0)) // 1000 == life


async def test_revoke_token_that_does_not_hold() -> None:
    """What is no token, or has expired, says so, and nothing is written; nor is one that has no name."""
    service = Service()
    pair = await service.auth.sessions.open(ALICE)
    for token, error in (("rubbish", "token_malformed"), (pair.refresh_token, "header_type_invalid")):
        with pytest.raises(AuthError) as refused:
            await service.auth.revoke_token(token)
        assert refused.value.reason == error
    for said in ({}, {"jti": 7}, {"sid": ["s"]}):
        with pytest.raises(MissingClaim):
            await service.auth.revoke_token(
                Claims({"iss": ISSUER, "sub": "alice", "exp": NOW + 60, "aud": AUDIENCE, **said})
            )
    assert entries(service) == []


async def test_another_subjects_session_is_not_revoked() -> None:
    """Whoever names the `sid` of somebody else, or one made up, writes nothing into the log."""
    service = Service()
    key = key_of(await service.auth.sessions.open(ALICE))
    for each in (("bob", key.sid), ("alice", "made-up")):
        assert not await service.auth.sessions.end(*each)
    assert [await service.auth.sessions.end(*key) for _ in range(2)] == [True, False]
    assert len(entries(service)) == 1


async def test_reuse_that_shows_only_at_the_commit() -> None:
    """A token that becomes a reused one while its refresh is under way ends nothing before the entry is written."""
    service = Service()
    first = await service.auth.sessions.open(ALICE)
    second = await service.auth.sessions.refresh(first.refresh_token)
    await service.auth.sessions.refresh(second.refresh_token)
    service.clock.turn(29)
    order: list[tuple[int, int]] = []

    def load_identity(subject: str, session: Any) -> Identity:
        service.clock.turn(2)  # the grace ends
        order.append((service.store.writes, len(entries(service))))
        return ALICE

    service.store.writes = 0
    with pytest.raises(TokenReused):
        await service.auth.sessions.refresh(first.refresh_token, load_identity=load_identity)
    assert [*order, (service.store.writes, len(entries(service)))] == [(0, 0), (1, 1)]


@pytest.mark.parametrize("by", ["refresh", "list", "end", "end_all"])
async def test_mark_is_finished(by: str) -> None:
    """A session whose end was cut short after its mark is refused by the next refresh, which ends it; so does a look
    at the sessions, and the next logout."""
    service, other = Service(), Service(clock=Clock(NOW + 2))
    other.store.inner = service.store.inner
    pair, untouched = await service.auth.sessions.open(ALICE), await service.auth.sessions.open(ALICE)
    key = key_of(pair)
    await service.store.inner.update(key, lambda session: (session and session.marked(Millis(NOW * 1000)), None))
    assert await passes(other, pair)
    if by == "refresh":
        assert await refreshed(other, pair) is None
    elif by == "list":
        assert [session.key for session in await other.auth.sessions.list("alice")] == [key_of(untouched)]
    else:
        assert await (other.auth.sessions.end(*key) if by == "end" else other.auth.sessions.end_all("alice"))
    other.clock.turn(1)
    assert [await passes(each, pair) for each in (service, other)] == [False, False]
    assert await passes(other, untouched) is (by != "end_all")
    session = await service.store.inner.get(key)
    assert session is not None
    assert (session.ending_at, session.ended_at) == (None, (NOW + 2) * 1000)


async def test_own_session_ends_last() -> None:
    """While anything of a log out everywhere is left to do, the session that asks for it goes on."""
    service = Service()
    own, *others = [await service.auth.sessions.open(ALICE) for _ in range(3)]
    update = service.store.update

    async def but_one(key: SessionKey, change: Any) -> Any:
        if key == key_of(others[0]):
            raise StoreUnavailable("no answer")
        return await update(key, change)

    service.store.update = but_one  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await service.auth.revoker.end_all("alice", last=key_of(own).sid)
    service.clock.turn(1)
    assert [await passes(service, pair) for pair in (own, *others)] == [True, True, False]
    service.store.update = update  # type: ignore[method-assign]
    assert await service.auth.revoker.end_all("alice", last=key_of(own).sid) == 2
    assert not any([await passes(service, pair) for pair in (own, *others)])


async def test_many_sessions_end_at_once() -> None:
    """However many sessions a subject has, each ends in one step, and the subject's entry comes last."""
    service = Service()
    pairs = [await service.auth.sessions.open(ALICE) for _ in range(LOG_PAGE)]
    service.store.calls.clear()
    assert await service.auth.sessions.end_all("alice") == LOG_PAGE
    assert service.store.calls == {"list": 1, "append_revocations": 1, "update": LOG_PAGE}
    assert [entry.kind for entry in entries(service)] == [*["sid"] * LOG_PAGE, "sub"]
    assert not any([await passes(service, pair) for pair in pairs[:10]])


async def test_logged_out_everywhere_by_a_clock_ahead() -> None:
    """Sessions that have expired by the clock of a process that is ahead live by others: they end, too."""
    one = Service(settings={"refresh_ttl": HOUR})
    other = Service(one.store, clock=Clock(NOW + 2 * HOUR), settings=one.settings)
    pair = await one.auth.sessions.open(ALICE)
    await other.auth.sessions.end_all("alice")
    one.clock.turn(1)
    assert not await passes(one, pair)
    assert await refreshed(one, pair) is None


# What a failover takes is put back


class Empty(MemoryStore):
    """A server that restarted empty, or lost its last writes in a failover: the log's place is lost."""

    lost = False

    async def read_revocations(self, cursor: Any = None) -> Any:
        page = await super().read_revocations(None if self.lost else cursor)
        continues, self.lost = page.continues and not self.lost, False
        return page._replace(continues=continues)


@pytest.fixture
def service() -> Service:
    return Service(WatchedStore(Empty()))


async def lose(service: Service, *, sessions: bool = True) -> None:
    """Lose the log, and notice it."""
    store = service.store.inner
    assert isinstance(store, Empty)
    store._log.clear()
    store.lost = True
    if sessions:
        store._subjects.clear()
    service.clock.turn(2)
    await service.auth.revocations.poll()


async def put_back(service: Service) -> None:
    with anyio.fail_after(PATIENCE):
        await service.auth.revoker._restoring.wait()


async def test_lost_entries_are_put_back(service: Service) -> None:
    """A process puts what it has written back into a log that lost it, once, with what is left of its life."""
    elapsed = service.auth.revoker._monotonic = Clock(100)
    pair, bob = await service.auth.sessions.open(ALICE), await service.auth.sessions.open(Identity("bob"))
    await service.auth.sessions.end_all("alice")
    await service.auth.revoke_token(bob.access_token)
    written = entries(service)
    await service.auth.revocations.poll()
    elapsed.turn(1000)
    await lose(service)
    await put_back(service)
    assert [(*entry[:3], entry.time, entry.life(Millis(0))) for entry in entries(service)] == [
        (*entry[:3], entry.time, entry.life(Millis(0)) - 1_000_000) for entry in written
    ]
    new = Service(service.store, clock=service.clock)
    assert not any([await passes(new, each) for each in (pair, bob)])
    elapsed.turn(2 * HOUR)
    await lose(service)
    await put_back(service)
    assert entries(service) == []
    await service.auth.revoke_subject("bob")
    assert [written.revocation.value for written in service.auth.revocations.own_entries._written.values()] == ["bob"]


@pytest.mark.parametrize("place", ["lost", "kept", "none"])
async def test_session_that_a_failover_revived(service: Service, place: str) -> None:
    """Where the tombstone is lost with the entry, the process that ended the session ends it again: also where the log
    goes on from the place up to which this process had read it, or where it had read an empty log."""
    pair = await service.auth.sessions.open(ALICE)
    live = await service.kept(pair.refresh_token)
    if place != "none":
        await service.auth.revoke_token(service.auth.issuer.access_token(ALICE))
    await service.auth.revocations.poll()
    bare = service.auth.issuer.access_token(ALICE)
    await service.auth.revoke_token(bare)
    await service.auth.sessions.end(*live.key)
    for _ in range(2):  # what was put back is lost again
        await service.store.inner.update(live.key, lambda _: (live.changed(), None))
        if place != "lost":
            assert isinstance(service.store.inner, MemoryStore)
            del service.store.inner._log[1 if place == "kept" else 0 :]
        service.clock.turn(2)
        await service.auth.revocations.poll()
        if place == "lost":
            await lose(service, sessions=False)
        await put_back(service)
        assert (await service.kept(pair.refresh_token)).ended_at is not None
        assert {live.sid, payload(bare)["jti"]} <= {entry.value for entry in entries(service)}


async def test_restoring_waits_for_the_store(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries go back by the page, and a page that fails goes back later; a closed Auth puts nothing back."""
    monkeypatch.setattr(revoker, "_BETWEEN_PAGES", 0.01)
    for n in range(2 * LOG_PAGE):
        await service.auth.revoke_token(Claims({**PARTNER, "jti": f"j{n}", "exp": NOW + HOUR}))
    await service.auth.revocations.poll()
    written = entries(service)
    for closed in (False, True):
        service.store.calls.clear()
        service.store.down_at = {("append_revocations", 1), ("append_revocations", 3)}
        await lose(service)
        restoring = service.auth.revoker._restoring
        if closed:
            await service.auth.aclose()
        with anyio.fail_after(PATIENCE):
            await restoring.wait()
        assert [entry.value for entry in entries(service)] == [entry.value for entry in written if not closed]
        assert closed or service.store.calls["append_revocations"] == 4


async def test_process_that_never_reads_the_log(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that only revokes keeps a bounded number of entries, and each until it lapses."""
    monkeypatch.setattr(own_entries, "_MAX_WRITTEN", 3)
    for n in range(10):
        await service.auth.revoke_subject(f"user {n}")
    kept = service.auth.revocations.own_entries
    assert sorted(kept._unread) == sorted(kept._written)
    assert [written.revocation.value for written in kept._written.values()] == ["user 7", "user 8", "user 9"]
    service.auth.revocations._monotonic = Clock(service.auth.revocations._monotonic() + 2 * HOUR)
    await service.auth.revoke_subject("user 10")
    assert len(service.auth.revocations) == 1


async def test_overload_sheds_logouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all places taken, what ends sessions or revokes tokens is refused in time; once a second that is told."""

    class Stalled(MemoryStore):
        free = anyio.Event()

        async def append_revocations(self, revocations: Sequence[Revocation], now: Millis) -> None:
            await self.free.wait()
            await super().append_revocations(revocations, now)

    store = Stalled()
    service = Service(WatchedStore(store))
    auth = service.auth
    pair = await auth.sessions.open(ALICE)
    claims = await auth.verify(pair.access_token)
    monkeypatch.setattr(auth.revoker, "_gate", AdmissionGate(places=1, max_wait=0.05))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(auth.revoker.revoke_token, claims)
        await anyio.wait_all_tasks_blocked()
        for seconds, refused in (
            (0, partial(auth.sessions.end, "alice", claims["sid"])),
            (0, partial(auth.sessions.end_all, "alice")),
            (1, partial(auth.revoke_token, claims)),
        ):
            service.clock.turn(seconds)
            with pytest.raises(StoreUnavailable, match="overloaded"):
                await refused()
        store.free.set()
    overloaded = "overloaded: 1 callers are at work, and more wait"
    told = [event for event in service.events if isinstance(event, StoreFailed)]
    assert told == [StoreFailed("end", overloaded), StoreFailed("revoke_token", overloaded)]
    assert await auth.sessions.end("alice", claims["sid"])
