"""Sessions: opened, refreshed, listed and ended, without HTTP."""

from collections.abc import Callable
from dataclasses import replace

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from support.app import NOW, Service, WatchedStore, payload

from asgi_jwt import Client, Identity
from asgi_jwt.errors import InvalidGrant, SessionOver, StoreUnavailable, TokenReused
from asgi_jwt.events import Refreshed, ReuseDetected, SessionEnded, SessionOpened, StoreFailed
from asgi_jwt.sessions.gate import AdmissionGate
from asgi_jwt.sessions.rotation import Verdict
from asgi_jwt.sessions.sessions import _new_sid
from asgi_jwt.stores.base import SWEEP_LIMIT, Change
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.records import Session, SessionKey
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

ALICE = Identity("alice", scopes="read write", roles=["user"], claims={"tier": {"level": 2}}, client_id="app")


class LaggingStore(WatchedStore):
    """Reads as a replica does that has seen nothing yet, the first `lag` times."""

    def __init__(self, lag: int) -> None:
        super().__init__(MemoryStore())
        self.lag = lag

    async def get(self, key: SessionKey) -> Session | None:
        session = await super().get(key)
        return session if self.calls["get"] > self.lag else None


class HookedStore(WatchedStore):
    """Lets `meanwhile` change the stored record between a read and the update that follows."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.meanwhile: Change[None] | None = None

    async def get(self, key: SessionKey) -> Session | None:
        session = await super().get(key)
        if self.meanwhile is not None:
            change, self.meanwhile = self.meanwhile, None
            await self.inner.update(key, change)
        return session


Reshape = Callable[[Session, str], Session]


@pytest.fixture
def service() -> Service:
    return Service()


async def test_open(service: Service) -> None:
    """A login gives an access token with the identity's claims, and a refresh token with none of them."""
    pair = await service.auth.sessions.open(ALICE, Client("Lynx", "192.0.2.1"))
    access, refresh = payload(pair.access_token), payload(pair.refresh_token)
    assert (access["sub"], access["scope"], access["roles"]) == ("alice", "read write", ["user"])
    assert (access["tier"], access["client_id"], access["sid"]) == ({"level": 2}, "app", refresh["sid"])
    assert refresh.keys() == {"iss", "aud", "sub", "sid", "gen", "br", "type", "iat", "exp", "jti"}
    assert (refresh["type"], refresh["gen"], len(refresh["br"])) == ("refresh", 0, 16)
    assert (pair.expires_in, pair.refresh_expires_in, pair.scope, pair.verdict) == (900, 604800, "read write", None)
    assert service.events == [SessionOpened()]
    assert service.store.writes == 1


def test_sids_are_no_options_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """`asgi-jwt sessions revoke --sid` takes every `sid`: none begins with `-`."""
    drawn = iter(["-a", "--", "b-"])
    monkeypatch.setattr("secrets.token_urlsafe", lambda size: next(drawn))
    assert _new_sid() == "b-"


async def test_what_is_stored_is_no_token(service: Service) -> None:
    """P25: Nothing in the record can be used as a token: neither's text, nor the branch of the one that is out."""
    pair = await service.auth.sessions.open(ALICE)
    stored = repr(await service.session(pair.refresh_token))
    for secret in (pair.access_token, pair.refresh_token, payload(pair.refresh_token)["br"]):
        assert secret not in stored


@pytest.mark.parametrize("as_bytes", [True, False])
async def test_refresh(service: Service, as_bytes: bool) -> None:
    """A refresh gives new tokens with what the session remembers, and takes text and bytes."""
    pair = await service.auth.sessions.open(ALICE)
    presented = pair.refresh_token.encode() if as_bytes else pair.refresh_token
    rotated = await service.auth.sessions.refresh(presented)
    said = payload(rotated.access_token)
    assert (said["scope"], said["roles"], said["tier"], said["client_id"]) == (
        "read write",
        ["user"],
        {"level": 2},
        "app",
    )
    assert (rotated.verdict, payload(rotated.refresh_token)["gen"]) == (Verdict.ROTATED, 1)
    token = rotated.refresh_token.encode() if as_bytes else rotated.refresh_token
    same = await service.auth.sessions.refresh(token)
    assert (same.verdict, same.refresh_token) == (Verdict.SAME, rotated.refresh_token)
    assert service.events[1:] == [Refreshed("ROTATED"), Refreshed("SAME")]


@pytest.mark.parametrize("skew", [-3600, 3600])
async def test_servers_whose_clocks_differ_log_nobody_out(skew: int) -> None:
    """P24: A refresh token of a server whose clock is an hour off is exchanged at any other: its record decides."""
    one = Service()
    other = Service(one.store, clock=Clock(NOW + skew))
    pair = await one.auth.sessions.open(ALICE)
    for n in range(24):
        pair = await (one, other)[n % 2].auth.sessions.refresh(pair.refresh_token)
        for service in (one, other):
            service.clock.turn(61)


