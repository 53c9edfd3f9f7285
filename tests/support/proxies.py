"""A proxy on this machine, which tunnels to the servers that it is asked for."""

import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from threading import Thread

from support.waiting import PATIENCE


class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = True


class Proxy:
    """An HTTP proxy for `user` with `password`. `asked` holds each server that was asked for."""

    def __init__(self, address: str, password: str) -> None:
        self.asked: list[str] = []
        self.address = address
        self.url = f"http://user:{password}@{address}"
        self.authorization = "Basic " + b64encode(f"user:{password}".encode()).decode()


@contextmanager
def proxy(password: str) -> Iterator[Proxy]:
    """A proxy that serves until the end of it."""
    server = _Server(("127.0.0.1", 0), BaseHTTPRequestHandler)
    served = Proxy(f"127.0.0.1:{server.server_address[1]}", password)
    server.RequestHandlerClass = _handler_of(served)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler_of(served: Proxy) -> type[BaseHTTPRequestHandler]:
    class Tunnel(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            served.asked.append(self.path)
            if self.headers.get("Proxy-Authorization") != served.authorization:
                self.send_error(407)
                return
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=PATIENCE) as there:
                self.send_response(200)
                self.end_headers()
                back = Thread(target=_copy, args=(there, self.connection))
                back.start()
                _copy(self.connection, there)
                back.join()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    return Tunnel


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while received := source.recv(65536):
            sink.sendall(received)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
