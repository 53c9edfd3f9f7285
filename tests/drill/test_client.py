"""The drill's requests: within bounds, to one server, whatever it answers."""

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread

import anyio
import pytest
from support.app import credentials
from support.deployments import Site, deployment
from support.waiting import PATIENCE

from asgi_jwt.commands.output import CommandError
from asgi_jwt.drill import client as bounds
from asgi_jwt.drill import drill
from asgi_jwt.drill.client import http_client
from asgi_jwt.drill.outcome import Result
from asgi_jwt.drill.run import run_drill
from asgi_jwt.drill.target import Target

ODD = b"eyJhbGciOltdLCJraWQiOnt9fQ.eyJpYXQiOjFlMzA4LCJleHAiOiIifQ.!"
"""A token whose header and payload have members of other types."""
Serve = Callable[[socket.socket], None]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def sends(content: bytes, times: int = 1) -> Serve:
    def serve(connection: socket.socket) -> None:
        for _ in range(times):
            connection.sendall(content)

    return serve


def resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def waits(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
    connection.recv(1)  # until the client goes away


@contextmanager
def hostile(serve: Serve) -> Iterator[str]:
    """The origin of a server that reads each request, and then does `serve`."""

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(PATIENCE)
            request = b""
            while b"\r\n\r\n" not in request or (b"/login " in request and not request.endswith(b"}")):
                request += connection.recv(65536) or b"\r\n\r\n}"
            serve(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                Thread(target=answer, args=[listener.accept()[0]], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE)


def drilled(origin: str) -> dict[str, Result]:
    """The results of a drill, by their names."""

    async def run() -> dict[str, Result]:
        target = Target(origin, "/auth", "/api/me")
        report = await run_drill(target, credentials(), clock=time.time, progress=lambda *_: None)
        return {result.name: result for result in report.results}

    return anyio.run(run)


@pytest.mark.parametrize(
    ("serve", "seen"),
    [
        (lambda connection: None, "no answer: "),
        (resets, "no answer: "),
        (sends(b"HTTP/1.1 nonsense\r\n\r\n"), "no answer: "),
        (sends(HEAD + b"X: " + b"x" * 200_000 + b"\r\n\r\n"), "no answer: "),
        (sends(HEAD + b"Content-Length: 10\r\n\r\n{"), "no answer: "),
        (sends(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "no answer: "),
        (waits, "no answer: no whole answer within 0.2 s"),
        (sends(HEAD + b"\r\n", 1), "answered 200"),
        (sends(HEAD + b"\r\n" + b"[" * 300_000), "answered 200"),
        (sends(HEAD + b'\r\n{"access_token": ["wonderland"]}'), "answered 200"),
        (sends(HEAD + b'\r\n{"access_token": "\xff"}'), "answered 200"),
        (sends(b"HTTP/1.1 401 No\r\n\r\n" + b'{"error": "wonderland"}'), "answered 401"),
        (sends(b"HTTP/1.1 302 Found\r\nLocation: http://drill.invalid/\r\n\r\n"), "answered 302"),
    ],
)
def test_hostile(monkeypatch: pytest.MonkeyPatch, serve: Serve, seen: str) -> None:
    """A server that answers nonsense, too much, too slowly or nothing breaks the login's promise, and nothing else."""
    monkeypatch.setattr(bounds, "REQUEST_TIMEOUT", 0.2 if serve is waits else PATIENCE)
    with hostile(serve) as origin:
        results = drilled(origin)
    assert seen in results["login"].seen
    assert "wonderland" not in results["login"].seen
    assert {result.holds for name, result in results.items() if name != "login"} == {None}


@pytest.mark.parametrize(
    "more",
    [
        b"",
        b', "refresh_token": 1, "keys": [1, {"kty": "RSA", "n": 1, "e": {}}, {"kty": "EC", "d": "x"}], "sessions": [1]',
        b', "refresh_token": "..", "keys": {"kty": []}, "issuer": [], "sessions": [{"sid": 1, "client": 1}]',
        b', "refresh_token": "\\u0000\\ud83d\\ude00.b.c", "keys": [{"kty": "RSA", "kid": {}}]',
    ],
)
@pytest.mark.parametrize(
    "token", [b"e30.e30.e30", b"eyJhbGciOltdLCJraWQiOnt9fQ.eyJpYXQiOjFlMzA4LCJleHAiOiIifQ.!", b"\\n"]
)
def test_garbage(monkeypatch: pytest.MonkeyPatch, token: bytes, more: bytes) -> None:
    """A server that answers all with the same garbage, however shaped, keeps no drill from its end."""
    monkeypatch.setattr(drill, "PATIENCE", 0.0)
    answer = HEAD + b"Set-Cookie: a=b; path; =; ;;\r\nDate: x\r\n\r\n" + b'{"access_token": "%s"%s}' % (token, more)
    with hostile(sends(answer)) as origin:
        results = drilled(origin)
    assert results["public paths"].holds is False


def test_nobody_listens() -> None:
    """A port where nobody listens is said to give no answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert "no answer: " in drilled(origin)["login"].seen


def test_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Date and without iat the clock is not known."""
    monkeypatch.setattr(drill, "PATIENCE", 0.0)
    with hostile(sends(HEAD + b'\r\n{"access_token": "e30.e30.e30"}')) as origin:
        assert "neither Date nor a token with iat" in drilled(origin)["clock"].seen


def test_too_many(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The drill sends no more requests than it may, and keeps some for ending its sessions."""
    monkeypatch.setattr(bounds, "MAX_REQUESTS", 60)
    site.app = deployment(grace=0)
    results = drilled(site.origin)
    assert results["clock"].seen == "the drill sends 60 requests at most"
    assert results["the drill's sessions"].holds is True


def test_without_httpx2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without httpx2 the drill says what to install, and with an unusable proxy what to correct."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://user:wonderland@proxy.example")
    with pytest.raises(CommandError, match="HTTPS_PROXY, HTTP_PROXY, ALL_PROXY or NO_PROXY can't be used"):
        http_client(True)
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(CommandError, match="pip install httpx2"):
        http_client(False)
