"""Real servers on loopback, each in a thread or a process of its own."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import hypercorn.asyncio
import hypercorn.trio
import uvicorn
from anyio.from_thread import start_blocking_portal
from hypercorn.config import Config
from starlette.types import ASGIApp
from support.processes import ENVIRONMENT, TESTS
from support.waiting import PATIENCE, wait_until

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


@contextmanager
def process_serving(app: str, server: str, log: Path, *options: str, **settings: str) -> Iterator[str]:
    """The app `module:name` of `tests/` under one of `COMMANDS` with more options: the address, once it listens.

    `settings` are added to the environment. What the server writes goes to `log`.
    """
    with _listener() as listener:
        port = listener.getsockname()[1]
    arguments = [sys.executable, "-m", *(part.format(app=app, port=port) for part in COMMANDS[server]), *options]
    with log.open("w") as output:
        process = subprocess.Popen(
            arguments, cwd=TESTS, env={**ENVIRONMENT, **settings}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: listens(port) or process.poll() is not None)
        yield f"127.0.0.1:{port}"
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(PATIENCE)


def listens(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
        return True
    return False


def _listener() -> socket.socket:
    # Whoever connects from now on waits for the server, and nothing has to wait for its start.
    return socket.create_server(("127.0.0.1", 0))


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


COMMANDS = {
    "uvicorn": ["uvicorn", "{app}", "--host", "127.0.0.1", "--port", "{port}"],
    "hypercorn": ["hypercorn", "{app}", "--bind", "127.0.0.1:{port}"],
    "hypercorn-trio": ["hypercorn", "{app}", "--bind", "127.0.0.1:{port}", "--worker-class", "trio"],
    "daphne": ["daphne", "-b", "127.0.0.1", "-p", "{port}", "{app}"],
    "granian": ["granian", "{app}", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}"],
}
"""The command of each server, for `process_serving`."""

SERVERS: dict[str, Serving] = {
    "uvicorn": uvicorn_serving,
    "hypercorn": hypercorn_serving,
    "hypercorn-trio": partial(hypercorn_serving, worker="trio"),
}
