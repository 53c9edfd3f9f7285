"""A refresh on each store, and its floor: the same signatures and the same commands, and nothing else.

Both sides run by turns in one process, call by call or 50 at once, so that noise of the machine meets both.
"""

import asyncio
import hashlib
import json
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from redis.asyncio import Redis
from redis.asyncio.connection import BlockingConnectionPool

from asgi_jwt import Auth, Identity, Settings
from asgi_jwt.sessions.rotation import Verdict
from asgi_jwt.stores.base import SessionStore
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.packed import pack
from asgi_jwt.stores.records import Client, Session, SessionKey
from asgi_jwt.stores.redis import RedisStore
from asgi_jwt.stores.redis.swap import SWAP
from asgi_jwt.stores.sqlite import SQLiteStore
from asgi_jwt.stores.sqlite.connection import MIGRATIONS
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.key import Key

AT_ONCE = 50
CLIENT = Client("Mozilla/5.0 (X11; Linux x86_64) ".ljust(120, "x"), "192.0.2.1")
CLAIMS = {"email": "alice@users.example", "name": "Alice".ljust(59, "x")}
assert len(json.dumps(CLAIMS, separators=(",", ":"))) == 100

_REFRESH_SECRET = "r" * 32
_PAST_THE_GRACE = 61.0
_DAY = 86_400_000

Call = Callable[[int], Awaitable[None]]
"""One refresh, or what it can't do without, for the n-th of the sessions."""


class Side(NamedTuple):
    """Seconds that single calls took, and rounds of `AT_ONCE` calls."""

    alone: list[float]
    at_once: list[float]

    @property
    def latency(self) -> float:
        """Microseconds of a call alone, the median."""
        return statistics.median(self.alone) * 1e6

    @property
    def rate(self) -> float:
        """Calls a second with 50 at once, by the median round."""
        return AT_ONCE / statistics.median(self.at_once)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one store. `commits`: the most that one round of 50 at once took; None where nothing counts them."""

    ours: Side
    bare: Side
    commits: int | None = None


def ed25519_key() -> str:
    """A throw-away key, as PEM."""
    key = ed25519.Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class Refreshes:
    """Fifty sessions on a store, and the refresh tokens that keep them going."""

    @classmethod
    async def begun(cls, store: SessionStore) -> Self:
        refreshes = cls(store)
        await refreshes.open()
        return refreshes

    def __init__(self, store: SessionStore) -> None:
        pem = ed25519_key()
        settings = Settings(issuer="https://issuer.example", audience="api", keys=pem, refresh_secret=_REFRESH_SECRET)
        self.clock = Clock()
        self.auth = Auth(settings, store=store, clock=self.clock)
        self.access_key = Key.from_pem(pem)
        self.refresh_key = Key.from_secret(_REFRESH_SECRET)
        self.tokens: list[str] = []
        self.keys: list[SessionKey] = []
        self.messages: list[tuple[bytes, bytes]] = []

    async def open(self) -> None:
        for n in range(AT_ONCE):
            pair = await self.auth.sessions.open(Identity(f"user-{n}", scopes="orders:read", claims=CLAIMS), CLIENT)
            (session,) = await self.auth.sessions.list(f"user-{n}")
            self.tokens.append(pair.refresh_token)
            self.keys.append(session.key)
            access, refresh = (token.rpartition(".")[0].encode() for token in (pair.access_token, pair.refresh_token))
            self.messages.append((access, refresh))
        self.signatures = [self.refresh_key.sign("HS256", refresh) for _, refresh in self.messages]

    async def refresh(self, n: int) -> None:
        pair = await self.auth.sessions.refresh(self.tokens[n])
        assert pair.verdict is Verdict.ROTATED
        self.tokens[n] = pair.refresh_token

    def sign(self, n: int) -> None:
        """The signatures of a refresh, over the same bytes."""
        access, refresh = self.messages[n]
        assert self.refresh_key.verify("HS256", refresh, self.signatures[n])
        self.access_key.sign("EdDSA", access)
        self.refresh_key.sign("HS256", refresh)

    async def _pass_the_grace(self) -> None:
        """Turn the clock, so that the next refresh rotates, and read the log of revocations outside of what is timed.

        A process reads the log once a second, for all of its requests together.
        """
        self.clock.turn(_PAST_THE_GRACE)
        await self.auth.revocations.poll()

    async def measure(
        self, bare: Call, *, calls: int, rounds: int, commits: Callable[[], int] | None = None
    ) -> Measured:
        """`calls` calls alone and `rounds` rounds at once, of each side by turns."""
        ours, floor = Side([], []), Side([], [])
        most = 0
        await self._pass_the_grace()
        for call in (self.refresh, bare):
            await asyncio.gather(*map(call, range(AT_ONCE)))  # all connections are made
        for n in range(calls):
            await self._pass_the_grace()
            for side, call in by_turns(n, (ours, self.refresh), (floor, bare)):
                start = time.perf_counter()
                await call(n % AT_ONCE)
                side.alone.append(time.perf_counter() - start)
        for n in range(rounds):
            await self._pass_the_grace()
            for side, call in by_turns(n, (ours, self.refresh), (floor, bare)):
                before = commits() if commits else 0
                start = time.perf_counter()
                await asyncio.gather(*map(call, range(AT_ONCE)))
                side.at_once.append(time.perf_counter() - start)
                if commits and side is ours:
                    most = max(most, commits() - before)
        return Measured(ours=ours, bare=floor, commits=most if commits else None)


def by_turns(n: int, *sides: tuple[Side, Call]) -> Sequence[tuple[Side, Call]]:
    return sides if n % 2 else sides[::-1]


async def measure_memory(calls: int, rounds: int) -> Measured:
    """Bare: the dict's look-up and its replacement."""
    refreshes = await Refreshes.begun(MemoryStore())
    floor = MemoryStore()
    for key in refreshes.keys:
        await floor.update(key, partial(put, await refreshes.auth.store.get(key)))

    async def bare(n: int) -> None:
        refreshes.sign(n)
        await floor.get(refreshes.keys[n])
        await floor.update(refreshes.keys[n], _replaced)

    return await refreshes.measure(bare, calls=calls, rounds=rounds)


