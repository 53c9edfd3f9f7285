"""Open WebSockets end with their tokens under real servers, each in a process of its own."""

import asyncio
import resource
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from servers.watched import INTERVAL, SETTINGS
from websockets.asyncio.client import ClientConnection as AsyncConnection
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from asgi_jwt import Auth, Identity

TESTS = Path(__file__).parents[1]
PATIENCE = 20.0
MANY = 1000
APP = "servers.watched:app"

COMMANDS = {
    "uvicorn": ["uvicorn", APP, "--host", "127.0.0.1", "--port", "{port}"],
    "hypercorn": ["hypercorn", APP, "--bind", "127.0.0.1:{port}"],
    "hypercorn-trio": ["hypercorn", APP, "--bind", "127.0.0.1:{port}", "--worker-class", "trio"],
    "daphne": ["daphne", "-b", "127.0.0.1", "-p", "{port}", APP],
    "granian": ["granian", APP, "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}"],
}


class Served(NamedTuple):
    server: str
    address: str
    client: httpx2.Client

    def counts(self) -> Any:
        return self.client.get("/counts").raise_for_status().json()

    def connect(self, token: str) -> ClientConnection:
        headers = {"Authorization": f"Bearer {token}"}
        return connect(f"ws://{self.address}/", additional_headers=headers, proxy=None)


