"""What a refresh costs the event loop and the disk: counted, not timed."""

import sqlite3
from functools import cache, partial
from pathlib import Path
from threading import Thread, current_thread
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from asgi_jwt import Auth, Identity, Settings
from asgi_jwt.sessions.pairs import TokenPair
from asgi_jwt.sessions.rotation import Verdict
from asgi_jwt.stores.base import SessionStore
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.sqlite import SQLiteStore
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.keys import KeySet

pytestmark = pytest.mark.anyio


@cache
def rsa_keys(bits: int) -> KeySet:
    private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return KeySet([Key.from_pem(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))])


def an_auth(store: SessionStore, clock: Clock, bits: int = 2048) -> Auth:
    issuer = "https://issuer.example"
    settings = Settings(issuer=issuer, audience="api", keys=rsa_keys(bits), refresh_secret="r" * 32)
    return Auth(settings, store=store, clock=clock)


@pytest.mark.parametrize(("bits", "aside"), [(2048, False), (3072, True)])
async def test_slow_signatures_leave_the_event_loop(monkeypatch: pytest.MonkeyPatch, bits: int, aside: bool) -> None:
    """RSA past 2048 bits signs in a thread, at a login and at a refresh, and what is quick signs at once."""
    auth = an_auth(MemoryStore(), Clock(), bits)
    sign, signed_in = Key.sign, []

    def recorded(key: Key, algorithm: str, message: bytes) -> bytes:
        if algorithm == "RS256":
            signed_in.append(current_thread())
        return sign(key, algorithm, message)

    monkeypatch.setattr(Key, "sign", recorded)
    pair = await auth.sessions.open(Identity("alice"))
    await auth.sessions.refresh(pair.refresh_token)
    assert [thread is not current_thread() for thread in signed_in] == [aside, aside]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Thread]]:
    """Each statement that the SQLite store executes, and the thread it does so in."""
    executed: list[tuple[str, Thread]] = []

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            executed.append((sql.split()[0], current_thread()))
            return super().execute(sql, parameters)

    monkeypatch.setattr("sqlite3.connect", partial(sqlite3.connect, factory=Connection))
    return executed


async def test_fifty_refreshes_on_sqlite(tmp_path: Path, statements: list[tuple[str, Thread]]) -> None:
    """Fifty refreshes at once take ten commits at the most, none in the event loop's thread, all before the answers."""
    store, clock = SQLiteStore(tmp_path / "sessions.db"), Clock()
    auth = an_auth(store, clock)
    tokens = [(await auth.sessions.open(Identity(f"user-{n}"))).refresh_token for n in range(50)]
    clock.turn(60)
    before, answers = store.commits, list[TokenPair]()
    statements.clear()

    async def refresh(token: str) -> None:
        pair = await auth.sessions.refresh(token)
        assert store.commits > before
        answers.append(pair)

    async with anyio.create_task_group() as group:
        for token in tokens:
            group.start_soon(refresh, token)
    assert [pair.verdict for pair in answers] == [Verdict.ROTATED] * 50
    assert 1 <= store.commits - before <= 10
    assert len([sql for sql, _ in statements if sql == "COMMIT"]) == store.commits - before
    assert {sql for sql, _ in statements} == {"BEGIN", "PRAGMA", "SELECT", "INSERT", "COMMIT"}
    assert current_thread() not in {thread for _, thread in statements}
    await store.aclose()
