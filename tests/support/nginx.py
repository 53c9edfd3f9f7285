"""Debian's nginx as a proxy on loopback, in a process of the test."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getuser
from pathlib import Path

from support.outside import program
from support.waiting import PATIENCE

CONFIG = """
daemon off; worker_processes 1; user {user}; pid {folder}/pid; error_log {folder}/error.log; events {{}}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {config}
}}
"""
_SERVER = "server {{ listen 127.0.0.1:{port}{tls}; proxy_http_version 1.1; {server} }}"


@contextmanager
def nginx(folder: Path, server: str, *, tls: bool = False) -> Iterator[int]:
    """The port of an nginx whose server block is `server`; its files are in `folder`. `tls`: it serves https."""
    path = program("nginx")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        config = folder / "nginx.conf"
        block = _SERVER.format(port=port, server=server, tls=" ssl" if tls else "")
        config.write_text(CONFIG.format(user=getuser(), folder=folder, config=block))
        # nginx goes on with a socket that it inherits: whoever connects from now on waits for it.
        process = subprocess.Popen(
            [path, "-e", f"{folder}/error.log", "-p", str(folder), "-c", str(config)],
            env={**os.environ, "NGINX": f"{listener.fileno()};"},
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE)
