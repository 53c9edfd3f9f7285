"""Servers of the benchmarks: uvicorn on a free port of the loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from asgi_jwt import JWTMiddleware
from benchmarks.asgi import bare
from benchmarks.fixture import PUBLIC_PATHS, Fixture
from benchmarks.verify import auth
from benchmarks.work import Work


@asynccontextmanager
async def served(app: Any, **options: Any) -> AsyncIterator[int]:
    """The port at which the app is served meanwhile."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, lifespan="off", log_level="error", access_log=False, **options
    )
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    socket.listen()
    task = asyncio.create_task(server.serve(sockets=[socket]))
    yield socket.getsockname()[1]
    server.should_exit = True
    await task


@asynccontextmanager
async def serving(app: str, fixture: dict[str, Any]) -> AsyncIterator[Work]:
    """The `bare` or the `protected` app; introduced by its `port`."""
    protected = app == "protected"
    chosen = JWTMiddleware(bare, auth(Fixture(**fixture)), public=PUBLIC_PATHS) if protected else bare
    async with served(chosen) as port:
        yield Work({"port": port})
