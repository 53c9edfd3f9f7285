"""Sends commands and scripts. Only those that may run twice are sent again after a broken connection."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.redis.pipeline import Answer, Command, Confirmed, Disconnected, Pipeline, UnknownScript

_Kind = Callable[[Command], Command]


class Script(NamedTuple):
    """A script, and its SHA-1, by which a server runs a script that it has cached."""

    text: bytes
    sha: bytes

    @classmethod
    def of(cls, text: bytes) -> "Script":
        """The script with this text."""
        return cls(text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


async def read(pipeline: Pipeline, *command: bytes | str | int) -> Answer:
    """Send a command that only reads, and return its answer. After a broken connection it is sent once more.

    Raises StoreUnavailable.
    """
    answer = await pipeline.ask(command)
    if isinstance(answer, Disconnected):
        answer = await pipeline.ask(command)
    return _checked(answer)


async def write(pipeline: Pipeline, *command: bytes | str | int) -> Answer:
    """Send a command that writes, and return its answer. It is sent once only. Raises StoreUnavailable."""
    return _checked(await pipeline.ask(command))


async def run(pipeline: Pipeline, script: Script, *arguments: bytes | str | int) -> Answer:
    """Run the script, and return its answer. It is sent once only: a script without an answer may have run.

    Raises StoreUnavailable.
    """
    return _checked(await _ask(pipeline, script, arguments))


async def run_again(pipeline: Pipeline, script: Script, *arguments: bytes | str | int) -> Answer:
    """Run a script that may run twice, and return its answer. After a broken connection it is sent once more.

    Raises StoreUnavailable.
    """
    return await _run_again(pipeline, script, arguments, tuple)


async def run_at_master(pipeline: Pipeline, script: Script, *arguments: bytes | str | int) -> Answer:
    """The same as `run_again`. With Sentinel the answer counts only if the server was still the master afterwards."""
    return await _run_again(pipeline, script, arguments, Confirmed)


async def _run_again(pipeline: Pipeline, script: Script, arguments: Command, kind: _Kind) -> Answer:
    answer = await _ask(pipeline, script, arguments, kind)
    if isinstance(answer, Disconnected):
        answer = await _ask(pipeline, script, arguments, kind)
    return _checked(answer)


async def _ask(pipeline: Pipeline, script: Script, arguments: Command, kind: _Kind = tuple) -> Answer:
    answer = await pipeline.ask(kind(("EVALSHA", script.sha, *arguments)))
    if isinstance(answer, UnknownScript):  # the server ran nothing
        answer = await pipeline.ask(kind(("EVAL", script.text, *arguments)))
    return answer


def _checked(answer: Answer) -> Answer:
    if isinstance(answer, StoreUnavailable):  # raising adds a traceback, so each caller raises an exception of its own
        raise StoreUnavailable(answer.detail) from answer.__cause__
    return answer
