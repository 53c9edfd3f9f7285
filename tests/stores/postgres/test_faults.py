"""Whatever befalls the server, a caller hears StoreUnavailable with the mend, and the store comes back by itself."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import anyio
import asyncpg
import pytest
from support.logins import NOW as LOGIN
from support.logins import an_app, an_auth, assert_logged_in, assert_unavailable, browsing, logged_in
from support.postgres import NOBODY, Postgres
from support.stores import KEY, NOW, a_session, advance, stored, using, write
from support.waiting import PATIENCE

from asgi_jwt.errors import ConfigurationError, StoreUnavailable
from asgi_jwt.stores.postgres import PostgresStore
from asgi_jwt.stores.records import Revocation, SessionKey
from asgi_jwt.stores.urls import open_store
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

T = TypeVar("T")
ENTRY = Revocation("sid", "issuer", "s1", NOW, NOW)
TABLES = "asgi_jwt_sessions, asgi_jwt_revocations"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
OPEN = """SELECT count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()"""
OTHERS = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


@pytest.fixture
def anyio_backend() -> str:
    """asyncpg runs on asyncio alone."""
    return "asyncio"


@pytest.fixture
async def url(postgres: Postgres) -> str:
    """The URL of an empty store at the shared server."""
    return await anyio.to_thread.run_sync(postgres.empty)


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    """A store with the session `KEY`."""
    async with using(PostgresStore.from_url(url)) as store:
        await write(store, a_session())
        yield store


async def refused(call: Awaitable[object], match: str = "") -> None:
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(StoreUnavailable) as raised:
            await call
    assert raised.match(match)


async def until_it_works(call: Callable[[], Awaitable[T]]) -> T:
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(StoreUnavailable):
                return await call()
            await asyncio.sleep(0.02)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.02)


async def until_none(server: Postgres, count: str) -> None:
    """Wait until the server counts nothing."""

    async def none() -> bool:
        return not await server.query(count)

    await until(none)


async def until_some(server: Postgres, count: str, number: int = 1) -> None:
    """Wait until the server counts so many."""

    async def enough() -> bool:
        return bool(await server.query(count) >= number)

    await until(enough)


@asynccontextmanager
async def stopped(server: Postgres, number: int = signal.SIGQUIT) -> AsyncIterator[None]:
    await anyio.to_thread.run_sync(server.stop, number)
    yield
    assert await anyio.to_thread.run_sync(server.start)


@asynccontextmanager
async def stalled(server: Postgres) -> AsyncIterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


@asynccontextmanager
async def read_only(server: Postgres) -> AsyncIterator[None]:
    await set_to(server, "on")
    yield
    await set_to(server, "off")


async def set_to(server: Postgres, value: str) -> None:
    await server.query(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    await server.query("SELECT pg_reload_conf()")
    await until_some(server, f"SELECT (current_setting('default_transaction_read_only') = '{value}')::integer")


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
    """A migration holds the tables."""
    connection = await asyncpg.connect(url, timeout=PATIENCE)
    await connection.execute(f"BEGIN; LOCK TABLE {TABLES}")
    yield
    await connection.close(timeout=PATIENCE)


class Fault(NamedTuple):
    begins: Callable[[Any], AbstractAsyncContextManager[None]]
    says: str


FAULTS = {
    "crashed": Fault(stopped, "Connection|57P0"),
    "stopped in order": Fault(lambda server: stopped(server, signal.SIGINT), "Connection|57P0"),
    "stalled": Fault(stalled, "no answer within 0.5 s"),
    "read-only": Fault(read_only, "name the primary"),
    "locked": Fault(lambda server: locked(server.url), "no answer within 0.5 s"),
}


async def test_outages(own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """During each outage calls say what is wrong; after it they succeed, nothing is lost and nothing is left open."""
    async with using(PostgresStore.from_url(own_postgres.url)) as store:
        await write(store, a_session())
        for name, fault in FAULTS.items():
            await asyncio.gather(*(store.get(SessionKey("alice", str(n))) for n in range(30)))
            generation = (await stored(store)).generation
            async with fault.begins(own_postgres):
                with monkeypatch.context() as patch:
                    patch.setattr("asgi_jwt.stores.postgres.link.LIMIT", 0.5 if "0.5" in fault.says else 9.0)
                    calls = [refused(store.update(KEY, advance), fault.says) for _ in range(30)]
                    await asyncio.gather(*calls, refused(store.append_revocations([ENTRY], NOW), fault.says))
                if name == "locked":
                    await until_none(own_postgres, WAITING)
            await until_it_works(lambda: store.update(KEY, advance))
            assert (await stored(store)).generation == generation + 1, name
            assert None not in await asyncio.gather(*(store.get(KEY) for _ in range(50)))
            assert (await store.read_revocations()).revocations == []
            await until_none(own_postgres, OPEN)


async def test_app_without_its_server(own_postgres: Postgres) -> None:
    """While the server is down, AuthApp answers 503 and the cookie stays; then every session is as it was."""
    async with using(PostgresStore.from_url(own_postgres.url)) as store:
        auth = an_auth(store, Clock(LOGIN))
        async with logged_in(auth) as alice, browsing(an_app(auth)) as bob:
            assert (await alice.refresh()).status_code == 200
            cookie = alice.cookie
            async with stopped(own_postgres):
                for _ in range(2):
                    for route in ("/refresh", "/logout", "/logout-all"):
                        assert_unavailable(await alice.post(route))
                    assert_unavailable(await bob.login("bob"))
            assert alice.cookie == cookie
            await until_it_works(lambda: store.get(KEY))
            await assert_logged_in(auth, alice)
            assert (await bob.login("bob")).status_code == 200
            assert (await bob.post("/logout")).status_code == 204
            assert bob.cookie is None


@pytest.mark.outside
async def test_queue_for_one_session(own_postgres: Postgres) -> None:
    """Callers that queue for one session wait no longer than one of them while the server stands still."""
    async with using(PostgresStore.from_url(own_postgres.url)) as store:
        await write(store, a_session())
        async with stalled(own_postgres):
            await asyncio.gather(*(refused(store.update(KEY, advance), "no answer within 9 s") for _ in range(40)))
        await until_it_works(lambda: store.update(KEY, advance))


@pytest.mark.outside
async def test_stall_while_the_tables_are_made(own_postgres: Postgres) -> None:
    """The first calls of a store end too when the server stands still in the middle of them."""
    async with using(PostgresStore.from_url(own_postgres.url)) as store:
        connection = await asyncpg.connect(own_postgres.url, timeout=PATIENCE)
        await connection.execute("BEGIN; CREATE TABLE asgi_jwt_revocations (n integer)")
        calls = [asyncio.create_task(refused(store.get(KEY), "no answer")) for _ in range(3)]
        await until_some(own_postgres, WAITING)
        async with stalled(own_postgres):
            await asyncio.gather(*calls)
        await connection.close(timeout=PATIENCE)
        assert await until_it_works(lambda: store.get(KEY)) is None
        await until_none(own_postgres, OPEN)


async def test_server_with_a_statement_timeout(url: str, store: PostgresStore) -> None:
    """Where the role's `statement_timeout` ends a call, the error says so."""
    async with using(PostgresStore.from_url(f"{url}&statement_timeout=100")) as impatient, locked(url):
        for call in (impatient.get(KEY), impatient.update(KEY, advance)):
            await refused(call, r"57014.*statement_timeout")
    assert await stored(store)


