"""Real servers on loopback, each in a thread of its own."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import anyio
import hypercorn.asyncio
import hypercorn.trio
import uvicorn
from anyio.from_thread import start_blocking_portal
from hypercorn.config import Config
from starlette.types import ASGIApp
from support.waiting import PATIENCE

Serving = Callable[[ASGIApp], AbstractContextManager[str]]
"""Serves the app while it lasts, and gives the address: `127.0.0.1:<port>`."""


def uvicorn_serving(app: ASGIApp) -> AbstractContextManager[str]:
    return serving_made(lambda address: app)


@contextmanager
def serving_made(make: Callable[[str], ASGIApp]) -> Iterator[str]:
    """Serve by uvicorn an app that is made for its address."""
    with _listener() as listener, start_blocking_portal("asyncio") as portal:
        server = uvicorn.Server(uvicorn.Config(make(_address(listener)), log_config=None))
        served = portal.start_task_soon(server.serve, [listener])
        yield _address(listener)
        server.should_exit = True
        served.result(PATIENCE)


@contextmanager
def hypercorn_serving(app: ASGIApp, worker: str = "asyncio") -> Iterator[str]:
    serve: Any = {"asyncio": hypercorn.asyncio.serve, "trio": hypercorn.trio.serve}[worker]
    with _listener() as listener, start_blocking_portal(worker) as portal:
        address = _address(listener)
        config = Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.errorlog = None
        ended = portal.call(anyio.Event)
        served = portal.start_task_soon(partial(serve, app, config, shutdown_trigger=ended.wait))
        yield address
        portal.call(ended.set)
        served.result(PATIENCE)


def _listener() -> socket.socket:
    # Whoever connects from now on waits for the server, and nothing has to wait for its start.
    return socket.create_server(("127.0.0.1", 0))


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


SERVERS: dict[str, Serving] = {
    "uvicorn": uvicorn_serving,
    "hypercorn": hypercorn_serving,
    "hypercorn-trio": partial(hypercorn_serving, worker="trio"),
}
