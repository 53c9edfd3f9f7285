"""Who holds a session: several processes on purpose, a limited number, for a limited time; and who hears of a theft."""

import logging
import threading
from typing import Any

import anyio
import pytest
from support.app import COOKIE, NOW, Service, WatchedStore, bearer, payload
from support.stores import url_of, using
from support.waiting import PATIENCE

from asgi_jwt import AuthApp, Credentials, Identity, Session
from asgi_jwt.events import ReuseDetected, SessionEnded, StaleReplayed
from asgi_jwt.sessions.gate import AdmissionGate
from asgi_jwt.stores.records import SessionKey
from asgi_jwt.stores.urls import open_store
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

DAY = 86_400


def lets_in(**identity: Any) -> Any:
    """Lets everyone in, with these members of the identity."""
    return lambda credentials, request: Identity(credentials["username"], **identity)


async def oldest_and_newest(service: Service, rounds: int = 3) -> tuple[str, str]:
    """The first refresh token of a session, and its newest after so many rotations."""
    first = newest = (await service.login(transport="body")).json()["refresh_token"]
    for _ in range(rounds):
        service.clock.turn(100)
        newest = (await service.token(newest, client_id="agent")).json()["refresh_token"]
    return first, newest


@pytest.mark.parametrize("grace", ["30s", "0"])
@pytest.mark.parametrize("client_id", ["agent", "another", None])
async def test_shared_client(grace: str, client_id: str | None) -> None:
    """P27: For the client ids in SHARED_CLIENTS an old token is answered, whatever its age; for others it is theft."""
    service = Service(authenticate=lets_in(client_id=client_id), settings={"shared_clients": "agent", "grace": grace})
    first = newest = (await service.login(transport="body")).json()["refresh_token"]
    for _ in range(3):
        service.clock.turn(100)
        newest = (await service.token(newest, client_id=client_id or "")).json()["refresh_token"]
    before = await service.kept(newest)
    answers = [await service.token(first, client_id=client_id or "") for _ in range(3)]
    shared = client_id == "agent"
    assert [answer.status for answer in answers] == [200 if shared else 400] * 3
    assert await service.kept(newest) == before or not shared
    assert service.verdicts[-3:] == (["REPLAYED"] * 3 if shared else ["REUSED", "INVALID", "INVALID"])
    assert (service.events[-1] == StaleReplayed()) is shared
    assert (ReuseDetected() in service.events) is not shared
    assert ((await service.token(newest, client_id=client_id or "")).status == 200) is shared
    sibling = answers[0].json().get("refresh_token")
    service.clock.turn(100)
    assert not shared or (await service.token(sibling, client_id="agent")).status == 200


async def test_life_of_a_shared_session() -> None:
    """An old token holds until the session ends, and the newest alone keeps it alive; the list says `shared`."""
    service = Service(authenticate=lets_in(client_id="agent"), settings={"shared_clients": "agent"})
    first, newest = await oldest_and_newest(service)
    session = await service.kept(newest)
    assert {payload(token)["exp"] * 1000 for token in (first, newest)} == {session.ends_at}
    answer = await service.token(first, client_id="agent")
    assert payload(answer.json()["refresh_token"])["exp"] * 1000 == session.ends_at
    headers = "authorization", f"Bearer {answer.json()['access_token']}"
    assert (await service.get("/sessions", headers)).json()["sessions"][0]["shared"] is True
    service.clock.turn(7 * DAY)
    assert (await service.token(first, client_id="agent")).status == 400
    other = await service.device()
    headers = "authorization", f"Bearer {other.access}"
    assert "shared" in (await service.get("/sessions", headers)).json()["sessions"][-1]
    mine = Service(settings={"shared_clients": "agent"})
    device = await mine.device()
    assert "shared" not in (await mine.get("/sessions", ("authorization", f"Bearer {device.access}"))).body.decode()


@pytest.fixture
def url(store_kind: str, request: pytest.FixtureRequest) -> str:
    servers = store_kind in ("cluster", "watched")
    return str(request.getfixturevalue(store_kind).url) if servers else url_of(store_kind, request)


