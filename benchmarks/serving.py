"""A server in a process of its own: uvicorn on a free port of the loopback, around the bare or the protected app.

The first line is `{"app": "bare" | "protected", "fixture": {...}}`, the answer `{"port": ...}`. It ends with its input.
"""

import asyncio
import json
import sys
from typing import Any

import uvicorn

from asgi_jwt import JWTMiddleware
from benchmarks.asgi import bare
from benchmarks.fixture import PUBLIC_PATHS, Fixture
from benchmarks.verify import auth


async def serve() -> None:
    """Serve until the input ends."""
    setup = json.loads(sys.stdin.readline())
    app: Any = bare
    if setup["app"] == "protected":
        app = JWTMiddleware(bare, auth(Fixture(**setup["fixture"])), public=PUBLIC_PATHS)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="error", access_log=False)
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    socket.listen()
    print(json.dumps({"port": socket.getsockname()[1]}), flush=True)
    serving = asyncio.create_task(server.serve(sockets=[socket]))
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvicorn.Config(bare).get_loop_factory()) as runner:
        runner.run(serve())