async def test_refusals_say_why(service: Service) -> None:
    """What is no token of ours, a session that is over and a token reused are three errors, all `InvalidGrant`."""
    sessions = service.auth.sessions
    pair = await sessions.open(ALICE)
    child = await sessions.refresh(pair.refresh_token)
    await sessions.refresh(child.refresh_token)
    service.clock.turn(60)
    refusals: list[tuple[str | bytes, type[InvalidGrant]]] = [
        *((rubbish, InvalidGrant) for rubbish in ("rubbish", b"rubbish", "r\u00fcbbish", "\ud800", b"\xff")),
        (pair.refresh_token, TokenReused),
        (child.refresh_token, SessionOver),
    ]
    for token, error in refusals:
        with pytest.raises(InvalidGrant) as refused:
            await sessions.refresh(token)
        assert type(refused.value) is error
        assert error is not InvalidGrant or refused.value.reason == "grant_invalid"
    assert service.events[-4:] == [Refreshed("REUSED"), ReuseDetected(), SessionEnded("reuse"), Refreshed("INVALID")]


async def test_refresh_reads_and_writes_once(service: Service) -> None:
    """A refresh costs the store one read and one update, and once an interval a read of the log."""
    pair = await service.auth.sessions.open(ALICE)
    for seconds, reads in ((0, {"read_revocations": 1}), (0.9, {}), (0.1, {"read_revocations": 1})):
        service.clock.turn(seconds)
        service.store.calls.clear()
        pair = await service.auth.sessions.refresh(pair.refresh_token)
        assert service.store.calls == {"get": 1, "update": 1, **reads}


@pytest.mark.parametrize("lag", [1, 2, 3])
async def test_lagging_reads(lag: int) -> None:
    """Behind a replica that lags the refresh reads again, three times at the most, commits nothing before it has a
    token, and rotates once; reads that lag on are a store that is down, and nothing is lost."""
    service = Service(LaggingStore(lag))
    pair = await service.auth.sessions.open(ALICE)
    service.store.writes = 0
    if lag == 3:
        with pytest.raises(StoreUnavailable):
            await service.auth.sessions.refresh(pair.refresh_token)
        assert (service.store.writes, service.store.calls["get"]) == (0, 3)
        assert service.events[-1] == StoreFailed("get", "the store's reads lag behind its writes")
    refreshed = await service.auth.sessions.refresh(pair.refresh_token)
    assert (refreshed.verdict, service.store.writes, service.verdicts) == (Verdict.ROTATED, 1, ["ROTATED"])


def rotated(session: Session, branch: str) -> Session:
    return replace(session, generation=1, rotated_branch=branch, window_at=session.created_at)


def ended(session: Session, _: str) -> Session:
    return replace(session, ended_at=session.created_at)


def as_it_was(session: Session, _: str) -> Session:
    return replace(session, ended_at=None)


@pytest.mark.parametrize(
    ("before", "meanwhile", "verdict", "reads", "writes"),
    [
        (as_it_was, rotated, Verdict.REPLAYED, 1, 0),
        (as_it_was, ended, None, 1, 0),
        # A record that the read knew only as ended is tried again, never answered half.
        (ended, as_it_was, Verdict.ROTATED, 2, 1),
    ],
    ids=["rotated", "ended", "provisional death"],
)
async def test_the_stores_word_counts(
    before: Reshape, meanwhile: Reshape, verdict: Verdict | None, reads: int, writes: int
) -> None:
    """Another worker changes the record between the read and the commit: the verdict is the one of the record as
    committed, and a minted token of a session that is over by then is never handed out."""
    store = HookedStore()
    service = Service(store)
    pair = await service.auth.sessions.open(ALICE)
    branch = payload(pair.refresh_token)["br"]
    kept = await service.kept(pair.refresh_token)
    await store.inner.update(kept.key, lambda stored: (stored and before(stored, branch), None))
    store.meanwhile = lambda stored: (stored and meanwhile(stored, branch), None)
    store.writes = 0
    store.calls.clear()
    if verdict is None:
        with pytest.raises(SessionOver):
            await service.auth.sessions.refresh(pair.refresh_token)
    else:
        refreshed = await service.auth.sessions.refresh(pair.refresh_token)
        assert (refreshed.verdict, payload(refreshed.refresh_token)["gen"]) == (verdict, 1)
    assert (store.calls["get"], store.writes) == (reads, writes)


async def test_end(service: Service) -> None:
    """A session ends once; another subject's, an unknown and an expired one do not."""
    sessions = service.auth.sessions
    sid = payload((await sessions.open(ALICE)).refresh_token)["sid"]
    assert [await sessions.end("bob", sid), await sessions.end("alice", "unknown")] == [False, False]
    assert await sessions.is_live("alice", sid)
    assert [await sessions.end("alice", sid), await sessions.end("alice", sid)] == [True, False]
    assert not await sessions.is_live("alice", sid)
    expired = payload((await sessions.open(ALICE)).refresh_token)["sid"]
    service.clock.turn(7 * 24 * 3600)
    service.store.writes = 0
    assert not await sessions.end("alice", expired)
    assert service.store.writes == 1  # a tombstone all the same: by the clock of another worker it may live
    assert service.events.count(SessionEnded("ended")) == 1


