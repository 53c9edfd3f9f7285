"""Serves the demo, and tells what to try on it."""

import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from errno import EADDRINUSE

from asgi_jwt.demo.app import build_app
from asgi_jwt.demo.attempts import Attempt, demo_auth, make_attempts


class DemoError(Exception):
    """The demo can't be served; the message says what to do."""


def run_demo(host: str, port: int, write: Callable[[str], None]) -> None:
    """Serves the demo until Ctrl-C. `port` 0 takes a free one; `write` is given what there is to read.

    Raises `DemoError` when uvicorn is not installed or the address can't be had.
    """
    try:
        import uvicorn
    except ModuleNotFoundError:
        raise DemoError("the demo is served by uvicorn: pip install 'asgi_jwt[demo]'") from None
    with _listen(host, port) as listener:
        secret = secrets.token_urlsafe(48)
        config = uvicorn.Config(build_app(demo_auth(secret)), log_level="warning")
        write(_instructions(base_url(*listener.getsockname()[:2]), make_attempts(secret)))
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


def _instructions(url: str, attempts: list[Attempt]) -> str:
    token = next(attempt.token for attempt in attempts if attempt.status == 200)
    lines = [
        f"The demo is served on {url}/ and ends with Ctrl-C.",
        "Its key was made just now and goes with it. A token for alice, good for an hour:",
        "",
        f"  {token}",
        "",
        "To try, each with the status to expect:",
    ]
    for attempt in attempts:
        lines += ["", f"# {attempt.title}: {attempt.status}", attempt.command(url)]
    return "\n".join(lines) + "\n"
