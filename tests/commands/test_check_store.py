"""What a check finds at real stores: it writes, it reads, it leaves nothing behind, and it never waits for long."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import time

import anyio
import pytest
from support.command_line import CommandLine
from support.postgres import Postgres
from support.sqlite_files import locked
from support.valkey import Valkey

from asgi_jwt.auth import Auth
from asgi_jwt.commands import check_store
from asgi_jwt.commands.findings import OK, PROBLEM, WARNING, Finding
from asgi_jwt.settings import Settings
from asgi_jwt.stores.base import SessionStore
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.records import Session, SessionKey
from asgi_jwt.stores.redis import RedisStore
from asgi_jwt.stores.sqlite import SQLiteStore

PASSWORD = "hush-hush"
REACH = "see that it runs, and that this machine reaches it"


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "valkey")
    yield server
    server.stop()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A store's file, as a service's start leaves it."""
    path = tmp_path / "sessions.db"

    async def make() -> None:
        store = SQLiteStore(path)
        await store.get(SessionKey("alice", "s1"))
        await store.aclose()

    anyio.run(make)
    return path


def look(url: str | None, store: SessionStore | None = None, skew: float = 0) -> list[Finding]:
    settings = Settings(issuer="i", audience="a", secret="s" * 32, store=url)

    async def work() -> list[Finding]:
        return await check_store.check_store(Auth(settings, store=store), lambda: time() + skew)

    found = anyio.run(work)
    assert all(finding.about == "store" and PASSWORD not in str(finding) for finding in found)
    return found


def told(url: str | None, store: SessionStore | None = None) -> tuple[str, str, str]:
    """The level of the one finding, what was found, and the mend."""
    (finding,) = look(url, store)
    return finding.level, finding.found, finding.mend


def test_a_store_of_another_package() -> None:
    """A service without a store is well, and the process's is tried like any other.

    A store whose URL is another package's is named by its scheme, for the rest may hold a password.
    """
    assert told(None) == (OK, "none is configured: tokens are verified without one", "")
    for url, store, name in (("memory://", None, "memory"), ("mine://user:secret@host", MemoryStore(), "mine")):
        level, found, _ = told(url, store)
        assert level == OK
        assert re.fullmatch(rf"{name}:// was written and read, in \d+ ms", found)


def test_a_file(file: Path) -> None:
    """A session is written and read, and the file holds what it held; everyone who could read it is told of."""
    level, found, _ = told(f"sqlite:///{file}")
    assert level == OK
    assert re.fullmatch(rf'the SQLite file "{file}" was written and read, in \d+ ms', found)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
    file.chmod(0o644)
    warned, tried = look(f"sqlite:///{file}")
    assert (warned.level, tried.level) == (WARNING, OK)


def test_a_file_that_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not made: it would be of whoever checks, and the server could not write it."""
    path = tmp_path / "sessions.db"
    name = f'the SQLite file "{path}"'
    assert told(f"sqlite:///{path}") == (OK, f"{name} is not there yet: the service's start makes it", "")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for a user who is not root
    assert told(f"sqlite:///{path}") == (
        PROBLEM,
        f"{name} is not there, and can't be made",
        "let this user write its directory",
    )
    assert not path.exists()


def test_a_file_that_is_gone(file: Path) -> None:
    """What it left beside it is warned of, for a new one would not fit it; nothing is made and nothing removed."""
    file.unlink()
    name = f'the SQLite file "{file}"'
    for left, told in {"-shm": "-shm", "-wal": "-wal and -shm"}.items():
        Path(f"{file}{left}").touch()
        warned, not_made = look(f"sqlite:///{file}")
        mend = f"put it back, or stop all processes that use it, and remove its {told} before they start anew"
        assert warned == Finding(WARNING, "store", f"{name} is gone, and its {told} still there", mend)
        assert not_made.level == OK
    assert sorted(path.name for path in file.parent.iterdir()) == ["sessions.db-shm", "sessions.db-wal"]


def test_files_that_can_not_be_used(file: Path) -> None:
    """What SQLite says of a file has its mend with it."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA application_id = 7")
        connection.commit()
    level, found, mend = told(f"sqlite:///{file}")
    assert (level, mend) == (PROBLEM, "")
    assert found.endswith("is another program's database: give the store a file of its own")
    file.write_bytes(b"rubbish" * 1000)
    level, found, mend = told(f"sqlite:///{file}")
    assert (level, mend) == (PROBLEM, "")
    assert "is no SQLite database: restore it from a backup, or name another file" in found


