"""A script, and how commands and scripts are asked for: what may happen twice is asked again, the rest is not."""

import hashlib
from typing import NamedTuple

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.redis.pipeline import Answer, Command, Disconnected, Pipeline, UnknownScript


class Script(NamedTuple):
    """A script, and the digest by which a server that has it knows it."""

    text: bytes
    sha: bytes

    @classmethod
    def of(cls, text: bytes) -> "Script":
        return cls(text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


async def read(pipeline: Pipeline, *command: bytes | str | int) -> Answer:
    """What a command that only reads answers: asked again where the connection broke."""
    answer = await pipeline.ask(command)
    if isinstance(answer, Disconnected):
        answer = await pipeline.ask(command)
    return _checked(answer)


async def run(pipeline: Pipeline, script: Script, *arguments: bytes | str | int) -> Answer:
    """What the script answers. It is never sent twice: a script that is not answered may have happened."""
    return _checked(await _asked(pipeline, script, arguments))


async def run_again(pipeline: Pipeline, script: Script, *arguments: bytes | str | int) -> Answer:
    """What a script answers that may happen twice: asked again where the connection broke."""
    answer = await _asked(pipeline, script, arguments)
    if isinstance(answer, Disconnected):
        answer = await _asked(pipeline, script, arguments)
    return _checked(answer)


async def _asked(pipeline: Pipeline, script: Script, arguments: Command) -> Answer:
    answer = await pipeline.ask(("EVALSHA", script.sha, *arguments))
    if isinstance(answer, UnknownScript):  # nothing ran
        answer = await pipeline.ask(("EVAL", script.text, *arguments))
    return answer


def _checked(answer: Answer) -> Answer:
    if isinstance(answer, StoreUnavailable):  # one for each caller: an exception collects tracebacks
        raise StoreUnavailable(answer.detail) from answer.__cause__
    return answer
