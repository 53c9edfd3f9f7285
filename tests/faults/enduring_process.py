"""A process that opens, refreshes and ends sessions as its standard input says, by a clock of its own.

    python enduring_process.py STORE SKEW

`SKEW` is how many seconds its clock is ahead. Each line of input is a JSON array of a number, an operation and its
arguments; each line of output one of that number and the outcome.
"""

import asyncio
import json
import sys
import time
from typing import Any

from asgi_jwt import Auth, Identity, Settings, TokenPair
from asgi_jwt.errors import AuthError, InvalidGrant, RevokedToken, Unavailable

GRACE = 0.2


def an_auth(url: str, skew: float) -> Auth:
    settings = Settings(
        issuer="https://issuer.example",
        audience="api",
        secret="a" * 32,
        refresh_secret="r" * 32,
        store=url,
        grace=GRACE,
        access_ttl=600,
    )
    return Auth(settings, clock=lambda: time.time() + skew)


def told(pair: TokenPair) -> list[object]:
    return ["done", str(pair.verdict), pair.access_token, pair.refresh_token]


async def perform(auth: Auth, operation: str, *arguments: str) -> list[object]:
    try:
        if operation == "open":
            return told(await auth.sessions.open(Identity(*arguments)))
        if operation == "refresh":
            return told(await auth.sessions.refresh(*arguments))
        if operation == "end":
            return ["done", await auth.sessions.end(*arguments)]
        await auth.verify(*arguments)
    except Unavailable:
        return ["unavailable"]
    except (InvalidGrant, RevokedToken) as refused:
        return ["refused", type(refused).__name__]
    except AuthError as error:  # a token of a clock that is ahead, or behind
        return ["invalid", type(error).__name__]
    return ["done"]


async def main(url: str, skew: float) -> None:
    auth, tasks = an_auth(url, skew), set[asyncio.Task[None]]()
    reader = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def answer(number: int, *request: Any) -> None:
        sys.stdout.write(json.dumps([number, *await perform(auth, *request)]) + "\n")
        sys.stdout.flush()

    while line := await reader.readline():
        task = asyncio.create_task(answer(*json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
