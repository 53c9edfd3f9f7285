"""The demo, served."""

import re
import signal
import socket
import subprocess
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import Any

import pytest
import uvicorn
from support.curl import CURLS, Curl
from support.demo import commands, demo_process
from support.waiting import PATIENCE

from asgi_jwt.demo.server import DemoError, run_demo
from asgi_jwt.testing import Clock

# No token and a good one; login and refresh; after a pause a refresh, a theft, and its end.
STATUSES = [401, 200, 200, 200, 200, 401, 401]
PAUSED_BEFORE = 4

Sleep = Callable[[int], object]


def check(told: str, curl: Curl, sleep: Sleep) -> None:
    lines = commands(told)
    assert [status for status, _ in lines] == STATUSES
    (pause,) = re.findall(r"^sleep (\d+)$", told, re.MULTILINE)
    assert told.index(lines[PAUSED_BEFORE - 1][1]) < told.index(f"sleep {pause}") < told.index(lines[PAUSED_BEFORE][1])
    for number, (status, command) in enumerate(lines):
        if number == PAUSED_BEFORE:
            sleep(int(pause))
        assert curl(command).startswith(f"HTTP/1.1 {status} "), command
    users = re.findall(r"^  (\w+) ([0-9a-f]{12})$", told, re.MULTILINE)
    assert [user for user, _ in users] == ["alice", "bob"]
    assert len({password for _, password in users}) == 2


@contextmanager
def in_thread(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[str]:
    """A demo in a thread of this process, and what it has printed."""
    servers: list[uvicorn.Server] = []
    told: Queue[str] = Queue()

    class Server(uvicorn.Server):
        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            servers.append(self)

    monkeypatch.setattr(uvicorn, "Server", Server)
    demo = Thread(target=run_demo, args=(0, told.put), kwargs=options)
    demo.start()
    try:
        yield told.get(timeout=PATIENCE)
    finally:
        for server in servers:
            server.should_exit = True
        demo.join(PATIENCE)
    assert not demo.is_alive()


@pytest.mark.parametrize("curl", CURLS)
def test_what_it_tells_is_true(curl: Curl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each printed line gets the status that is printed with it, and nothing is left of the demo when it has ended."""
    clock = Clock()
    monkeypatch.setattr(webbrowser, "open", pytest.fail)
    with in_thread(monkeypatch, clock=clock) as told:
        (home,) = re.findall(r"kept in (.*)/ while", told)
        check(told, curl, clock.turn)
        assert {path.name for path in Path(home).iterdir()} >= {"keys.json", "sessions.db", "first", "second", "third"}
    assert not Path(home).exists()


def test_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to, it opens its page; a browser that does not come back keeps the demo from nothing."""
    opened: Queue[str] = Queue()
    closed = Event()

    def browse(url: str) -> None:
        opened.put(url)
        closed.wait(PATIENCE)

    monkeypatch.setattr(webbrowser, "open", browse)
    with in_thread(monkeypatch, browse=True) as told:
        assert told.startswith(f"Open {opened.get(timeout=PATIENCE)} to see it live.")
        status, command = commands(told)[0]
        assert CURLS[-1](command).startswith(f"HTTP/1.1 {status} ")
    closed.set()


def test_as_a_process() -> None:
    """`python -m asgi_jwt demo` serves what it prints, on this machine alone, and ends with Ctrl-C in silence."""
    with demo_process() as (demo, told):
        assert re.match(r"Open http://127\.0\.0\.1:\d+/ ", told)
        for status, command in commands(told)[:PAUSED_BEFORE]:
            assert CURLS[-1](command).startswith(f"HTTP/1.1 {status} "), command
        (rotate,) = re.findall(r"^.* -m asgi_jwt keys rotate .*$", told, re.MULTILINE)
        subprocess.run(["/bin/sh", "-c", rotate], env={"PATH": ""}, check=True, capture_output=True, timeout=PATIENCE)
        demo.send_signal(signal.SIGINT)
        assert demo.communicate(timeout=PATIENCE) == ("", "")
        assert demo.returncode == 0


STALLED = (
    "POST /auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    "Content-Length: 100\r\nExpect: 100-continue\r\n\r\n"
)


@pytest.mark.parametrize(
    ("request_", "begins"),
    [("GET /demo/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"retry: "), (STALLED, b"100 Continue")],
    ids=["an open page", "a stalled request"],
)
def test_ends_at_once(request_: str, begins: bytes) -> None:
    """Ctrl-C ends the demo beside a page that reads its events, whose stream comes to its end, and beside a client that
    is slow to send what it announced."""
    with demo_process() as (demo, told):
        port = int(re.findall(r"http://127\.0\.0\.1:(\d+)/", told)[0])
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            client.sendall(request_.encode())
            read = b""
            while begins not in read:
                read += client.recv(4096)
            demo.send_signal(signal.SIGINT)
            told, faults = demo.communicate(timeout=PATIENCE)
            while more := client.recv(4096):
                read += more
    assert demo.returncode == 0
    if request_ is not STALLED:
        assert (told, faults, read.endswith(b"\r\n0\r\n\r\n")) == ("", "", True)


@pytest.fixture(params=["SIGTERM", "SIGHUP"])
def end(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that ends programs, as Ctrl-C does, also where these tests themselves ignore either."""
    number = signal.Signals[request.param]
    before = signal.signal(number, signal.SIG_DFL)
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield number
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(number, before)


def test_leaves_nothing_behind(end: signal.Signals) -> None:
    """A `kill` and a terminal that is closed end the demo as Ctrl-C does: no key of its stays behind."""
    with demo_process() as (demo, told):
        (home,) = re.findall(r"kept in (.*)/ while", told)
        assert CURLS[-1](commands(told)[0][1]).startswith("HTTP/1.1 401 ")
        demo.send_signal(end)
        assert (demo.communicate(timeout=PATIENCE), demo.returncode) == (("", ""), 0)
    assert not Path(home).exists()


@pytest.mark.parametrize("ignored", [False, True])
def test_signals_before_it_serves(end: signal.Signals, ignored: bool) -> None:
    """Signals end it before anything is served too; what the process ignores stays ignored, and the process's own ways
    are back when the demo has ended."""
    own = signal.SIG_IGN if ignored else signal.SIG_DFL
    signal.signal(end, own)

    def look(told: str) -> None:
        signal.raise_signal(end)
        assert ignored
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_demo(0, look)
    assert signal.getsignal(end) is own


def test_a_port_that_can_not_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that another program has, or that the system keeps from us, is an error that says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DemoError, match=rf"^port {port} is taken: choose another with --port"):
            run_demo(port, pytest.fail)

    def refuse(address: object) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(DemoError, match=r"^port 80 can't be had \(Permission denied\): choose another with --port"):
        run_demo(80, pytest.fail)


@pytest.mark.parametrize("missing", ["uvicorn", "pwdlib"])
def test_without_its_packages(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Where uvicorn or pwdlib is missing, the error is the line that installs both."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(DemoError, match="pip install uvicorn 'pwdlib"):
        run_demo(0, pytest.fail)