def test_a_file_that_is_locked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that writes for long is told of, and one that writes for ever is not waited for."""
    with locked(file):
        level, found, mend = told(f"sqlite:///{file}", SQLiteStore(file, timeout=0.05))
        assert (level, mend) == (PROBLEM, "see which process writes to it for so long")
        assert "is locked by another connection" in found
        monkeypatch.setattr(check_store, "CHECK_TIMEOUT", 0.2)
        name = f'the SQLite file "{file}"'
        assert told(f"sqlite:///{file}") == (PROBLEM, f"{name} gives no answer within 0.2 s", REACH)


def test_a_server(valkey: Valkey) -> None:
    """A session is written and read, and nothing is left but the log of revocations."""
    level, found, _ = told(f"{valkey.url}/0?prefix=x:")
    assert level == OK
    assert re.fullmatch(rf"{valkey.url}/0 was written and read, in \d+ ms", found)
    assert valkey.calls("evalsha") + valkey.calls("eval") >= 2
    (left,) = valkey.ask("KEYS", "*")
    assert left.endswith(b"revocations")
    valkey.wait_until_left(0)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_evicts(valkey: Valkey, policy: str) -> None:
    """A server that may evict sessions is warned of, where its user may ask for that."""
    valkey.ask("CONFIG", "SET", "maxmemory-policy", policy)
    tried, warned = look(valkey.url)
    assert (tried.level, warned.level) == (OK, WARNING)
    assert f"(maxmemory-policy {policy})" in warned.found
    assert warned.mend == "set its maxmemory-policy to noeviction"
    rights = re.findall(r"\+[a-z@|]+", RedisStore.__doc__ or "")
    valkey.ask("ACL", "SETUSER", "app", "on", f">{PASSWORD}", "~asgi-jwt:*", *rights)
    assert told(f"redis://app:{PASSWORD}@{valkey.address}")[0] == OK


@pytest.mark.parametrize(("skew", "sign"), [(3600, "ahead of that of"), (-3600, "behind that of")])
def test_a_server_whose_clock_differs(valkey: Valkey, skew: float, sign: str) -> None:
    """A clock that is not the store's is warned of: by it, users whose tabs race are logged out."""
    tried, warned = look(valkey.url, skew=skew)
    assert (tried.level, warned.level) == (OK, WARNING)
    assert re.match(rf"this machine's clock is (3599|36\d\d) s {sign} {valkey.url}/0: users", warned.found)
    assert warned.mend == "keep the clocks of all machines in step (NTP)"


def test_a_server_that_refuses(valkey: Valkey) -> None:
    """A wrong password, missing rights, a replica and a full memory each have their mend, and no password is shown."""
    valkey.ask("ACL", "SETUSER", "app", "on", f">{PASSWORD}", "~asgi-jwt:*", "+get", "+@connection")
    for user, sign, mend in (
        (f"app:{PASSWORD}", "NoPermissionError", "give its user the rights that `asgi-jwt docs stores` lists"),
        (f"app:{PASSWORD}x", "AuthenticationError", "put the right user and password into the store's URL"),
    ):
        level, found, told_mend = told(f"redis://{user}@{valkey.address}")
        assert (level, told_mend) == (PROBLEM, mend)
        assert found.startswith(f"redis://{valkey.address}/0 can't be used: {sign}")
    level, found, mend = told(f"{valkey.url}/99")
    assert found.endswith("/99 can't be used: ResponseError (ERR)")
    assert mend == "name a database that the server has in the store's URL"
    valkey.ask("CONFIG", "SET", "min-replicas-to-write", 1)
    level, found, mend = told(valkey.url)
    assert found.endswith("can't be used: ResponseError (NOREPLICAS)")
    assert mend == "the master lacks replicas (min-replicas-to-write): bring them back, or name the new master"
    valkey.ask("CONFIG", "SET", "min-replicas-to-write", 0)
    valkey.ask("CONFIG", "SET", "maxmemory", 1)
    assert told(valkey.url)[2] == "give the server more memory, or another server to what else it keeps"
    valkey.ask("CONFIG", "SET", "maxmemory", 0)
    valkey.ask("REPLICAOF", "127.0.0.1", "1")
    assert told(valkey.url)[2] == "name the master in the store's URL, for this server is a replica"


def test_a_server_that_is_gone(valkey: Valkey) -> None:
    """A server that is not there is a problem at once."""
    valkey.stop()
    level, found, mend = told(f"redis://user:{PASSWORD}@{valkey.address}")
    assert (level, mend) == (PROBLEM, REACH)
    assert found.startswith(f"redis://{valkey.address}/0 can't be used: ConnectionError: ")


def test_a_server_that_hangs(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that gives no answer is given up, by its own patience or by that of the check."""
    valkey.pause()
    try:
        level, found, mend = told(f"{valkey.url}?timeout=0.1")
        assert (level, mend) == (PROBLEM, REACH)
        assert found.startswith(f"{valkey.url}/0 can't be used: ")
        monkeypatch.setattr(check_store, "CHECK_TIMEOUT", 0.2)
        assert told(f"{valkey.url}?timeout=60") == (
            PROBLEM,
            f"{valkey.url}/0 gives no answer within 0.2 s",
            REACH,
        )
    finally:
        valkey.resume()


def test_a_store_that_loses_what_is_written() -> None:
    """What is written and not found again is a problem, though every call succeeds."""

    class Forgetful(MemoryStore):
        async def get(self, key: SessionKey) -> Session | None:
            return None

    assert told("memory://", Forgetful()) == (
        PROBLEM,
        "memory:// loses what is written",
        "see that it is a master, and evicts nothing",
    )


def test_a_server_of_postgresql(postgres: Postgres, asgi_jwt: CommandLine) -> None:
    """A PostgreSQL server is tried and named without its password; a lossy setting is a warning. `--sql` prints SQL."""
    url = postgres.empty().replace("postgres@", f"postgres:{PASSWORD}@")
    tried, lossy = look(url)
    assert (tried.level, lossy.level) == (OK, WARNING)
    assert tried.found.startswith(f"postgresql://127.0.0.1:{postgres.port}/postgres was written and read")
    assert "fsync=off" in lossy.found
    printed = asgi_jwt("check", "--sql")
    assert (printed.status, printed.out.count("CREATE TABLE")) == (0, 3)