@pytest.fixture(scope="module", params=COMMANDS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The app under a server, which logs no error and no exception as long as it is there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * MANY), hard))
    log = tmp_path_factory.mktemp("server") / "log"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", *(part.format(port=port) for part in COMMANDS[request.param])]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=TESTS, stdout=output, stderr=subprocess.STDOUT)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as client:
            wait_for(port)
            yield Served(request.param, f"127.0.0.1:{port}", client)
            assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(PATIENCE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    told = log.read_text()
    assert "Traceback" not in told, told
    assert "ExceptionGroup" not in told, told


def wait_for(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)


def token_until(end: int, subject: str = "alice") -> str:
    """A token that ends at this second."""
    begun = end - SETTINGS.access_ttl
    assert begun <= time.time()
    return Auth(SETTINGS, clock=lambda: begun).issuer.access_token(Identity(subject))


def a_token(subject: str) -> str:
    return token_until(int(time.time() + SETTINGS.access_ttl), subject)


def assert_closed(served: Served, connection: ClientConnection, code: int, reason: str) -> None:
    """The server closes with the code and the reason, and until then sends nothing more."""
    if served.server == "daphne":  # which sends no reason, and no code that is reserved for servers
        code, reason = code if code >= 3000 else 1000, ""
    with pytest.raises(ConnectionClosed) as end:
        connection.recv(timeout=PATIENCE)
    assert end.value.rcvd is not None
    assert (end.value.rcvd.code, end.value.rcvd.reason) == (code, reason)


def promptly(late: Callable[[], float]) -> None:
    """`late` within a second; a machine that is busy with something else has three tries."""
    tried = [late()]
    while tried[-1] >= 1 and len(tried) < 3:
        tried.append(late())
    assert 0 <= min(tried) < 1, tried


def test_expired(served: Served) -> None:
    """A token's end closes the connection with 3000, within a second and not before; the app is told the same."""

    def expire() -> float:
        ended = len(served.counts()["ends"])
        end = int(time.time()) + 3
        with served.connect(token_until(end)) as connection:
            connection.send("hello")
            assert connection.recv(timeout=PATIENCE) == "hello"
            assert_closed(served, connection, 3000, "The access token expired")
            late = time.time() - end
        assert wait_until_ended(served, ended + 1)[ended:] == [3000]
        assert late >= 0
        return late

    promptly(expire)


def wait_until_ended(served: Served, count: int) -> list[int]:
    deadline = time.monotonic() + PATIENCE
    ends: list[int] = served.counts()["ends"]
    while len(ends) < count:
        assert time.monotonic() < deadline, ends
        time.sleep(0.02)
        ends = served.counts()["ends"]
    return ends


def test_revoked(served: Served) -> None:
    """A revocation closes whom it is about, within the interval, and nobody else."""

    def revoke() -> float:
        with served.connect(a_token("bob")) as bobs, served.connect(a_token("carol")) as carols:
            began = time.monotonic()
            assert served.client.get("/revoke/bob").status_code == 200
            assert_closed(served, bobs, 3000, "The access token was revoked")
            late = time.monotonic() - began
            carols.send("still here")
            assert carols.recv(timeout=PATIENCE) == "still here"
        time.sleep(1)  # what is issued in the second of a revocation is revoked
        return late

    promptly(revoke)


def test_a_client_that_does_not_answer(served: Served) -> None:
    """A client that ignores the close and goes on sending is answered no more, and its app has left it."""
    ended = len(served.counts()["ends"])
    host, port = served.address.split(":")
    handshake = (
        f"GET / HTTP/1.1\r\nHost: {served.address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Authorization: Bearer {a_token('dave')}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as raw:
        raw.sendall(handshake.encode())
        read_until(raw, b"\r\n\r\n")
        raw.sendall(text_frame("hello"))
        read_until(raw, b"hello")
        assert served.client.get("/revoke/dave").status_code == 200
        reason = b"" if served.server == "daphne" else b"The access token was revoked"
        read_until(raw, struct.pack("!H", 3000) + reason)
        raw.settimeout(0.05)
        answered = b""
        for _ in range(20):
            with suppress(OSError):  # nothing has come, or the server has gone
                raw.sendall(text_frame("let me in"))
                answered += raw.recv(4096)
        assert answered == b""
    assert wait_until_ended(served, ended + 1)[ended:] == [3000]


def text_frame(text: str) -> bytes:
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=True)


def read_until(raw: socket.socket, end: bytes) -> None:
    read = b""
    while not read.endswith(end):
        got = raw.recv(4096)
        assert got, read
        read += got


def test_out_of_reach(served: Served) -> None:
    """When nobody knows what is revoked, everyone is closed with 1013; afterwards connections open again."""
    with served.connect(a_token("erin")) as one, served.connect(a_token("frank")) as other:
        try:
            served.client.get("/down")
            for connection in (one, other):
                assert_closed(served, connection, 1013, "Authentication is temporarily unavailable")
        finally:
            served.client.get("/up")
    time.sleep(INTERVAL)
    with served.connect(a_token("erin")) as connection:
        connection.send("hello again")
        assert connection.recv(timeout=PATIENCE) == "hello again"


def test_nothing_is_left(served: Served) -> None:
    """When the last connection has gone, no task of ours is left; clients that vanish leave none either."""
    for _ in range(5):
        with served.connect(a_token("grace")) as connection:
            connection.send("hello")
            connection.recv(timeout=PATIENCE)
            connection.socket.shutdown(socket.SHUT_RDWR)
    deadline = time.monotonic() + PATIENCE
    while served.counts()["tasks"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("served", ["uvicorn", "hypercorn", "granian"], indirect=True)
def test_a_thousand(served: Served) -> None:
    """1,000 open connections are watched over by one task, which reads the log once an interval at the most, and each
    is closed when its token ends, and not before."""
    began = time.monotonic()
    asyncio.run(open_and_close(served, MANY // 20, 0))
    # As many seconds as this machine needs now to open them all, and some to look at them.
    long_enough = ceil(6 * INTERVAL + 30 * (time.monotonic() - began)) + 2
    asyncio.run(open_and_close(served, MANY, long_enough))


async def open_and_close(served: Served, many: int, seconds: int) -> None:
    """So many connections, until their tokens end, in so many seconds from their beginnings; 0: until they close."""
    connecting, last_one = asyncio.Semaphore(50), asyncio.Event()

    async def one() -> None:
        async with connecting:
            ends.append(int(time.time()) + (seconds or int(SETTINGS.access_ttl)))
            headers, end = {"Authorization": f"Bearer {token_until(ends[-1])}"}, ends[-1]
            connection = await connect_async(
                f"ws://{served.address}/", additional_headers=headers, proxy=None, compression=None, ping_interval=None
            )
        opened.append(connection)
        if len(opened) == many:
            last_one.set()
        if not seconds:
            await connection.close()
            return
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
        assert time.time() >= end
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 3000
        await connection.wait_closed()

    ends: list[int] = []
    opened: list[AsyncConnection] = []
    connections = [asyncio.create_task(one()) for _ in range(many)]
    if seconds:
        await last_one.wait()
        before, began = await asyncio.to_thread(served.counts), time.monotonic()
        await asyncio.sleep(4 * INTERVAL)
        after, intervals = await asyncio.to_thread(served.counts), (time.monotonic() - began) / INTERVAL
        assert time.time() < min(ends), "they were not all open at the same time"
        assert 1 <= after["reads"] - before["reads"] <= intervals + 1
        assert 1 <= len(after["tasks"]) <= 2  # the watch, and a read that may be under way
    await asyncio.gather(*connections)
