"""Instructions that a protection adds to a request: they count the same on a busy machine, where times swing by half.

`python -m benchmarks.instructions CASE REQUESTS` makes that many requests and ends; `count` runs it under cachegrind at
two lengths, and takes the difference. Valgrind's processor has no instructions for SHA-256: the digest of a token of
500 bytes counts for 19,000 there.
"""

import asyncio
import gc
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from shutil import which
from typing import Any

from benchmarks.asgi import bare, receive, request_scope, send
from benchmarks.fixture import PUBLIC_PATHS, Fixture

VALGRIND = which("valgrind")
SHORT, LONG = 500, 1500
_ROOT = Path(__file__).parent.parent
_COUNTED = re.compile(r"I +refs: +([\d,]+)")


def _starlette(fixture: Fixture) -> Any:
    from benchmarks.middleware import starlette_protection

    return starlette_protection(fixture, bare)


def _ours(fixture: Fixture, **settings: Any) -> Any:
    from asgi_jwt import JWTMiddleware
    from benchmarks.verify import auth

    return JWTMiddleware(bare, auth(fixture, **settings), public=PUBLIC_PATHS)


async def _minimum(fixture: Fixture, *, revocations: bool) -> Any:
    from benchmarks.minimum import Minimum, MinimumWithRevocation
    from benchmarks.verify import auth

    kind = MinimumWithRevocation if revocations else Minimum
    return await kind.around(bare, auth(fixture), fixture.tokens)


async def _bare(fixture: Fixture) -> Any:
    return bare


async def _made(app: Any) -> Any:
    return app


async def _digest(fixture: Fixture) -> Any:
    token = fixture.tokens[0].encode()

    async def digesting(scope: Any, receive: Any, send: Any) -> None:
        sha256(token).digest()
        await bare(scope, receive, send)

    return digesting


# The mirror is read once and stays fresh: a read is one request's in a second, and no request's own cost.
_FRESH = {"store": "memory://", "revocation_interval": 60, "revocation_max_staleness": 3600}

CASES: dict[str, Callable[[Fixture], Awaitable[Any]]] = {
    "bare app": _bare,
    "SHA-256 of the token alone": _digest,
    "asgi_jwt": lambda fixture: _made(_ours(fixture)),
    "the same checks, by hand": lambda fixture: _minimum(fixture, revocations=False),
    "asgi_jwt with a store": lambda fixture: _made(_ours(fixture, **_FRESH)),
    "with revocation, by hand": lambda fixture: _minimum(fixture, revocations=True),
    "Starlette AuthenticationMiddleware + PyJWT": lambda fixture: _made(_starlette(fixture)),
}


def count(cases: Iterable[str] = CASES) -> dict[str, float]:
    """Instructions that each of `cases` adds to a request of the bare app. Raises `RuntimeError` when a run fails."""
    fixture = json.dumps(asdict(Fixture.make("HS256", 1)))
    # Compiled here, lest the first run does it.
    subprocess.run([sys.executable, "-m", "compileall", "-q", "asgi_jwt", "benchmarks"], cwd=_ROOT, check=True)
    totals = {case: [_run(case, requests, fixture) for requests in (SHORT, LONG)] for case in cases}
    counts = {case: (long - short) / (LONG - SHORT) for case, (short, long) in totals.items()}
    bare_app = counts.pop("bare app")
    return {case: counted - bare_app for case, counted in counts.items()}


def _run(case: str, requests: int, fixture: str) -> int:
    command = [str(VALGRIND), "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    run = subprocess.run(
        [*command, sys.executable, "-W", "ignore", "-m", "benchmarks.instructions", case, str(requests)],
        cwd=_ROOT,
        input=fixture,
        capture_output=True,
        text=True,
        env={"PYTHONHASHSEED": "0", "PATH": ""},
        timeout=900,
        check=False,
    )
    counted = _COUNTED.search(run.stderr)
    if run.returncode or counted is None:
        raise RuntimeError(f"cachegrind gave no count: {run.stderr[-500:]}")
    return int(counted[1].replace(",", ""))


async def _make_requests(case: str, requests: int) -> None:
    fixture = Fixture(**json.load(sys.stdin))
    app = await CASES[case](fixture)
    scope = request_scope(f"Bearer {fixture.tokens[0]}")
    # A full collection walks all modules, millions of instructions, in one of two lengths and not in the other.
    gc.collect()
    gc.freeze()
    for _ in range(requests):
        await app({**scope, "state": {}}, receive, send)


if __name__ == "__main__":
    asyncio.run(_make_requests(sys.argv[1], int(sys.argv[2])))
