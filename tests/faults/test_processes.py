"""AuthApp in processes of its own: killed at any point of a refresh, racing, held back, and told of a logout."""

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import redis
from anyio import to_thread
from faults.serving_process import GRACE, POINTS
from support.logins import (
    COOKIE,
    HOUR,
    NOW,
    Browser,
    an_app,
    an_auth,
    assert_logged_in,
    browsing,
    browsing_at,
    logged_in,
    session_of,
)
from support.postgres import copied_schema
from support.processes import Process, serving
from support.stores import shared_store, url_of, using
from support.waiting import PATIENCE

from asgi_jwt import Auth
from asgi_jwt.events import Event, Refreshed
from asgi_jwt.stores.urls import open_store
from asgi_jwt.testing import Clock

pytestmark = [pytest.mark.anyio, shared_store]

SCRIPT = Path(__file__).with_name("serving_process.py")


@pytest.fixture
def anyio_backend() -> str:
    """What is under test runs elsewhere."""
    return "asyncio"


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    return url_of(kind, request)


def process(url: str, *interruption: str, now: float = NOW) -> AbstractContextManager[Process]:
    """A process that serves AuthApp; its clock stands still at the login."""
    return serving(SCRIPT, url, str(now), *interruption)


class Verdicts(list[str]):
    """Those of the refreshes that an `Auth` of this process told of."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Refreshed):
            self.append(event.verdict)


@asynccontextmanager
async def auth_at(url: str, seconds: float = 0, verdicts: Verdicts | None = None) -> AsyncIterator[Auth]:
    """An `Auth` of this process on the store, whose clock stands `seconds` after the login."""
    async with using(open_store(url)) as store:
        yield an_auth(store, Clock(NOW + seconds), verdicts)


async def cookie_of_a_login(url: str) -> str:
    async with auth_at(url) as auth, logged_in(auth) as browser:
        assert browser.cookie is not None
        return browser.cookie


async def copied(url: str) -> str:
    """The store as it stands, once more: for another course of events."""
    if url.startswith("sqlite:"):
        for file in Path(url.removeprefix("sqlite:///")).parent.glob("sessions.db*"):
            shutil.copy(file, file.with_name(file.name.replace("sessions", "copy")))
        return url.replace("sessions", "copy")
    if url.startswith("postgresql:"):
        return await copied_schema(url)
    place, _, query = url.partition("?")
    prefix = query.partition("prefix=")[2].partition("&")[0]
    with redis.Redis.from_url(place) as client:
        for key in client.scan_iter(f"{prefix}*"):
            assert client.copy(key, b"copy-" + key)
    return url.replace(prefix, f"copy-{prefix}")


@pytest.mark.parametrize("point", POINTS)
async def test_killed(url: str, point: str) -> None:
    """Wherever in a refresh its process is killed: tried again, at once or in an hour, the user is still logged in."""
    cookie = await cookie_of_a_login(url)
    with process(url, point, "die") as killed:
        async with browsing_at(killed.address, cookie) as browser:
            with pytest.raises(httpx2.TransportError):
                await browser.refresh()
        assert killed.process.wait(PATIENCE) == -signal.SIGKILL

    committed = point in POINTS[-2:]
    for later, store, retried in ((0, url, "REPLAYED"), (HOUR, await copied(url), "RECOVERED")):
        verdicts = Verdicts()
        async with auth_at(store, later, verdicts) as auth, browsing(an_app(auth), cookie) as browser:
            await assert_logged_in(auth, browser)
        assert verdicts == [retried if committed else "ROTATED", "SAME"]


async def gather(calls: Iterable[Awaitable[httpx2.Response]]) -> list[httpx2.Response]:
    return await asyncio.gather(*calls)


async def test_four_processes_race(url: str) -> None:
    """P20: Of 50 refreshes of one token in four processes one rotates, with one write, and every answer is of use."""
    cookie = await cookie_of_a_login(url)
    async with AsyncExitStack() as stack:
        processes = [stack.enter_context(process(url)) for _ in range(4)]
        tabs = [await stack.enter_async_context(browsing_at(each.address, cookie)) for each in processes]
        assert [answer.status_code for answer in await gather(tab.client.get("/") for tab in tabs)] == [404] * 4

        browsers = [Browser(tabs[n % 4].client, cookie) for n in range(50)]
        answers = await gather(browser.refresh() for browser in browsers)
        assert [answer.status_code for answer in answers] == [200] * 50
        assert len({browser.cookie for browser in browsers} | {cookie}) == 51
        async with auth_at(url) as auth:
            rotated = await session_of(auth, cookie)
            assert (rotated.generation, rotated.version) == (1, 2)
            for browser in browsers:
                assert (await auth.verify(browser.access[0])).session_id == rotated.sid
            assert {answer.status_code for answer in await gather(browser.refresh() for browser in browsers)} == {200}
            shown = await session_of(auth, cookie)
            assert (shown.generation, shown.version) == (1, 3)
        told = Counter(line for each in processes for line in each.kill())
        assert told == {"ROTATED": 1, "REPLAYED": 49, "SAME": 50}


@pytest.mark.parametrize("point", ["after the read", "before the change", "within it"])
async def test_held_back(url: str, point: str) -> None:
    """A refresh held back while another commits, or while another waits for it, leaves one rotation of the two."""
    cookie = await cookie_of_a_login(url)
    verdicts = Verdicts()
    with process(url, point, "wait") as holding:
        async with (
            browsing_at(holding.address, cookie) as held,
            auth_at(url, verdicts=verdicts) as auth,
            browsing(an_app(auth), cookie) as other,
        ):
            late = asyncio.create_task(held.refresh())
            assert await to_thread.run_sync(holding.line) == "waits"
            second = asyncio.create_task(other.refresh())
            if not (url.startswith("sqlite:") and point == "within it"):  # which holds the file's only write lock
                assert (await second).status_code == 200
            holding.go_on()
            assert [(await late).status_code, (await second).status_code] == [200, 200]

            session = await session_of(auth, cookie)
            assert (session.generation, session.version) == (1, 2)
            assert sorted(holding.kill() + verdicts) == ["REPLAYED", "ROTATED"]
            await assert_logged_in(auth, other)
            other.cookie = held.cookie
            await assert_logged_in(auth, other)


async def statuses(client: httpx2.AsyncClient, browsers: Iterable[Browser]) -> list[int]:
    """What the guarded app of the process answers to the access tokens of these."""
    me = str(client.base_url).replace("/auth/", "/me")
    return [(await client.get(me, headers=browser.bearer)).status_code for browser in browsers]


async def test_a_logout_at_one_is_a_401_at_the_other(url: str) -> None:
    """P18: By `/logout`, `/logout-all`, `DELETE /sessions/{sid}`, `/revoke` of either token, reuse that shows, and
    `revoke_subject`. Others, and a login right after, stay as they are."""
    async with AsyncExitStack() as stack:
        addresses = [stack.enter_context(process(url, now=0)).address for _ in range(2)]
        one, other = [(await stack.enter_async_context(browsing_at(address))).client for address in addresses]

        async def login(client: httpx2.AsyncClient, name: str) -> Browser:
            browser = Browser(client)
            assert (await browser.login(name)).status_code == 200
            return browser

        names = ["logout", "all", "deleted", "revoked", "revoked access", "stolen", "banned"]
        devices = {name: await login(one, name) for name in names}
        second = {name: await login(other, name) for name in names}
        bystander = await login(one, "bystander")
        stolen = devices["stolen"]
        for _ in range(2):
            await asyncio.sleep(2.5 * GRACE)
            assert (await stolen.refresh()).status_code == 200
        listed = (await one.get("/sessions", headers=devices["deleted"].bearer)).json()["sessions"]
        (current,) = [session["sid"] for session in listed if session["current"]]
        everybody = [*devices.values(), *second.values(), bystander]
        for client in (one, other):
            assert await statuses(client, everybody) == [200] * len(everybody)

        answers = [
            await devices["logout"].post("/logout"),
            await one.post("/logout-all", headers=devices["all"].bearer),
            await one.delete(f"/sessions/{current}", headers=second["deleted"].bearer),
            await one.post("/revoke", data={"token": devices["revoked"].cookies[-1]}),
            await one.post("/revoke", data={"token": devices["revoked access"].access[-1]}),
            await one.post("/refresh", headers={"Cookie": f"{COOKIE}={stolen.cookies[0]}"}),
            await one.post(str(one.base_url).replace("/auth/", "/ban/banned")),
        ]
        assert [answer.status_code for answer in answers] == [204, 204, 204, 200, 200, 401, 204]
        again = [await login(client, name) for client in (one, other) for name in ("all", "banned")]
        ended = [*devices.values(), second["all"], second["banned"]]
        assert await statuses(one, ended) == [401] * len(ended)
        async with asyncio.timeout(PATIENCE):
            while 200 in await statuses(other, ended):
                pass
        untouched = [bystander, *again, *[each for each in second.values() if each not in ended]]
        for client in (one, other):
            assert await statuses(client, ended) == [401] * len(ended)
            assert await statuses(client, untouched) == [200] * len(untouched)
