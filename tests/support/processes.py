"""Processes that tests start, let go on, and kill."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.waiting import PATIENCE

import asgi_jwt

TESTS = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{Path(asgi_jwt.__file__).parents[1]}{os.pathsep}{TESTS}"}


class Process:
    """A Python process, which inherits `listener`."""

    def __init__(self, *arguments: str, listener: socket.socket | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            pass_fds=[] if listener is None else [listener.fileno()],
        )
        self.address = "" if listener is None else "127.0.0.1:{1}".format(*listener.getsockname())

    def line(self) -> str:
        """The next line that it has written."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def go_on(self) -> None:
        """Write a line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write("go on\n")
        self.process.stdin.flush()

    def end(self) -> list[str]:
        """The rest of the lines that it has written, when it has ended by itself, and well."""
        written = self.process.communicate(timeout=PATIENCE)[0].splitlines()
        assert self.process.returncode == 0
        return written

    def kill(self) -> list[str]:
        """Kill it: the rest of the lines that it has written whole."""
        self.process.kill()
        return [
            line[:-1] for line in self.process.communicate(timeout=PATIENCE)[0].splitlines(True) if line[-1] == "\n"
        ]


@contextmanager
def running(script: str, *arguments: str) -> Iterator[Process]:
    """A process that runs `script`, no longer than the block."""
    process = Process("-c", script, *arguments)
    try:
        yield process
    finally:
        process.kill()


@contextmanager
def serving(script: Path, *arguments: str) -> Iterator[Process]:
    """A process of the file `script`. Its first argument is the number of the socket that it inherits and serves at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = Process(str(script), str(listener.fileno()), *arguments, listener=listener)
    try:
        yield process
    finally:
        process.kill()
