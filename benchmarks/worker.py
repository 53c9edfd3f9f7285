"""One contender in a process of its own, led over pipes: JSON lines in, JSON lines out.

The first line is `{"group": ..., "contender": ..., "fixture": {...}}`; the answer is what the contender says of itself,
or `{"missing": module}`. Each `{"seconds": n}` after it is answered with the microseconds per call of each case.
"""

import asyncio
import json
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks import middleware, verify
from benchmarks.contender import Contender
from benchmarks.fixture import Fixture

GROUPS = {"verify": verify.CONTENDERS, "middleware": middleware.CONTENDERS}


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


def installed(distribution: str) -> str:
    """The version of an installed distribution, else `not installed`; ours may be used from where it lies."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "this checkout" if distribution == "asgi_jwt" else "not installed"


async def work() -> None:
    """Answer each line until there is none."""
    setup = json.loads(sys.stdin.readline())
    fixture = Fixture(**setup["fixture"])
    try:
        contender = build(setup["group"], setup["contender"], fixture)
    except ModuleNotFoundError as missing:
        _answer({"missing": missing.name})
        return
    _answer(await introduce(contender, fixture))
    while line := sys.stdin.readline():
        _answer(await contender.take_times(json.loads(line)["seconds"]))


def _answer(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(work())
