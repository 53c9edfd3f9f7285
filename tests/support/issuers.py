"""An issuer on this machine, over real HTTP: every answer of it is scripted, and every request counted."""

import json
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Self
from urllib.parse import parse_qsl

from anyio import to_thread, wait_all_tasks_blocked
from support.tokens import NOW
from support.waiting import PATIENCE

from asgi_jwt.errors import UnknownKey
from asgi_jwt.events import Event, EventSink
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.key_source import candidates
from asgi_jwt.tokens.remote_keys import RemoteKeySet

JWKS = "/jwks"
OPENID = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"

# What an endless answer sends at most, so that a client that reads it all still ends.
_ENDLESS = 10_000


@dataclass(frozen=True)
class Answer:
    """What a path answers; `endless`: the body again and again; `stalls`: but for its last byte, which never comes."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    endless: bool = False
    stalls: bool = False


class IssuerServer:
    """Serves on loopback, from a thread, until it is closed. `requests` holds the path of each request, `forms` the
    form of each POST.

    `tls` makes it an https server, certified as the context says at each request.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.forms: list[dict[str, str]] = []
        self._answers: dict[str, Answer] = {}
        self._arrived = threading.Semaphore(0)
        self._open = threading.Event()
        self._open.set()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        if tls is not None:
            # The handshake takes place in each connection's thread.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.issuer = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        self.jwks_url = self.issuer + JWKS

    def answer(
        self,
        path: str,
        content: object,
        *,
        status: int = 200,
        endless: bool = False,
        stalls: bool = False,
        **headers: str,
    ) -> None:
        """From now on `path` answers so: bytes as they are, anything else as JSON. `_` in a header's name is `-`."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._answers[path] = Answer(body, status, named, endless, stalls)

    def publish(self, *jwks: object, cache_control: str = "") -> None:
        """From now on these are the keys."""
        self.answer(JWKS, {"keys": list(jwks)}, cache_control=cache_control)

    def describe(self, path: str = OPENID, **members: Any) -> None:
        """From now on there is metadata at `path`, which leads to the keys."""
        described = {"issuer": self.issuer, "jwks_uri": self.jwks_url} | members
        self.answer(path, {name: value for name, value in described.items() if value is not None})

    def fail(self, *paths: str) -> None:
        """From now on these paths, all if none is named, answer 500."""
        for path in paths or tuple(self._answers):
            self.answer(path, b"", status=500)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Requests are taken, and answered only at the end of it."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def stall(self) -> None:
        """Until it is closed."""
        self._closing.wait(PATIENCE)

    async def request(self) -> None:
        """Until the next request has arrived."""
        assert await to_thread.run_sync(lambda: self._arrived.acquire(timeout=PATIENCE))

    def count(self, path: str = JWKS) -> int:
        return self.requests.count(path)

    def answer_to(self, path: str, headers: Iterable[tuple[str, str]]) -> Answer:
        self.requests.append(path)
        self.headers.append({name.lower(): value for name, value in headers})
        self._arrived.release()
        self._open.wait(PATIENCE)
        return self._answers.get(path, Answer(b"", 404))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingMixIn, TCPServer):
    """Its threads are joined when it closes."""

    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is what some tests are about."""


def _handler_of(issuer: IssuerServer) -> type[BaseHTTPRequestHandler]:
    class Requests(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = issuer.answer_to(self.path, self.headers.items())
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if not answer.endless:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if answer.stalls:
                self.wfile.write(answer.body[:-1])
                issuer.stall()
                return
            for _ in range(_ENDLESS if answer.endless else 1):
                self.wfile.write(answer.body)

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            issuer.forms.append(dict(parse_qsl(form, strict_parsing=True)))
            self.do_GET()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    return Requests


FRESH = 600
HOUR = 3600


class Remote:
    """A `RemoteKeySet` with a clock to turn, and the events it told."""

    def __init__(self, url: str | None = None, **settings: Any) -> None:
        self.clock = Clock(NOW)
        self.heard: list[Event] = []
        self.keys = RemoteKeySet(url, clock=self.clock, events=EventSink(self.heard.append), **settings)

    async def knows(self, kid: str = "a") -> bool:
        """Whether a key of that name is there to verify with."""
        try:
            return bool(await candidates(self.keys, kid, "ES256"))
        except UnknownKey:
            return False


async def settled(remote: Remote, server: IssuerServer, requests: int, *, fetches: int | None = None) -> None:
    """Until the fetch that goes on behind the requests is over: the last of so many, with so many requests for keys."""
    while server.count() < requests:
        await server.request()
    while remote.keys._flight.under_way:
        await remote.keys._flight.wait()
    await wait_all_tasks_blocked()
    assert (server.count(), len(remote.heard)) == (requests, requests if fetches is None else fetches)