async def test_connections_that_are_terminated(postgres: Postgres, url: str) -> None:
    """A terminated call fails, idle connections that were terminated are replaced."""
    async with using(PostgresStore.from_url(f"{url}&application_name=doomed")) as store:
        await write(store, a_session())
        terminate = f"SELECT count(pg_terminate_backend(pid)) {OTHERS} AND application_name = 'doomed'"
        async with locked(url):
            calls = [asyncio.create_task(refused(store.get(KEY), "57P01|08003")) for _ in range(5)]
            await until_some(postgres, f"{WAITING} AND application_name = 'doomed'", 5)
            assert await postgres.query(terminate) == 5
            await asyncio.gather(*calls)
        await asyncio.gather(*(store.get(KEY) for _ in range(5)))
        assert await postgres.query(terminate) > 0
        assert await until_it_works(lambda: store.update(KEY, advance)) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("/postgres?", "/nothing?"), "3D000.*name a database"),
        (("postgres@", "nobody@"), "28000.*right user and password"),
        (("127.0.0.1", "a" * 70), "UnicodeError"),
        (("sslmode=disable", "sslmode=sometimes"), "`sslmode` parameter must be one of"),
    ],
)
async def test_url_of_a_wrong_place(url: str, change: tuple[str, str], says: str) -> None:
    """A URL that leads to no database of this user's fails with what is to be mended."""
    async with using(PostgresStore.from_url(url.replace(*change))) as store:
        await refused(store.get(KEY), says)