@pytest.mark.parametrize(
    ("anyio_backend", "store_kind"),
    [
        *(("asyncio", kind) for kind in ("memory", "sqlite", "valkey", "postgres")),
        *(("trio", kind) for kind in ("memory", "sqlite")),
        *(pytest.param("asyncio", kind, marks=pytest.mark.outside) for kind in ("cluster", "watched")),
    ],
)
async def test_max_sessions(url: str) -> None:
    """Of 20 logins at once with MAX_SESSIONS=3 three are left; the others' tokens end within 1 s, elsewhere too."""
    async with using(open_store(url)) as store:
        service = Service(WatchedStore(store), settings={"max_sessions": 3})
        elsewhere = Service(WatchedStore(store), service.clock)
        assert await elsewhere.alive(await elsewhere.device("bob")) == [True]
        logins: list[Any] = []

        async def log_in() -> None:
            logins.append(await service.device())

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(log_in)
        left = {session.sid for session in await service.auth.sessions.list("alice")}
        assert len(left) == 3
        service.clock.turn(1)
        for device in logins:
            assert ((await service.kept(device.access)).ended_at is None) is (device.sid in left)
            headers = "authorization", f"Bearer {device.access}"
            assert (await elsewhere.get("/sessions", headers)).status == (200 if device.sid in left else 401)
        assert service.events.count(SessionEnded("evicted")) == 17


async def test_who_is_evicted() -> None:
    """The session that was used longest ago ends; the one that the login replaces counts no more; 0 is any number."""
    service = Service(settings={"max_sessions": 2})
    old, used = await service.device(), await service.device()
    service.clock.turn(100)
    assert (await service.refresh(old.refresh)).status == 200
    service.clock.turn(100)
    newest = await service.device()
    assert await service.alive(old, used, newest) == [True, False, True]
    again = await service.login("alice", ("cookie", f"{COOKIE}={newest.refresh}"))
    assert again.status == 200
    assert await service.alive(old, newest) == [True, False]
    free = Service()
    devices = [await free.device() for _ in range(10)]
    assert await free.alive(*devices) == [True] * 10


@pytest.mark.parametrize("behind", [0, 2, 59])
async def test_a_login_by_a_clock_that_is_behind(behind: int) -> None:
    """A login does not end itself because others were used by a clock that is up to 60 s ahead."""
    ahead = Service(settings={"max_sessions": 1})
    late = Service(ahead.store, Clock(NOW - behind), settings={"max_sessions": 1})
    old = await ahead.device()
    new = await late.device()
    assert await late.alive(old, new) == [False, True]
    assert (await late.get("/sessions", bearer(new.access))).status == 200


async def test_interrupted_ends() -> None:
    """A login that could not evict leaves one over until the next; a session whose end has begun takes no place."""
    service = Service(settings={"max_sessions": 2})
    for _ in range(2):
        await service.device()
    service.store.down_at = {("list", service.store.calls["list"] + 2)}
    assert (await service.login()).status == 503
    assert len(await service.store.list("alice", int(service.clock.now * 1000))) == 3
    await service.device()
    left = {session.sid for session in await service.auth.sessions.list("alice")}
    assert len(left) == 2
    await service.store.inner.update(
        SessionKey("alice", max(left)), lambda stored: (stored and stored.marked(stored.created_at), None)
    )
    service.clock.turn(1)
    fifth = await service.device()
    assert {session.sid for session in await service.auth.sessions.list("alice")} == {min(left), fifth.sid}


async def test_shorter_of_two_lives() -> None:
    """A login that is not remembered lives no longer than SESSION_TTL."""
    service = Service(authenticate=lets_in(remember=False), settings={"session_ttl": "1h"})
    session = await service.kept((await service.device()).refresh)
    assert session.ends_at - session.created_at == 3600 * 1000


