"""The demo: its app in this process, asked by a browser without JavaScript, and served by a process of its own."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from starlette.testclient import TestClient
from support.waiting import PATIENCE

from asgi_jwt import Auth
from asgi_jwt.commands.key_files import make_file
from asgi_jwt.demo.app import build_app
from asgi_jwt.demo.attempts import make_attempts
from asgi_jwt.demo.feed import Feed
from asgi_jwt.demo.flow import session_auth
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.key_rotation import generate_jwk

PASSWORDS = {"alice": "wonderland", "bob": "builder"}
COOKIE = "demo_refresh_token"


class Demo(NamedTuple):
    """A demo that nobody serves. `client` is a browser without JavaScript."""

    client: TestClient
    auth: Auth
    feed: Feed
    clock: Clock

    def log_in(self, username: str = "alice") -> str:
        """The access token; the refresh token is in the client's jar."""
        answer = self.client.post("/auth/login", json={"username": username, "password": PASSWORDS[username]})
        token: str = answer.raise_for_status().json()["access_token"]
        return token

    def become(self, cookie: str) -> None:
        """The browser has this refresh token, and no other one."""
        self.client.cookies.clear()
        self.client.cookies.set(COOKIE, cookie, domain="127.0.0.1", path="/auth")

    def refresh(self) -> int:
        return self.client.post("/auth/refresh").status_code

    def replay(self) -> str:
        """The verdict on the thief's copy."""
        verdict: str = self.client.post("/auth/demo/replay").json().get("verdict", "nothing stolen")
        return verdict


@contextmanager
def demo_in_process() -> Iterator[Demo]:
    """A demo with a clock to turn."""
    clock = Clock(1_000)
    feed = Feed(clock)
    with TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.json"
        make_file(keys, [generate_jwk("EdDSA")])
        auth = session_auth(keys, "r" * 32, Path(folder), on_event=feed, clock=clock)
        app = build_app(auth, PASSWORDS, feed, make_attempts(keys, clock=clock))
        with TestClient(app, base_url="http://127.0.0.1:8000") as client:
            yield Demo(client, auth, feed, clock)


def commands(told: str) -> list[tuple[int, str]]:
    """The curl lines in what the demo prints, each behind the status that it announces."""
    return [(int(status), command) for status, command in re.findall(r"^# .*: (\d+)\n(curl .*)$", told, re.MULTILINE)]


@contextmanager
def demo_process() -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`python -m asgi_jwt demo` on a free port, and what it has printed, to the last line."""
    command = [sys.executable, "-m", "asgi_jwt", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        try:
            told = ""
            while "\n# The session has ended " not in told and (line := demo.stdout.readline()):
                told += line
            yield demo, told + demo.stdout.readline()
        finally:
            demo.terminate()  # and not killed at once, for it has keys to remove
            try:
                demo.wait(PATIENCE)
            finally:
                demo.kill()
