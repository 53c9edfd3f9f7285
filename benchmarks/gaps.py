"""How long an event loop has to wait for its next turn while keys are fetched or read."""

import gc
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import cycle
from tempfile import TemporaryDirectory
from typing import Any

import anyio
from anyio import to_thread
from anyio.lowlevel import checkpoint

from asgi_jwt import Auth, RemoteKeySet, Settings, TokenVerifier
from asgi_jwt.errors import UnknownKey
from asgi_jwt.testing import Clock
from benchmarks.fixture import AUDIENCE, ISSUER
from benchmarks.work import Work

# As long as a fetch takes.
_WHILE = 0.02
# After which no keys are relied on: whoever asks waits for the fetch. A day that passes has certificates read anew.
_LONG = 600 + 3600
_QUIET = 60

Case = Callable[[], Awaitable[object]]


async def longest_gaps(case: Case) -> tuple[float, float]:
    """The longest time between two turns of the loop while `case` runs, and the longest on the processor, in ms."""
    longest = own = 0.0

    async def turn() -> None:
        nonlocal longest, own
        then, then_own = time.perf_counter(), time.thread_time()
        while True:
            await checkpoint()
            now, now_own = time.perf_counter(), time.thread_time()
            longest, own = max(longest, now - then), max(own, now_own - then_own)
            then, then_own = now, now_own

    async with anyio.create_task_group() as group:
        group.start_soon(turn)
        await checkpoint()
        await case()
        await checkpoint()
        group.cancel_scope.cancel()
    return longest * 1e3, own * 1e3


def compute() -> None:
    """Work in Python, for which a thread holds the interpreter's lock as long as it is let."""
    until = time.perf_counter() + _WHILE
    while time.perf_counter() < until:
        pass


def hash_on() -> None:
    """Work for which a thread needs no lock."""
    until = time.perf_counter() + _WHILE
    while time.perf_counter() < until:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2000)


def cases(remote: dict[str, RemoteKeySet], clock: Clock) -> Iterator[tuple[str, Case]]:
    """What may hold up the loop, by its name: first nothing, then what any thread does to it, then fetches."""
    yield "nothing", partial(anyio.sleep, _WHILE)
    yield "a thread that computes", partial(to_thread.run_sync, compute)
    yield "a thread without the lock", partial(to_thread.run_sync, hash_on)

    async def fetch(keys: RemoteKeySet) -> None:
        clock.turn(_LONG)
        await keys.current()

    for name, keys in remote.items():
        yield name, partial(fetch, keys)


async def reload(auth: Auth, clock: Clock, path: anyio.Path, contents: Iterator[str]) -> None:
    """Replace the key file as rotations do, and ask for the keys after a quiet time: whoever asks waits for them."""
    await path.with_name("new").write_text(next(contents))
    await path.with_name("new").replace(path)
    clock.turn(_QUIET)
    await auth.published_keys()


async def reloads(files: dict[str, list[str]], tokens: list[str], home: str, clock: Clock) -> dict[str, Case]:
    """A key file for each, which is replaced by the other content each time, and its tokens remembered."""
    found: dict[str, Case] = {}
    for number, (name, contents) in enumerate(files.items()):
        path = anyio.Path(home) / f"{number}" / "keys.json"
        await path.parent.mkdir()
        await path.write_text(contents[0])
        settings = Settings(issuer=ISSUER, audience=AUDIENCE, keys_file=f"{path}", cache_size=len(tokens))
        auth = Auth(settings, clock=clock)
        for token in tokens:
            await auth.verify(token)
        found[name] = partial(reload, auth, clock, path, cycle(reversed(contents)))
    return found


async def measure(
    urls: dict[str, str], files: dict[str, list[str]], tokens: list[str], kids: list[str], rounds: int, home: str
) -> dict[str, Any]:
    """All cases by turns, with as many tokens remembered as there are, all of which a fetch has to look at."""
    clock = Clock()
    policy = Settings(issuer=ISSUER, audience=AUDIENCE, jwks_url=next(iter(urls.values()))).policy
    remote = {name: RemoteKeySet(url, clock=clock) for name, url in urls.items()}
    for keys in remote.values():
        verifier = TokenVerifier(keys, policy, cache_size=len(tokens), clock=clock)
        for token in tokens:
            await verifier.verify(token.encode())
    measured = {**dict(cases(remote, clock)), **await reloads(files, tokens, home, clock)}
    # A full collection takes tens of milliseconds in any process: of what is there now, none.
    gc.collect()
    gc.freeze()
    gaps: dict[str, list[tuple[float, float]]] = {name: [] for name in measured}
    for case in measured.values():
        await longest_gaps(case)
    for _ in range(rounds):
        for name, case in measured.items():
            gaps[name].append(await longest_gaps(case))
    return {"gaps": gaps, "kids": [await refusal(verifier, token.encode()) for token in kids]}


async def refusal(verifier: TokenVerifier, token: bytes) -> float:
    """The µs of processor time until a token with a made-up `kid` is refused: it waits for nothing."""
    start = time.thread_time()
    try:
        await verifier.verify(token)
    except UnknownKey:
        return (time.thread_time() - start) * 1e6
    raise RuntimeError("a token with a made-up kid was let in")


@asynccontextmanager
async def gaps(certificates: str, **setup: Any) -> AsyncIterator[Work]:
    """Introduced by `{"gaps": {case: [[longest, own], ...]}, "kids": [...]}`, with these certificates trusted.

    They are in each round the longest time between two turns of a loop that does nothing else, and the longest of them
    in which its thread had the processor, in ms; and the µs of processor time that each token with a made-up `kid` took
    to be refused. The setup has `urls` by names, `files` of two JWK Sets by names, `tokens`, `kids` and `rounds`.
    """
    os.environ["SSL_CERT_FILE"] = certificates
    with TemporaryDirectory() as home:
        yield Work(await measure(home=home, **setup))
