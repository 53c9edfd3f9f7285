"""The demo's flow."""

import re
from pathlib import Path

import anyio
import pytest

from asgi_jwt.commands.key_files import make_file
from asgi_jwt.demo.flow import GRACE, PAUSE, flow_commands, session_auth
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.key_rotation import generate_jwk

HOME = Path("home")


def test_pause() -> None:
    """The printed pause is longer than the time in which a current token stays as it is."""
    assert PAUSE > 2 * GRACE
    assert f"sleep {PAUSE}" in flow_commands("http://demo.example", "secret", HOME)


def test_commands() -> None:
    """Each command stands below what it does, and its status, and asks the demo alone."""
    lines = list(flow_commands("http://demo.example", "secret", HOME))
    titles, commands = lines[::2], lines[1::2]
    assert all(title.startswith("# ") for title in titles)
    assert [re.sub(r"\S*/|\W.*", "", command) for command in commands] == ["curl"] * 2 + ["sleep"] + ["curl"] * 3
    assert all("http://demo.example/" in command for command in commands if command.startswith("curl"))


@pytest.mark.anyio
async def test_sessions_are_kept_in_the_directory(tmp_path: Path) -> None:
    """The sessions are in a file of the directory that was named, and nowhere else."""
    keys, home = tmp_path / "keys.json", tmp_path / "home"
    make_file(keys, [generate_jwk("EdDSA")])
    home.mkdir()
    async with session_auth(keys, "r" * 32, home, clock=Clock()) as auth:
        assert await auth.sessions.list("alice") == ()
    assert [path.name async for path in anyio.Path(home).iterdir()] == ["sessions.db"]
