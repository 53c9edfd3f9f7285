"""Load on a server: each connection sends the next request when the last is answered."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from benchmarks.asgi import BODY, request_scope
from benchmarks.fixture import Fixture
from benchmarks.work import Work


class Connection(asyncio.Protocol):
    """Sends `requests` one after the other until `deadline`, on the loop's clock; `answered` counts.

    `done` tells of the end. It raises `ConnectionError` there for any answer but a 200.
    """

    def __init__(self, requests: Iterator[bytes], deadline: float) -> None:
        self.answered = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._deadline = deadline
        self._answer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._answer.startswith(b"HTTP/1.1 200 "):
            self._transport.abort()
        elif self._answer.endswith(BODY):
            self._answer = b""
            self.answered += 1
            if time.perf_counter() < self._deadline:
                self._transport.write(next(self._requests))
            else:
                self.done.set_result(None)
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(f"no 200 but {self._answer[:200]!r}"))


async def load(port: int, seconds: float, requests: Iterator[bytes], connections: int) -> dict[str, float]:
    """How many requests were answered, over that many connections, in how many seconds."""
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    opened = [
        await loop.create_connection(lambda: Connection(requests, start + seconds), "127.0.0.1", port)
        for _ in range(connections)
    ]
    async with asyncio.timeout(seconds + 30):
        await asyncio.gather(*(protocol.done for _, protocol in opened))
    return {
        "requests": sum(protocol.answered for _, protocol in opened),
        "seconds": time.perf_counter() - start,
    }


@asynccontextmanager
async def loading(fixture: dict[str, Any], connections: int) -> AsyncIterator[Work]:
    """Each `{"port": ..., "seconds": ...}` is answered with `{"requests": ..., "seconds": ...}`: how many were answered
    in which time.
    """
    requests = itertools.cycle([_request(token) for token in Fixture(**fixture).tokens])
    yield Work({}, partial(load, requests=requests, connections=connections))


def _request(token: str) -> bytes:
    scope = request_scope(f"Bearer {token}")
    lines = [f"GET {scope['path']} HTTP/1.1".encode(), *(b": ".join(header) for header in scope["headers"])]
    return b"\r\n".join([*lines, b"", b""])
