"""A process that opens, refreshes and ends sessions as its standard input says, by a clock of its own.

    python enduring_process.py STORE SKEW

`SKEW` is how many seconds its clock is ahead. Each line of input is a JSON array of a number, an operation and its
arguments; each line of output one of that number, what the master told of its replication after each write of the
operation (under Sentinel alone), each answer of a server with its place (likewise), and the outcome.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from asgi_jwt import Auth, Identity, Settings, TokenPair
from asgi_jwt.errors import AuthError, InvalidGrant, RevokedToken, Unavailable
from asgi_jwt.stores.redis import wire
from asgi_jwt.stores.redis.pipeline import Answer, Command, Pipeline

GRACE = 0.2
REPLICATION = "role", "master_replid", "master_repl_offset", "master_replid2", "second_repl_offset"

_scripts: ContextVar[list[Command]] = ContextVar("scripts")
"""Those that the operation ran."""

_unanswered: dict[int, tuple[Command, list[object]]] = {}
"""The commands without an answer, and what is known of them, by their `id`."""

_seen: ContextVar[list[list[object]]] = ContextVar("seen")
"""The operation's commands: when each was asked, and when, by which server and at which place it was answered."""

_told: dict[int, dict[str, Any] | None] = {}
"""What the master told of its replication right after a script, by the script's `id`."""


def watch_replication() -> None:
    """Ask with each script how far the master's history goes with it."""
    ask, answers = Pipeline.ask, wire._answers

    def noted(pipeline: Pipeline, command: Command) -> asyncio.Future[Answer]:
        if (seen := _seen.get(None)) is not None:
            seen.append(_unanswered.setdefault(id(command), (command, [time.time(), str(command[:4])]))[1])
        if command[0] in {"EVAL", "EVALSHA"} and (scripts := _scripts.get(None)) is not None:
            scripts.append(command)
            _told[id(command)] = None
        return ask(pipeline, command)

    async def watched(client: Any, commands: Sequence[Command]) -> list[Answer]:
        *found, told = await answers(client, [*commands, ("INFO", "replication")])
        for command, answer in zip(commands, found, strict=True):
            if id(command) in _told and not isinstance(answer, Exception):
                _told[id(command)] = {name: told[name] for name in REPLICATION}
            if id(command) in _unanswered:
                port = client.connection_pool.connection_kwargs["port"]
                _unanswered.pop(id(command))[1].extend(
                    [time.time(), port, *map(told.get, REPLICATION[:3]), repr(answer)]
                )
        return found

    setattr(Pipeline, "ask", noted)  # noqa: B010 (mypy lets no method be assigned)
    wire._answers = watched


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
            return ["done", await auth.revoker.end(*arguments, shown=True)]  # as for a refresh token
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
        scripts: list[Command] = []
        _scripts.set(scripts)
        seen: list[list[object]] = []
        _seen.set(seen)
        outcome = await perform(auth, *request)
        told = [_told.pop(id(script)) for script in scripts]
        sys.stdout.write(json.dumps([number, [each for each in told if each], seen, *outcome]) + "\n")
        sys.stdout.flush()

    while line := await reader.readline():
        task = asyncio.create_task(answer(*json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    if sys.argv[1].startswith("redis+sentinel:"):
        watch_replication()
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