async def test_too_many_connections(postgres: Postgres, url: str) -> None:
    """Where the server has no connection left the error says so, and calls succeed when there is one."""
    role = url.rpartition("=")[2]
    await postgres.query(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0; GRANT ALL ON SCHEMA {role} TO {role}")
    async with using(PostgresStore.from_url(url.replace("postgres@", f"{role}@"))) as store:
        await refused(store.get(KEY), "53300.*max_connections")
        await postgres.query(f"ALTER ROLE {role} CONNECTION LIMIT 1")
        assert await store.get(KEY) is None


async def test_wrong_password(own_postgres: Postgres) -> None:
    """A password that the server refuses is named as the reason, and not shown."""
    hba = own_postgres.data / "pg_hba.conf"
    hba.write_text(f"host all keeper 127.0.0.1/32 scram-sha-256\n{hba.read_text()}")
    await own_postgres.query("CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 'right'")
    await own_postgres.query("SELECT pg_reload_conf()")
    url = own_postgres.url.replace("postgres@", "keeper:wrong@")
    async with using(PostgresStore.from_url(url)) as store:
        await refused(store.get(KEY), r"28P01\): put the right user and password into the store's URL$")
    async with using(PostgresStore.from_url(url.replace("wrong", "right"))) as store:
        assert await store.get(KEY) is None


async def test_strict_isolation(url: str) -> None:
    """Where the database isolates transactions strictly, calls that conflict are made again."""
    strict = f"{url}&default_transaction_isolation=serializable"
    async with using(PostgresStore.from_url(strict)) as one, using(PostgresStore.from_url(strict)) as other:
        await write(one, a_session())
        updates = [each.update(KEY, advance) for _ in range(20) for each in (one, other)]
        appends = [each.append_revocations([ENTRY], NOW) for _ in range(10) for each in (one, other)]
        await asyncio.gather(*updates, *appends, *(each.sweep(NOW) for _ in range(10) for each in (one, other)))
        assert (await stored(one)).generation == 40


async def test_two_event_loops(url: str, store: PostgresStore) -> None:
    """Threads with an event loop each change one session through one store, and lose no change."""

    def work() -> None:
        async def changes() -> None:
            await asyncio.gather(*(store.update(KEY, advance) for _ in range(20)))

        asyncio.run(changes())

    await asyncio.gather(*(asyncio.to_thread(work) for _ in range(3)))
    assert (await stored(store)).generation == 60


async def test_pool_of_the_host(url: str) -> None:
    """A host's pool serves all calls, of one connection even; the host closes it, and calls then fail in order."""
    pool = asyncpg.create_pool(url, min_size=1, max_size=1)
    async with using(PostgresStore(pool)) as store:
        assert repr(store) == "<PostgresStore Pool>"
        await write(store, a_session())
        await asyncio.gather(*(store.update(KEY, advance) for _ in range(20)), store.read_revocations())
        assert (await stored(store)).generation == 20
    await refused(store.get(KEY), "the store is closed")
    assert await pool.fetchval("SELECT count(*) FROM asgi_jwt_sessions") == 1
    await pool.close()
    for closed in (pool, lambda: pool):
        async with using(PostgresStore(closed)) as store:
            await refused(store.get(KEY), "InterfaceError")


async def test_cancelled_call(postgres: Postgres, url: str, store: PostgresStore) -> None:
    """A call that is cancelled while it waits for a lock leaves nothing behind at the server."""
    waiting = f"{WAITING} AND query LIKE '%asgi_jwt_sessions%'"
    async with locked(url):
        call = asyncio.create_task(store.update(KEY, advance))
        await until_some(postgres, waiting)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until_none(postgres, waiting)
    assert await store.update(KEY, advance) == 1


async def test_change_that_fails(store: PostgresStore) -> None:
    """An error of the change reaches its caller as it is, a TimeoutError too, and writes nothing."""

    def fail(_: object) -> Any:
        raise TimeoutError("of the change")

    with pytest.raises(TimeoutError, match="of the change"):
        await store.update(KEY, fail)
    assert await store.update(KEY, advance) == 1


@asynccontextmanager
async def small_disk(place: Path) -> AsyncIterator[Callable[[str], None]]:
    """A file system of 1 MB for the server. Hands out what gives it another size."""
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    owner = f"uid={NOBODY},mode=700" if os.geteuid() == 0 else f"uid={os.geteuid()},mode=700"

    def mount(*arguments: str) -> None:
        subprocess.run([*as_root, *arguments], check=True, capture_output=True, timeout=PATIENCE)

    mount("mount", "-t", "tmpfs", "-o", f"size=1m,{owner}", "tmpfs", str(place))
    try:
        yield lambda size: mount("mount", "-o", f"remount,size={size}", str(place))
    finally:
        mount("umount", "-l", str(place))


@pytest.mark.outside
async def test_full_disk(own_postgres: Postgres) -> None:
    """A full disk refuses writes and names itself; what is there can be read, and with room all goes on."""
    place = own_postgres.home / "small"
    place.mkdir()
    async with small_disk(place) as resize:
        await own_postgres.query(f"CREATE TABLESPACE small LOCATION '{place}'")
        async with using(PostgresStore.from_url(f"{own_postgres.url}&default_tablespace=small")) as store:
            await write(store, a_session())

            async def fill() -> None:
                for n in range(10_000):
                    await write(store, a_session(f"filling-{n}"))

            await refused(fill(), r"53100\): make room on the server's disk")
            assert await stored(store)
            resize("50m")
            await asyncio.gather(*(write(store, a_session(f"after-{n}")) for n in range(100)))
            assert await store.update(KEY, advance) == 1
            await until_none(own_postgres, OPEN)
        await own_postgres.query(f"DROP TABLE {TABLES}")
        await own_postgres.query("DROP TABLESPACE small")


def test_trio() -> None:
    """Under trio the error names the reason and another store."""
    store = PostgresStore.from_url("postgresql://db")
    with pytest.raises(ConfigurationError, match=r"needs asyncio.*sqlite://"):
        anyio.run(store.get, KEY, backend="trio")
    anyio.run(store.aclose, backend="trio")


def test_without_asyncpg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where asyncpg is missing, the URL says how to install it."""
    for name in ("asgi_jwt.stores.postgres", "asgi_jwt.stores.postgres.store"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigurationError, match="pip install asyncpg"):
        open_store("postgresql://db")


async def test_what_an_operator_should_know(url: str, store: PostgresStore) -> None:
    """The store tells of settings that lose writes in a crash, and has the server's clock."""
    assert await store.cautions() == [("runs with fsync=off: a crash may lose its last writes", "set fsync on")]
    assert await store.server_time() > 1_700_000_000