async def test_end_all_and_list(service: Service) -> None:
    """All live sessions of the subject are listed, oldest first, and end together; how many is said."""
    sessions = service.auth.sessions
    sids = []
    for _ in range(3):
        sids.append(payload((await sessions.open(ALICE)).refresh_token)["sid"])
        service.clock.turn(1)
    await sessions.open(Identity("bob"))
    assert [session.sid for session in await sessions.list("alice")] == sids
    assert [await sessions.end_all("alice"), await sessions.end_all("alice")] == [3, 0]
    assert (len(await sessions.list("alice")), len(await sessions.list("bob"))) == (0, 1)


@pytest.mark.parametrize(
    ("found", "swept"), [(0, [1, 1, 1, 2, 2, 3]), (SWEEP_LIMIT, [1, 2, 3, 4, 5, 6])], ids=["at most a minute", "full"]
)
async def test_sweeps_at_logins(found: int, swept: list[int]) -> None:
    """Expired records are swept at logins, once a minute at the most, also when the clock was set back; where a sweep
    took all that it may at once, the next login sweeps again."""
    service, calls = Service(), list[int]()

    async def sweep(now: int) -> int:
        calls.append(now)
        return found

    service.store.sweep = sweep  # type: ignore[method-assign]
    for seconds, count in zip((0, 0, 59.9, 0.1, -59.9, -0.1), swept, strict=True):
        service.clock.turn(seconds)
        await service.auth.sessions.open(ALICE)
        assert len(calls) == count


@pytest.mark.parametrize(("method", "down"), [("refresh", "get"), ("refresh", "update"), ("open", "update")])
async def test_store_that_is_down(service: Service, method: str, down: str) -> None:
    """Every method passes on that the store did not answer."""
    pair = await service.auth.sessions.open(ALICE)
    service.store.down = {down}
    with pytest.raises(StoreUnavailable):
        await getattr(service.auth.sessions, method)(ALICE if method == "open" else pair.refresh_token)
    assert service.verdicts == []


class StalledStore(WatchedStore):
    """Answers no read before it is let."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.free = anyio.Event()

    async def get(self, key: SessionKey) -> Session | None:
        await self.free.wait()
        return await super().get(key)


async def test_overload_is_refused_before_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all places taken, callers who can't wait so long cost no signature; once a second that is told."""
    store = StalledStore()
    service = Service(store)
    sessions = service.auth.sessions
    pair = await sessions.open(ALICE)
    monkeypatch.setattr(sessions, "_gate", AdmissionGate(places=1, max_wait=0.05))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sessions.refresh, pair.refresh_token)
        await wait_all_tasks_blocked()
        for seconds in (0, 0, 1):
            service.clock.turn(seconds)
            with pytest.raises(StoreUnavailable, match="overloaded"):
                await sessions.refresh("no token at all")
        service.clock.turn(1)
        with pytest.raises(StoreUnavailable, match="overloaded"):
            await sessions.open(ALICE)
        store.free.set()
    overloaded = "overloaded: 1 callers are at work, and more wait"
    told = [event for event in service.events if isinstance(event, StoreFailed)]
    assert told == [StoreFailed("refresh", overloaded)] * 2 + [StoreFailed("open", overloaded)]
    assert service.verdicts == ["ROTATED"]


async def test_pair_shows_no_token() -> None:
    """The repr of a pair shows what it is worth, and neither token."""
    pair = await Service().auth.sessions.open(ALICE)
    assert repr(pair) == f"{pair}" == "TokenPair(verdict=None, scope='read write', expires_in=900)"


async def test_an_access_token_does_not_outlive_its_session() -> None:
    """Near the session's end the access token is shorter-lived, and says so."""
    service = Service(settings={"session_ttl": 60})
    pair = await service.auth.sessions.open(ALICE)
    assert (pair.expires_in, payload(pair.access_token)["exp"]) == (60, NOW + 60)


async def test_what_is_too_large_is_never_kept(service: Service) -> None:
    """A subject whose refresh token would be refused is refused at the login, before anything is stored."""
    with pytest.raises(ValueError, match="past MAX_TOKEN_SIZE"):
        await service.auth.sessions.open(Identity("a" * 5885))
    assert service.store.writes == 0


async def test_end_all_says_when_the_store_failed_at_one(service: Service) -> None:
    """A session that could not be ended makes the whole fail, as a store's error and in no group; the others end."""
    for _ in range(3):
        await service.auth.sessions.open(ALICE)
    service.store.down_at.add(("update", service.store.calls["update"] + 2))
    with pytest.raises(StoreUnavailable):
        await service.auth.sessions.end_all("alice")
    assert len(await service.auth.sessions.list("alice")) == 1
