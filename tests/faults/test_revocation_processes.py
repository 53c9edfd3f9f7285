"""Two processes on one store: a logout at one is soon a 401 at the other, and stays one."""

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
from faults.guarded_process import GRACE
from logins import COOKIE
from support.valkey import Valkey
from support.waiting import PATIENCE

import asgi_jwt

pytestmark = pytest.mark.anyio

ROOT = Path(asgi_jwt.__file__).parents[1]
SCRIPT = Path(__file__).with_name("guarded_process.py")
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


@contextmanager
def serving(url: str) -> Iterator[str]:
    """The address of a process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(SCRIPT), str(number), url], env=ENVIRONMENT, pass_fds=[number]
        )
        try:
            yield "http://127.0.0.1:{1}".format(*listener.getsockname())
        finally:
            process.kill()
            process.wait(PATIENCE)


@asynccontextmanager
async def two_processes(url: str) -> AsyncIterator[tuple[httpx2.AsyncClient, httpx2.AsyncClient]]:
    async with AsyncExitStack() as stack:
        addresses = [stack.enter_context(serving(url)) for _ in range(2)]
        one, other = [
            await stack.enter_async_context(httpx2.AsyncClient(base_url=address, timeout=PATIENCE, trust_env=False))
            for address in addresses
        ]
        yield one, other


class Device:
    """A login at one of the processes."""

    def __init__(self, answer: httpx2.Response) -> None:
        assert answer.status_code == 200, answer.text
        self.access = answer.json()["access_token"]
        self.cookies = [answer.cookies[COOKIE]]

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access}"}

    @property
    def cookie(self) -> dict[str, str]:
        return {"Cookie": f"{COOKIE}={self.cookies[-1]}"}

    async def refresh(self, client: httpx2.AsyncClient) -> None:
        answer = await client.post("/auth/refresh", headers=self.cookie)
        assert answer.status_code == 200, answer.text
        self.access = answer.json()["access_token"]
        self.cookies.append(answer.cookies[COOKIE])


async def login(client: httpx2.AsyncClient, name: str) -> Device:
    device = Device(await client.post("/auth/login", json={"username": name}))
    client.cookies.clear()
    return device


async def status(client: httpx2.AsyncClient, device: Device) -> int:
    return (await client.get("/me", headers=device.bearer)).status_code


async def test_a_logout_at_one_is_a_401_at_the_other(url: str) -> None:
    """By `/logout`, `/logout-all`, `DELETE /sessions/{sid}`, `/revoke` of either token, reuse that shows, and
    `revoke_subject`. Others, and a login right after, stay as they are."""
    async with two_processes(url) as (one, other):
        names = ["logout", "all", "deleted", "revoked", "revoked access", "stolen", "banned"]
        devices = {name: await login(one, name) for name in names}
        second = {name: await login(other, name) for name in names}
        bystander = await login(one, "bystander")
        stolen = devices["stolen"]
        for _ in range(2):
            await anyio.sleep(2.5 * GRACE)
            await stolen.refresh(one)
        client_id = (await one.get("/auth/sessions", headers=devices["deleted"].bearer)).json()["sessions"]
        (current,) = [session["sid"] for session in client_id if session["current"]]
        for device in (*devices.values(), *second.values(), bystander):
            assert [await status(client, device) for client in (one, other)] == [200, 200]

        answers = [
            await one.post("/auth/logout", headers=devices["logout"].cookie),
            await one.post("/auth/logout-all", headers=devices["all"].bearer),
            await one.delete(f"/auth/sessions/{current}", headers=second["deleted"].bearer),
            await one.post("/auth/revoke", data={"token": devices["revoked"].cookies[-1]}),
            await one.post("/auth/revoke", data={"token": devices["revoked access"].access}),
            await one.post("/auth/refresh", headers={"Cookie": f"{COOKIE}={stolen.cookies[0]}"}),
            await one.post("/ban/banned"),
        ]
        assert [answer.status_code for answer in answers] == [204, 204, 204, 200, 200, 401, 204]
        again = [await login(client, name) for client in (one, other) for name in ("all", "banned")]
        ended = [*devices.values(), second["all"], second["banned"]]
        assert [await status(one, device) for device in ended] == [401] * len(ended)

        with anyio.fail_after(PATIENCE):
            while 200 in [await status(other, device) for device in ended]:
                pass
        assert [await status(other, device) for device in ended] == [401] * len(ended)

        untouched = [bystander, *again, *[second[name] for name in names if second[name] not in ended]]
        for client in (one, other):
            assert [await status(client, device) for device in untouched] == [200] * len(untouched)
