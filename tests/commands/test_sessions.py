"""`asgi-jwt sessions`: what an operator sees of a subject's sessions, and ends."""

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from support.command_line import CommandLine
from support.sqlite_files import locked
from support.valkey import Valkey

from asgi_jwt import Auth, Client, Identity, TokenPair
from asgi_jwt.commands import sessions
from asgi_jwt.errors import InvalidGrant, RevokedToken

T = TypeVar("T")

REFRESH_SECRET = "r" * 32
PHONE = Client("Phone \x1b[31m", "192.0.2.7")


@pytest.fixture(params=["sqlite", "valkey"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store that other processes see."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/sessions.db"
    else:
        server = Valkey(tmp_path)
        yield server.url
        server.stop()


@pytest.fixture
def command(asgi_jwt: CommandLine, store: str) -> CommandLine:
    asgi_jwt.environ.update(REFRESH_SECRET=REFRESH_SECRET, STORE=store)
    return asgi_jwt


def at_service(command: CommandLine, work: Callable[[Auth], Coroutine[Any, Any, T]]) -> T:
    """What the service does meanwhile, with an `Auth` of its own."""

    async def served() -> T:
        environ = {f"ASGI_JWT_{name}": value for name, value in command.environ.items()}
        async with Auth.from_env(environ, clock=command.clock) as auth:
            return await work(auth)

    return anyio.run(served)


def log_in(command: CommandLine, *clients: Client | None, subject: str = "alice") -> list[TokenPair]:
    """A session for each client, a minute apart."""

    async def work(auth: Auth) -> list[TokenPair]:
        pairs = []
        for client in clients:
            pairs.append(await auth.sessions.open(Identity(subject), client))
            command.clock.turn(60)
        return pairs

    return at_service(command, work)


def holds(command: CommandLine, pair: TokenPair) -> bool:
    """Whether the tokens of a session are taken; both are, or none."""

    async def work(auth: Auth) -> bool:
        access = refresh = True
        try:
            await auth.verify(pair.access_token)
        except RevokedToken:
            access = False
        try:
            await auth.sessions.refresh(pair.refresh_token)
        except InvalidGrant:
            refresh = False
        assert access == refresh
        return access

    return at_service(command, work)


def test_list(command: CommandLine) -> None:
    """Each live session with its device, whose name is safe to print, and its times; nobody else's."""
    log_in(command, PHONE, None)
    log_in(command, None, subject="bob")
    told = command("sessions", "list", "alice")
    assert (told.status, told.err) == (0, "")
    lines = told.out.splitlines()
    assert lines[0].endswith(': "Phone \\u001b[31m" at "192.0.2.7"')
    assert lines[4].endswith(": unknown device")
    assert lines[-1] == '2 sessions of "alice"'
    assert "  logged in 2027-01-15 08:00:00 UTC, 3 minutes ago" in told.out
    assert "  ends unless it is used 2027-01-22 08:00:00 UTC, in 7 days" in told.out
    read = command("sessions", "list", "alice", "--json").json["sessions"]
    assert [each["client"] for each in read] == [
        {"user_agent": PHONE.user_agent, "address": PHONE.address},
        {"user_agent": None, "address": None},
    ]
    assert all(f'"{each["sid"]}"' in told.out for each in read)
    assert read[0]["created_at"] == read[0]["used_at"] == command.clock.now - 180
    assert command("sessions", "list", "nobody").out == '0 sessions of "nobody"\n'


def test_revoke(command: CommandLine) -> None:
    """All sessions end, and their access tokens with them; other users and the next login are untouched."""
    alices, (bobs,) = log_in(command, PHONE, None), log_in(command, None, subject="bob")
    told = command("sessions", "revoke", "alice")
    assert told.out == '2 sessions of "alice" ended, and all tokens that it had until now are revoked.\n'
    (again,) = log_in(command, None)
    assert [holds(command, pair) for pair in [*alices, bobs, again]] == [False, False, True, True]
    assert command("sessions", "revoke", "alice", "--json").json == {"ended": 1}
    assert command("sessions", "revoke", "nobody").status == 0


def test_revoke_one(command: CommandLine) -> None:
    """One session ends, and the others go on; another user's is not found."""
    phone, desk = log_in(command, PHONE, None)
    sid = command("sessions", "list", "alice", "--json").json["sessions"][0]["sid"]
    missing = command("sessions", "revoke", "bob", "--sid", sid)
    assert (missing.status, missing.out) == (1, "")
    assert f'"bob" has no live session "{sid}"' in missing.err
    told = command("sessions", "revoke", "alice", "--sid", sid)
    assert told.out == f'The session "{sid}" of "alice" is ended, and its tokens are revoked.\n'
    assert [holds(command, pair) for pair in (phone, desk)] == [False, True]
    assert command("sessions", "revoke", "alice", "--sid", sid).status == 1


def test_where_there_is_nothing_to_see(asgi_jwt: CommandLine, tmp_path: Path) -> None:
    """What another process can't see, and what is not there, is told; no file is made."""
    asgi_jwt.environ |= {"REFRESH_SECRET": REFRESH_SECRET, "STORE": "memory://"}
    assert "in the service's own process" in asgi_jwt("sessions", "list", "alice").err
    asgi_jwt.environ["STORE"] = f"sqlite:///{tmp_path}/sessions.db"
    told = asgi_jwt("sessions", "revoke", "alice")
    assert (told.status, told.out) == (1, "")
    assert "nobody has logged in yet" in told.err
    assert list(tmp_path.iterdir()) == []
    del asgi_jwt.environ["REFRESH_SECRET"]
    assert "ASGI_JWT_REFRESH_SECRET is missing" in asgi_jwt("sessions", "list", "alice").err


def test_a_store_that_is_down(asgi_jwt: CommandLine) -> None:
    """It is told in a line, and the status says that nothing was done."""
    asgi_jwt.environ |= {"REFRESH_SECRET": REFRESH_SECRET, "STORE": "redis://:hush-hush@127.0.0.1:1"}
    told = asgi_jwt("sessions", "revoke", "alice")
    assert (told.status, told.out) == (1, "")
    assert told.err.count("\n") == 1
    assert "hush-hush" not in told.err


def test_a_store_that_hangs(asgi_jwt: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command gives up."""
    path = tmp_path / "sessions.db"
    asgi_jwt.environ |= {"REFRESH_SECRET": REFRESH_SECRET, "STORE": f"sqlite:///{path}"}
    log_in(asgi_jwt, None)
    monkeypatch.setattr(sessions, "STORE_TIMEOUT", 0.1)
    with locked(path):
        assert "no answer within 0.1 s" in asgi_jwt("sessions", "revoke", "alice").err
