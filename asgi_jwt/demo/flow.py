"""A session from its login to its theft: an `Auth` that keeps sessions in a file, and the commands to watch it by."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from asgi_jwt.auth import Auth
from asgi_jwt.demo.attempts import AUDIENCE, ISSUER
from asgi_jwt.events import OnEvent
from asgi_jwt.settings import Settings

USERS = ("alice", "bob")
ACCESS_LIFE = 60
GRACE = 2
PAUSE = 2 * GRACE + 1
"""Seconds after which a token of the current generation is rotated in its turn."""


def session_auth(
    keys: Path,
    refresh_secret: str,
    home: Path,
    *,
    on_event: OnEvent | None = None,
    clock: Callable[[], float] = time.time,
) -> Auth:
    """The demo's `Auth`, its sessions in a file of the directory `home`. Its cookie goes over plain HTTP.

    Its times are short, so that everything can be seen within a minute.
    """
    settings = Settings(
        issuer=ISSUER,
        audience=AUDIENCE,
        keys_file=str(keys),
        access_ttl=ACCESS_LIFE,
        leeway=0,
        refresh_secret=refresh_secret,
        store=f"sqlite:///{home / 'sessions.db'}",
        grace=GRACE,
        cookie_secure=False,
        cookie_name="demo_refresh_token",
    )
    return Auth(settings, on_event=on_event, clock=clock)


def flow_commands(url: str, password: str, home: Path) -> Iterator[str]:
    """The lines for a shell, each below what it does and the status to expect; cookie jars are kept in `home`."""
    first, second, third = (home / name for name in ("first", "second", "third"))
    refresh = f"{url}/auth/refresh -X POST"
    yield "# Log in as alice: 200"
    yield f"curl -i {url}/auth/login -d username=alice -d password={password} -c {first}"
    yield "# Refresh: 200"
    yield f"curl -i {refresh} -b {first} -c {second}"
    yield f"# Wait until the new refresh token is older than twice the grace, which is {GRACE} s here"
    yield f"sleep {PAUSE}"
    yield "# Refresh again: 200"
    yield f"curl -i {refresh} -b {second} -c {third}"
    yield "# Replay the first refresh token, as its thief would: 401"
    yield f"curl -i {refresh} -b {first}"
    yield "# The session has ended for everybody, and the newest token is worth nothing: 401"
    yield f"curl -i {refresh} -b {third}"