@pytest.mark.parametrize("access_cookie", [None, "access"])
async def test_not_remembered(access_cookie: str | None) -> None:
    """Not remembered, a login has cookies without Max-Age, through refreshes, and ends after UNREMEMBERED_TTL."""

    def authenticate(credentials: Credentials, request: Any) -> Identity:
        return Identity("alice", remember=credentials.get("remember") == "yes")

    service = Service(authenticate=authenticate, settings={"access_cookie": access_cookie, "unremembered_ttl": "2h"})
    login = await service.login()
    service.clock.turn(3600)
    refreshed = await service.refresh(login.cookie())
    for answer in (login, refreshed):
        assert len(answer.set_cookies) == (1 if access_cookie is None else 2)
        assert not any("max-age" in line.lower() or "expires" in line.lower() for line in answer.set_cookies)
        assert all(line.endswith("; Secure") and "; HttpOnly; SameSite=" in line for line in answer.set_cookies)
    assert "Max-Age=0" in (await service.post("/logout", None, ("cookie", f"{COOKIE}=x"))).set_cookies[0]
    service.clock.turn(3601)
    assert (await service.refresh(refreshed.cookie())).status == 401
    kept = await service.login("alice", remember="yes")
    assert f"Max-Age={7 * DAY}" in kept.set_cookies[0]


async def steal(service: Service, on_reuse: Any, transport: str = "cookie") -> int:
    """The status of the answer to a stolen token, which `on_reuse` hears of."""
    service.app = AuthApp(service.auth, service.authenticate, on_reuse=on_reuse)
    device = await service.device()
    newest = device.refresh
    for _ in range(2):
        service.clock.turn(100)
        newest = (await service.refresh(newest)).cookie()
    answer = await (service.refresh if transport == "cookie" else service.token)(device.refresh)
    again = await service.refresh(device.refresh)
    assert again.status == 401
    return answer.status


@pytest.mark.parametrize("transport", ["cookie", "body"])
@pytest.mark.parametrize("way", ["sync", "asynchronous"])
async def test_on_reuse(way: str, transport: str) -> None:
    """`on_reuse` gets the tombstone once a theft; the answer is the same, and events name nobody."""
    service, heard = Service(), list[Session]()

    async def asynchronous(session: Session) -> None:
        heard.append(session)

    on_reuse = heard.append if way == "sync" else asynchronous
    assert await steal(service, on_reuse, transport) == (401 if transport == "cookie" else 400)
    (session,) = heard
    assert (session.subject, session.ended_at) == ("alice", int(service.clock.now * 1000))
    assert all("alice" not in str(event) for event in service.events)


def fails(session: Session) -> None:
    raise OSError("the mail server is down")


async def hangs(session: Session) -> None:
    await anyio.sleep_forever()


@pytest.mark.parametrize("on_reuse", [fails, hangs])
async def test_on_reuse_that_fails(on_reuse: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A failure is logged, and changes no answer; nor does a function that never returns."""
    with caplog.at_level(logging.ERROR):
        assert await steal(Service(), on_reuse) == 401
    assert f"{on_reuse.__name__} failed, or took more than 1 s" in caplog.text


async def test_thief_who_hangs_up() -> None:
    """A client that closes its connection can't keep `on_reuse` from being called to its end."""
    heard = list[Session]()
    with anyio.CancelScope() as connection:

        async def slow(session: Session) -> None:
            connection.cancel()
            await anyio.lowlevel.checkpoint()
            heard.append(session)

        await steal(Service(), slow)
    assert len(heard) == 1


async def test_slow_on_reuse_keeps_no_one_out() -> None:
    """While the host hears of thefts, as many as there are places at the gate, other users refresh."""
    service = Service(settings={"grace": 0})
    service.auth.sessions._gate = AdmissionGate(places=1, max_wait=0)
    statuses: list[int] = []

    async def refreshes(session: Session) -> None:
        statuses.append((await service.refresh(other.refresh)).status)

    other = await service.device("bob")
    assert await steal(service, refreshes) == 401
    assert statuses == [200]


async def test_on_reuse_that_blocks_a_thread() -> None:
    """The answer waits a second for a function that blocks its thread, which goes on after that."""
    go_on, done = threading.Event(), threading.Event()

    def blocks(session: Session) -> None:
        go_on.wait(PATIENCE)
        done.set()

    assert await steal(Service(), blocks) == 401
    assert not done.is_set()
    go_on.set()
    assert done.wait(PATIENCE)
