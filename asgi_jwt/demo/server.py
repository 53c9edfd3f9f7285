"""run_demo: serves the demo, and prints what to try on it."""

import secrets
import shlex
import signal
import socket
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from errno import EADDRINUSE
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread, current_thread, main_thread

from asgi_jwt.commands.key_files import make_file
from asgi_jwt.demo.app import build_app
from asgi_jwt.demo.attempts import Attempt, make_attempts
from asgi_jwt.demo.feed import Feed
from asgi_jwt.demo.flow import USERS, flow_commands, session_auth
from asgi_jwt.tokens.key_rotation import generate_jwk

ADDRESS = "127.0.0.1"
"""The loopback address: the demo shows its passwords to everyone who can reach it."""

SHUTDOWN_TIMEOUT = 2
"""How long (s) the server waits at its end for answers that are not complete."""


class DemoError(Exception):
    """The demo can't be served. The message says what to do."""


def run_demo(
    port: int, write: Callable[[str], None], *, browse: bool = False, clock: Callable[[], float] = time.time
) -> None:
    """Serve the demo until Ctrl-C. Its keys, passwords and sessions are new, and are deleted at the end.

    `port`: 0 takes a free one. `write`: called with the instructions. `browse`: open the page in the browser. `clock`
    returns seconds since the epoch. Raises `DemoError` if uvicorn or pwdlib is not installed, or the port is not free.
    """
    try:
        import pwdlib  # noqa: F401
        import uvicorn
    except ModuleNotFoundError:
        raise DemoError("the demo takes uvicorn and pwdlib: pip install uvicorn 'pwdlib[argon2]'") from None

    feed = Feed(clock)

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            feed.close()
            await super().shutdown(sockets)

    with _listen(port) as listener, _signals_as_ctrl_c(), TemporaryDirectory(prefix="asgi-jwt-demo-") as directory:
        home = Path(directory)
        keys, refresh_secret = home / "keys.json", secrets.token_urlsafe(48)
        make_file(keys, [generate_jwk("EdDSA")])
        passwords = {user: secrets.token_hex(6) for user in USERS}
        attempts = make_attempts(keys, clock=clock)
        auth = session_auth(keys, refresh_secret, home, on_event=feed, clock=clock)
        app = build_app(auth, passwords, feed, attempts)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=SHUTDOWN_TIMEOUT)
        url = f"http://{ADDRESS}:{listener.getsockname()[1]}"
        write(_instructions(url, attempts, passwords, home))
        if browse:
            # A thread opens the browser, because a browser in this terminal would block the demo's start.
            Thread(target=webbrowser.open, args=(f"{url}/",), daemon=True).start()
        with suppress(KeyboardInterrupt):
            Server(config).run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as fault:
        why = "is taken" if fault.errno == EADDRINUSE else f"can't be had ({fault.strerror})"
        raise DemoError(f"port {port} {why}: choose another with --port, 0 for any free one") from None


@contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """Within the block `kill` and a closed terminal end the demo as Ctrl-C does, so that its keys are deleted."""
    numbers = {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}  # Windows has no SIGHUP
    with ExitStack() as restored:
        # Only the main thread may set handlers. A signal that `nohup` ignores stays ignored.
        for number in numbers if current_thread() is main_thread() else ():
            if signal.getsignal(number) is signal.SIG_DFL:
                restored.callback(signal.signal, number, signal.SIG_DFL)
                signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
        yield


def _instructions(url: str, attempts: list[Attempt], passwords: Mapping[str, str], home: Path) -> str:
    """The text for the terminal: the page's URL, the users, and commands for a shell."""
    lines = [f"Open {url}/ to see it live. Ctrl-C ends the demo.", "", "Users and their passwords, made just now:", ""]
    lines += [f"  {user} {password}" for user, password in passwords.items()]
    lines += ["", "From a shell, each with the status to expect:"]
    for attempt in attempts[:2]:
        lines += ["", f"# {attempt.title}: {attempt.status}", attempt.command(url)]
    lines += ["", f"Keys, sessions and curl's cookies are kept in {home}/ while the demo runs."]
    lines += ["This gives it a new key, and no request fails:", ""]
    # Without an activated environment the shell finds neither `asgi-jwt` nor the right `python`.
    lines += [shlex.join([sys.executable, "-m", "asgi_jwt", "keys", "rotate", f"{home}/keys.json"])]
    for line in flow_commands(url, passwords[USERS[0]], home):
        lines += ["", line] if line.startswith("#") else [line]
    return "\n".join(lines) + "\n"
