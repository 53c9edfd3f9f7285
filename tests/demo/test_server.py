"""The demo, served."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest
import uvicorn
from curl import CURLS, Curl

from asgi_jwt.demo.server import DemoError, base_url, run_demo
from asgi_jwt.testing import Clock

# The attempts with tokens of every kind; login, call and refresh; after a pause a refresh, a theft, and its end.
STATUSES = [401, 200, 401, 401, 401, 200, 200, 200, 200, 401, 401]
PAUSED_BEFORE = 8

Sleep = Callable[[int], object]


def commands(told: str) -> list[tuple[int, str]]:
    """The curl lines in what the demo prints, each behind the status that it announces."""
    return [(int(status), command) for status, command in re.findall(r"^# .*: (\d+)\n(curl .*)$", told, re.MULTILINE)]


def check(told: str, curl: Curl, sleep: Sleep) -> None:
    lines = commands(told)
    assert [status for status, _ in lines] == STATUSES
    (pause,) = re.findall(r"^sleep (\d+)$", told, re.MULTILINE)
    assert told.index(lines[PAUSED_BEFORE - 1][1]) < told.index(f"sleep {pause}") < told.index(lines[PAUSED_BEFORE][1])
    for number, (status, command) in enumerate(lines):
        if number == PAUSED_BEFORE:
            sleep(int(pause))
        assert curl(command).startswith(f"HTTP/1.1 {status} "), command
    (token,) = re.findall(r"^  ([\w-]+\.[\w.-]+)$", told, re.MULTILINE)
    assert token in lines[1][1]
    users = re.findall(r"^  (\w+) ([0-9a-f]{12})$", told, re.MULTILINE)
    assert [user for user, _ in users] == ["alice", "bob"]
    assert len({password for _, password in users}) == 2


@pytest.mark.parametrize("curl", CURLS)
def test_what_it_tells_is_true(curl: Curl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each printed line gets the status that is printed with it, and nothing is left of the demo when it has ended."""
    servers: list[uvicorn.Server] = []
    told: Queue[str] = Queue()
    clock = Clock()

    class Server(uvicorn.Server):
        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            servers.append(self)

    monkeypatch.setattr(uvicorn, "Server", Server)
    demo = Thread(target=run_demo, args=("127.0.0.1", 0, told.put), kwargs={"clock": clock})
    demo.start()
    try:
        instructions = told.get(timeout=20)
        (home,) = re.findall(r"^Sessions, kept in (.*)/ while", instructions, re.MULTILINE)
        check(instructions, curl, clock.turn)
        assert {path.name for path in Path(home).iterdir()} >= {"keys.json", "sessions.db", "first", "second", "third"}
    finally:
        for server in servers:
            server.should_exit = True
        demo.join(20)
    assert not demo.is_alive()
    assert not Path(home).exists()


def test_as_a_process() -> None:
    """`python -m asgi_jwt demo` serves what it prints, and ends with Ctrl-C in silence."""
    with subprocess.Popen(
        [sys.executable, "-m", "asgi_jwt", "demo", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        try:
            told = ""
            while len(commands(told)) < len(STATUSES) and (line := demo.stdout.readline()):
                told += line
            for status, command in commands(told)[:PAUSED_BEFORE]:
                assert CURLS[-1](command).startswith(f"HTTP/1.1 {status} "), command
            demo.send_signal(signal.SIGINT)
            assert demo.communicate(timeout=20) == ("", "")
            assert demo.returncode == 0
        finally:
            demo.kill()


def test_port_taken() -> None:
    """A port that another program has is an error that names the option to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DemoError, match=rf"^port {port} is taken: choose another with --port"):
            run_demo("127.0.0.1", port, pytest.fail)


def test_foreign_address() -> None:
    """An address that is not this machine's is an error that names the options."""
    with pytest.raises(DemoError, match="choose another address with --host and --port"):
        run_demo("192.0.2.1", 0, pytest.fail)


def test_without_uvicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where uvicorn is missing, the error is the line that installs it."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(DemoError, match=r"pip install 'asgi_jwt\[demo\]'"):
        run_demo("127.0.0.1", 0, pytest.fail)


def test_base_url() -> None:
    """An IPv6 address stands in brackets (RFC 3986 section 3.2.2)."""
    assert base_url("127.0.0.1", 8000) == "http://127.0.0.1:8000"
    assert base_url("::1", 8000) == "http://[::1]:8000"
