"""Open WebSockets end with their tokens under real servers, each in a process of its own."""

import asyncio
import resource
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from math import ceil
from typing import Any, NamedTuple

import httpx2
import pytest
from servers.watched import INTERVAL, SETTINGS
from support.serving import COMMANDS, process_serving
from support.waiting import PATIENCE, wait_until
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from asgi_jwt import Auth, Identity

MANY = 1000
APP = "servers.watched:app"


class Served(NamedTuple):
    server: str
    address: str
    client: httpx2.Client

    def counts(self) -> Any:
        return self.client.get("/counts").raise_for_status().json()

    def connect(self, token: str) -> ClientConnection:
        headers = {"Authorization": f"Bearer {token}"}
        return connect(f"ws://{self.address}/", additional_headers=headers, proxy=None, open_timeout=PATIENCE)


@pytest.fixture(scope="module", params=COMMANDS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The app under a server, which logs no error and no exception as long as it is there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * MANY), hard))
    log = tmp_path_factory.mktemp("server") / "log"
    try:
        with (
            process_serving(APP, request.param, log) as address,
            httpx2.Client(base_url=f"http://{address}", timeout=PATIENCE, trust_env=False) as client,
        ):
            yield Served(request.param, address, client)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    told = log.read_text()
    assert "Traceback" not in told, told
    assert "ExceptionGroup" not in told, told


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


def test_expired(served: Served) -> None:
    """A token's end closes the connection with 3000, and not before; the app is told the same."""
    ended = len(served.counts()["ends"])
    assert any(ends_with_its_token(served, life) for life in (3, 12, 48)), "it was never let in in time"
    wait_until(lambda: len(served.counts()["ends"]) > ended)
    assert served.counts()["ends"][ended:] == [3000]


def ends_with_its_token(served: Served, life: int) -> bool:
    """Whether a connection was let in at all, before its token ended."""
    end = int(time.time()) + life
    try:
        with served.connect(token_until(end)) as connection:
            assert_closed(served, connection, 3000, "The access token expired")
            assert time.time() >= end
    except InvalidStatus:
        return False
    return True


def test_revoked(served: Served) -> None:
    """A revocation closes whom it is about, and nobody else."""
    with served.connect(a_token("bob")) as bobs, served.connect(a_token("carol")) as carols:
        assert served.client.get("/revoke/bob").status_code == 200
        assert_closed(served, bobs, 3000, "The access token was revoked")
        carols.send("still here")
        assert carols.recv(timeout=PATIENCE) == "still here"


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
    wait_until(lambda: len(served.counts()["ends"]) > ended)
    assert served.counts()["ends"][ended:] == [3000]


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
    wait_until(lambda: echoes(served))


def echoes(served: Served) -> bool:
    with suppress(InvalidStatus, ConnectionClosed), served.connect(a_token("erin")) as connection:
        connection.send("hello again")
        return connection.recv(timeout=PATIENCE) == "hello again"
    return False


def test_nothing_is_left(served: Served) -> None:
    """When the last connection has gone, no task of ours is left; clients that vanish leave none either."""
    for _ in range(5):
        with served.connect(a_token("grace")) as connection:
            connection.send("hello")
            connection.recv(timeout=PATIENCE)
            connection.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: not served.counts()["tasks"])


@pytest.mark.parametrize("served", ["uvicorn", "hypercorn", "granian"], indirect=True)
def test_a_thousand(served: Served) -> None:
    """1,000 open connections are watched over by one task, which reads the log once an interval at the most, and each
    is closed when its token ends, and not before."""
    # As many seconds as this machine needs now to open them all, and some to look at them; more, if it gets busier.
    life = ceil(6 * INTERVAL + MANY / 2 * min(seconds_to_connect(served) for _ in range(10))) + 2
    assert any(asyncio.run(watched_over(served, life * n)) for n in (1, 3, 9)), "they were never all open"


def seconds_to_connect(served: Served) -> float:
    began = time.monotonic()
    with served.connect(a_token("grace")):
        return time.monotonic() - began


async def watched_over(served: Served, life: int) -> bool:
    """Open a thousand connections, each for so many seconds; whether all were open at the same time."""
    connecting, last_one = asyncio.Semaphore(50), asyncio.Event()
    ends: list[int] = []
    late = False

    async def one() -> None:
        async with AsyncExitStack() as stack:
            async with connecting:
                end = int(time.time()) + life
                connection = await stack.enter_async_context(opening(served, token_until(end)))
            ends.append(end)
            if len(ends) == MANY:
                last_one.set()
            with pytest.raises(ConnectionClosed) as closed:
                await connection.recv()
        assert time.time() >= end
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 3000

    try:
        # A connection that fails ends the group, and so the wait for the last one.
        async with asyncio.timeout(life + PATIENCE), asyncio.TaskGroup() as group:
            for _ in range(MANY):
                group.create_task(one())
            await last_one.wait()
            before, began = await asyncio.to_thread(served.counts), time.monotonic()
            await asyncio.sleep(4 * INTERVAL)
            after, intervals = await asyncio.to_thread(served.counts), (time.monotonic() - began) / INTERVAL
            late = time.time() >= min(ends)
            assert late or 1 <= after["reads"] - before["reads"] <= intervals + 1
            assert late or 1 <= len(after["tasks"]) <= 2  # the watch, and a read that may be under way
    except* InvalidStatus:  # the token had ended before it arrived
        late = True
    return not late


def opening(served: Served, token: str) -> connect_async:
    return connect_async(
        f"ws://{served.address}/",
        additional_headers={"Authorization": f"Bearer {token}"},
        proxy=None,
        compression=None,
        ping_interval=None,
        open_timeout=PATIENCE,
    )
