"""AuthApp in processes of its own: killed at any point of a refresh, racing, and held back in the middle of one."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import httpx2
import pytest
import redis
from anyio import to_thread
from faults.serving_process import POINTS
from logins import HOUR, NOW, Browser, an_app, an_auth, assert_logged_in, browsing, browsing_at, logged_in, session_of
from support.valkey import Valkey
from support.waiting import PATIENCE

import asgi_jwt
from asgi_jwt import Auth
from asgi_jwt.events import Event, Refreshed
from asgi_jwt.stores.urls import open_store
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

ROOT = Path(asgi_jwt.__file__).parents[1]
SCRIPT = Path(__file__).with_name("serving_process.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{SCRIPT.parents[1]}"}


@pytest.fixture
def anyio_backend() -> str:
    """What is under test runs elsewhere."""
    return "asyncio"


@pytest.fixture(params=["sqlite", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that several processes can share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'sessions.db'}"
    server: Valkey = request.getfixturevalue("valkey")
    return f"{server.url}/0"


class Verdicts(list[str]):
    """Those of the refreshes that an `Auth` of this process told of."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Refreshed):
            self.append(event.verdict)


@asynccontextmanager
async def auth_at(url: str, seconds: float = 0, verdicts: Verdicts | None = None) -> AsyncIterator[Auth]:
    """An `Auth` of this process on the store, whose clock stands `seconds` after the login."""
    store = open_store(url)
    try:
        yield an_auth(store, Clock(NOW + seconds), verdicts)
    finally:
        await store.aclose()


async def cookie_of_a_login(url: str) -> str:
    async with auth_at(url) as auth, logged_in(auth) as browser:
        assert browser.cookie is not None
        return browser.cookie


class Process:
    """A process that serves AuthApp at `address`; its clock stands still at the login."""

    def __init__(self, url: str, *interruption: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = "127.0.0.1:{1}".format(*listener.getsockname())
            number = listener.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", str(SCRIPT), str(number), url, str(NOW), *interruption],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=ENVIRONMENT,
                pass_fds=[number],
            )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go on\n")
        self.process.stdin.flush()

    def end(self) -> list[str]:
        """Kill it; the rest of the lines that it has written."""
        self.process.kill()
        return self.process.communicate(timeout=PATIENCE)[0].split()


@contextmanager
def serving(url: str, *interruption: str) -> Iterator[Process]:
    process = Process(url, *interruption)
    try:
        yield process
    finally:
        process.end()


def copied(url: str) -> str:
    """The store as it stands, once more: for another course of events."""
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite":
        for file in Path(path).parent.glob("sessions.db*"):
            shutil.copy(file, file.with_name(file.name.replace("sessions", "copy")))
        return url.replace("sessions", "copy")
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter():
            assert client.copy(key, key, destination_db=1)
    return url.removesuffix("/0") + "/1"


@pytest.mark.parametrize("point", POINTS)
async def test_killed(url: str, point: str) -> None:
    """Wherever in a refresh its process is killed: tried again, at once or in an hour, the user is still logged in."""
    cookie = await cookie_of_a_login(url)
    with serving(url, point, "die") as process:
        async with browsing_at(process.address, cookie) as browser:
            with pytest.raises(httpx2.TransportError):
                await browser.refresh()
        assert process.process.wait(PATIENCE) == -signal.SIGKILL

    committed = point in POINTS[-2:]
    for later, store, retried in ((0, url, "REPLAYED"), (HOUR, copied(url), "RECOVERED")):
        verdicts = Verdicts()
        async with auth_at(store, later, verdicts) as auth, browsing(an_app(auth), cookie) as browser:
            await assert_logged_in(auth, browser)
        assert verdicts == [retried if committed else "ROTATED", "SAME"]


async def test_four_processes_race(url: str) -> None:
    """Of 50 refreshes of one token in four processes one rotates, with one write, and every answer is of use."""
    cookie = await cookie_of_a_login(url)
    async with AsyncExitStack() as stack:
        processes = [stack.enter_context(serving(url)) for _ in range(4)]
        tabs = [await stack.enter_async_context(browsing_at(process.address, cookie)) for process in processes]
        assert [answer.status_code for answer in await gather(tab.client.get("/") for tab in tabs)] == [404] * 4

        browsers = [Browser(tabs[n % 4].client, cookie) for n in range(50)]
        answers = await gather(browser.refresh() for browser in browsers)
        assert [answer.status_code for answer in answers] == [200] * 50
        assert len({browser.cookie for browser in browsers} | {cookie}) == 51
        async with auth_at(url) as auth:
            rotated = await session_of(auth, cookie)
            assert rotated is not None
            assert (rotated.generation, rotated.version) == (1, 2)
            for answer in answers:
                assert (await auth.verify(answer.json()["access_token"])).session_id == rotated.sid

            assert {answer.status_code for answer in await gather(browser.refresh() for browser in browsers)} == {200}
            shown = await session_of(auth, cookie)
            assert shown is not None
            assert (shown.generation, shown.version) == (1, 3)
        told = Counter(line for process in processes for line in process.end())
        assert told == {"ROTATED": 1, "REPLAYED": 49, "SAME": 50}


async def gather(calls: Iterable[Awaitable[httpx2.Response]]) -> list[httpx2.Response]:
    return await asyncio.gather(*calls)


@pytest.mark.parametrize("point", ["after the read", "before the change", "within it"])
async def test_held_back(url: str, point: str) -> None:
    """A refresh held back while another commits, or while another waits for it, leaves one rotation of the two."""
    cookie = await cookie_of_a_login(url)
    verdicts = Verdicts()
    with serving(url, point, "wait") as process:
        async with (
            browsing_at(process.address, cookie) as held,
            auth_at(url, verdicts=verdicts) as auth,
            browsing(an_app(auth), cookie) as other,
        ):
            late = asyncio.create_task(held.refresh())
            assert await to_thread.run_sync(process.line) == "waits"
            second = asyncio.create_task(other.refresh())
            if not (url.startswith("sqlite:") and point == "within it"):  # which holds the file's only write lock
                assert (await second).status_code == 200
            process.go_on()
            assert [(await late).status_code, (await second).status_code] == [200, 200]

            session = await session_of(auth, cookie)
            assert session is not None
            assert (session.generation, session.version) == (1, 2)
            assert sorted(process.end() + verdicts) == ["REPLAYED", "ROTATED"]
            await assert_logged_in(auth, other)
            other.cookie = held.cookie
            await assert_logged_in(auth, other)
