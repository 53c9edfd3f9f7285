"""The proxies' configurations of the documentation, each in a real nginx, Caddy or HAProxy before a real uvicorn."""

import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from getpass import getuser
from pathlib import Path

import pytest
from support.certificates import Authority
from support.examples import follow, uvicorn_serving
from support.nginx import CONFIG
from support.outside import program
from support.pages import DOCS, SECTIONS, Section, sections_of
from support.serving import listens
from support.waiting import PATIENCE, wait_until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

pytestmark = pytest.mark.outside

HOST = "api.example.com"
PROXIED = [each for each in SECTIONS if {"nginx", "caddyfile", "haproxy"} & each.blocks.keys()]
(TRY_IT,) = [each for each in sections_of(DOCS / "servers-and-proxies.md") if each.title == "Try it"]

CADDY = "{{\n admin off\n auto_https off\n http_port 0\n}}\n{config}"


def configured(section: Section, folder: Path, port: int, app: str) -> list[str]:
    """The command that starts the proxy of the section, its configuration changed in addresses and files alone."""
    ((language, (config,)),) = [(key, each) for key, each in section.blocks.items() if key != "sh"]
    config = config.replace("127.0.0.1:8000", f"127.0.0.1:{app}").replace("/etc/ssl/api.example.com.pem", "server.pem")
    path = folder / "proxy.conf"
    if language == "nginx":
        config = config.replace("listen 443", f"listen 127.0.0.1:{port}").replace("server.pem", f"{folder}/server.pem")
        path.write_text(CONFIG.format(folder=folder, user=getuser(), config=config))
        return [program("nginx"), "-e", f"{folder}/log", "-p", str(folder), "-c", str(path)]
    if language == "caddyfile":
        site = f"https://{HOST}:{port} {{\n tls server.pem server.pem\n bind 127.0.0.1"
        path.write_text(CADDY.format(config=config.replace(f"{HOST} {{", site)))
        return [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(path)]
    path.write_text(config.replace("bind :443", f"bind 127.0.0.1:{port}"))
    return [program("haproxy"), "-f", str(path)]


@contextmanager
def proxied(section: Section, folder: Path, app: str) -> Iterator[int]:
    """The port of the proxy, which passes requests on to the port `app`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    command = configured(section, folder, port, app)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env={"HOME": str(folder)})
    try:
        wait_until(lambda: listens(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.mark.parametrize("section", PROXIED, ids=str)
def test_proxy(section: Section, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the proxy, over TLS and HTTP/2, a user logs in, is served, refreshes and logs out, as the page shows."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "main.py").write_text(section.main)
    authority = Authority(tmp_path)
    authority.certify(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), HOST)
    prefix = "/api" if "prefix" in section.title else ""
    (options,) = re.findall(r"uvicorn main:app(.*)", section.blocks["sh"][0])
    with (
        uvicorn_serving(tmp_path, section.page, *options.split()) as app,
        proxied(section, tmp_path, app) as port,
    ):
        reach = f" --cacert {authority.path} --connect-to {HOST}:443:127.0.0.1:{port}"

        def change(shown: str) -> str:
            shown = shown.replace(f"{HOST}/api", f"{HOST}{prefix}").replace("Path=/api", f"Path={prefix}")
            return shown + reach if shown.startswith("curl ") else shown

        variables = follow(TRY_IT, tmp_path, change)
        tls = ssl.create_default_context(cafile=str(authority.path))
        uri = f"wss://{HOST}:{port}{prefix}/news"
        for token, welcomed in ((variables["TOKEN"], True), (variables["ACCESS_TOKEN"], False)):
            headers = {"Authorization": f"Bearer {token}"}
            with nullcontext() if welcomed else pytest.raises(InvalidStatus, match="401"):
                options = {"ssl": tls, "address": ("127.0.0.1", port), "additional_headers": headers, "proxy": None}
                with connect(uri, **options) as websocket:
                    assert websocket.recv(timeout=PATIENCE) == "hello alice"
