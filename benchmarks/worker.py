"""Work in a process of its own, led over pipes: JSON lines in, JSON lines out.

`python -m benchmarks.worker KIND` does one of `KINDS`. The first line sets it up, and the answer introduces it; each
line after it is a question. It ends with its input.
"""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import uvicorn
from anyio import to_thread

from benchmarks import middleware, verify
from benchmarks.asgi import bare
from benchmarks.contender import Contender
from benchmarks.fixture import Fixture
from benchmarks.gaps import gaps
from benchmarks.issuer import issuing
from benchmarks.load import loading
from benchmarks.memory import weighing
from benchmarks.report import installed
from benchmarks.serving import serving
from benchmarks.work import Answer, Kind, Work

GROUPS = {"verify": verify.CONTENDERS, "middleware": middleware.CONTENDERS}
UNDER_UVLOOP = ("load", "serving")


def build(group: str, name: str, fixture: Fixture) -> Contender:
    """The contender. Raises `ModuleNotFoundError` when what it needs is not installed."""
    return GROUPS[group][name](fixture)


async def introduce(contender: Contender, fixture: Fixture) -> dict[str, Any]:
    """Versions, notes, and which of the odd tokens get in; all has run once then.

    Raises `RuntimeError` for a contender that does not verify.
    """
    if not await contender.accepts(fixture.tokens[0]) or await contender.accepts(fixture.forged[0]):
        raise RuntimeError("it refuses a good token or lets a forged one in")
    await contender.take_times(0)
    return {
        "versions": {name: installed(name) for name in contender.distributions},
        "accepts": [wrong for wrong, token in fixture.odd.items() if await contender.accepts(token)]
        + [wrong for wrong, accepted in contender.requests.items() if await accepted()],
        "notes": list(contender.notes),
    }


@asynccontextmanager
async def contending(group: str, contender: str, fixture: dict[str, Any]) -> AsyncIterator[Work]:
    """One contender: each `{"seconds": n}` is answered with the microseconds per call of each case.

    It is introduced by what it says of itself, or by `{"missing": module}`.
    """
    given = Fixture(**fixture)
    try:
        built = build(group, contender, given)
    except ModuleNotFoundError as missing:
        yield Work({"missing": missing.name})
    else:
        yield Work(await introduce(built, given), built.take_times)


KINDS: dict[str, Kind] = {
    "contender": contending,
    "memory": weighing,
    "load": loading,
    "serving": serving,
    "issuer": issuing,
    "gaps": gaps,
}


async def work(kind: str, setup: dict[str, Any]) -> None:
    """Answer each line until there is none."""
    async with KINDS[kind](**setup) as begun:
        _say(begun.introduction)
        while line := await to_thread.run_sync(sys.stdin.readline):
            _say(await begun.answer(**json.loads(line)))


def _say(answer: Answer) -> None:
    print(json.dumps(answer), flush=True)


def main(kind: str) -> None:
    """Do work of this kind, on the event loop that the setup names, or that its kind has."""
    setup = json.loads(sys.stdin.readline())
    backend = setup.pop("backend", "asyncio")
    options = {"loop_factory": uvicorn.Config(bare).get_loop_factory()} if kind in UNDER_UVLOOP else {}
    anyio.run(work, kind, setup, backend=backend, backend_options=options)


if __name__ == "__main__":
    main(*sys.argv[1:])
