"""Serves the demo, and tells what to try on it."""

import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from errno import EADDRINUSE
from pathlib import Path
from tempfile import TemporaryDirectory

from asgi_jwt.commands.key_files import make_file
from asgi_jwt.demo.app import build_app
from asgi_jwt.demo.attempts import Attempt, make_attempts
from asgi_jwt.demo.flow import USERS, flow_commands, session_auth
from asgi_jwt.tokens.key_rotation import generate_jwk


class DemoError(Exception):
    """The demo can't be served; the message says what to do."""


def run_demo(host: str, port: int, write: Callable[[str], None], *, clock: Callable[[], float] = time.time) -> None:
    """Serves the demo until Ctrl-C. `port` 0 takes a free one; `write` is given what there is to read.

    Keys, passwords and sessions are made for it alone and go with it; the tokens' times are the `clock`'s.
    Raises `DemoError` when uvicorn is not installed or the address can't be had.
    """
    try:
        import uvicorn
    except ModuleNotFoundError:
        raise DemoError("the demo is served by uvicorn: pip install 'asgi_jwt[demo]'") from None
    with _listen(host, port) as listener, TemporaryDirectory(prefix="asgi-jwt-demo-") as directory:
        home = Path(directory)
        keys, refresh_secret = home / "keys.json", secrets.token_urlsafe(48)
        make_file(keys, [generate_jwk("EdDSA")])
        passwords = {user: secrets.token_hex(6) for user in USERS}
        app = build_app(session_auth(keys, refresh_secret, home, clock=clock), passwords)
        config = uvicorn.Config(app, log_level="warning")
        url = base_url(*listener.getsockname()[:2])
        write(_instructions(url, make_attempts(keys, clock=clock), passwords, home))
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as fault:
        if fault.errno == EADDRINUSE:
            raise DemoError(f"port {port} is taken: choose another with --port, 0 for any free one") from None
        raise DemoError(f"{fault.strerror}: choose another address with --host and --port") from None


def base_url(host: str, port: int) -> str:
    """Where a browser finds the demo that listens on this address, without a slash behind it."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _instructions(url: str, attempts: list[Attempt], passwords: Mapping[str, str], home: Path) -> str:
    token = next(attempt.token for attempt in attempts if attempt.status == 200)
    lines = [
        f"The demo is served on {url}/ and ends with Ctrl-C.",
        f"Its keys were made just now and go with it. `asgi-jwt keys rotate {home}/keys.json` gives it a new one.",
        "",
        "A token for alice, good for an hour:",
        "",
        f"  {token}",
        "",
        "To try, each with the status to expect:",
    ]
    for attempt in attempts:
        lines += ["", f"# {attempt.title}: {attempt.status}", attempt.command(url)]
    lines += ["", f"Sessions, kept in {home}/ while the demo runs. Users and their passwords:", ""]
    lines += [f"  {user} {password}" for user, password in passwords.items()]
    lines += ["", "To log in, and to see a stolen refresh token end the session:"]
    for line in flow_commands(url, passwords[USERS[0]], home):
        lines += ["", line] if line.startswith("#") else [line]
    return "\n".join(lines) + "\n"
