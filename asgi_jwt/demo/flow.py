"""The demo of a session from its login to its theft: an `Auth` with sessions in a file, and commands for a shell."""

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
"""How long (s) to wait until a token of the current generation is old enough to be rotated."""


def session_auth(
    keys: Path,
    refresh_secret: str,
    home: Path,
    *,
    on_event: OnEvent | None = None,
    clock: Callable[[], float] = time.time,
) -> Auth:
    """The demo's `Auth`, with its sessions in a file of the directory `home`, and a cookie for plain http.

    Grace and token lives are short, so that everything can be seen within a minute.
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
    """The lines for a shell: before each command a comment with its purpose and status. `home` has the cookie jars."""
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