def put(session: Session | None, _: Session | None) -> tuple[Session | None, None]:
    """The change that writes `session`, whatever is stored."""
    return session, None


def _replaced(session: Session | None) -> tuple[Session | None, None]:
    return session and session.changed(), None


async def measure_sqlite(path: Path, calls: int, rounds: int) -> Measured:
    """Bare: the read in one thread and the transaction in another, each on a connection of its own."""
    store = SQLiteStore(path)
    refreshes = await Refreshes.begun(store)
    session = await store.get(refreshes.keys[0])
    assert session is not None
    record, until = pack(session), session.kept_until
    rows = [(key.subject.encode(), key.sid.encode()) for key in refreshes.keys]
    loop = asyncio.get_running_loop()
    file = path.with_suffix(".bare")
    with (
        ThreadPoolExecutor(1) as reading,
        ThreadPoolExecutor(1) as writing,
        closing(_connection(file)) as reader,
        closing(_connection(file)) as writer,
    ):
        for statement in MIGRATIONS[0]:
            writer.execute(statement)

        def read(row: tuple[bytes, bytes]) -> None:
            reader.execute("SELECT record FROM sessions WHERE subject = ? AND sid = ?", row).fetchone()

        def write(row: tuple[bytes, bytes]) -> None:
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("SELECT record FROM sessions WHERE subject = ? AND sid = ?", row).fetchone()
            writer.execute(
                "REPLACE INTO sessions (subject, sid, kept_until, ended, record) VALUES (?, ?, ?, 0, ?)",
                (*row, until, record),
            )
            writer.execute("COMMIT")

        async def bare(n: int) -> None:
            refreshes.sign(n)
            await loop.run_in_executor(reading, read, rows[n])
            await loop.run_in_executor(writing, write, rows[n])

        measured = await refreshes.measure(bare, calls=calls, rounds=rounds, commits=lambda: store.commits)
    await store.aclose()
    return measured


def _connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


async def measure_redis(port: int, calls: int, rounds: int) -> Measured:
    """Bare: as many round trips through redis-py, two reads and the script."""
    store = RedisStore.from_url(f"redis://127.0.0.1:{port}")
    refreshes = await Refreshes.begun(store)
    session = await store.get(refreshes.keys[0])
    assert session is not None
    record = pack(session)
    digest = hashlib.sha1(record, usedforsecurity=False).hexdigest()
    # A pool that waits: the plain one refuses callers beyond its size.
    client = Redis.from_pool(BlockingConnectionPool(max_connections=AT_ONCE, host="127.0.0.1", port=port))
    sha = await client.script_load(SWAP.text.decode())
    names = [(f"bare:{{{n}}}:{key.sid}", f"bare:{{{n}}}", key.sid) for n, key in enumerate(refreshes.keys)]
    for name, _, _ in names:
        await client.set(name, record, px=session.kept_for)

    async def bare(n: int) -> None:
        name, index, sid = names[n]
        refreshes.sign(n)
        await client.get(name)
        await client.get(name)
        arguments = (digest, record, session.kept_for, sid, session.kept_until, session.created_at)
        assert await client.evalsha(sha, 2, name, index, *arguments) == 1

    measured = await refreshes.measure(bare, calls=calls, rounds=rounds)
    await store.aclose()
    await client.aclose()
    return measured
