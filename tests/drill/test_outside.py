"""Whole drills of real deployments: the demo, nginx with TLS and a prefix, two workers, peers."""

import json
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.app import PASSWORDS
from support.certificates import Authority
from support.demo import demo_process
from support.deployments import Site, deployment, served_site
from support.nginx import nginx
from support.processes import ENVIRONMENT
from support.serving import process_serving

from asgi_jwt import MemoryStore

pytestmark = pytest.mark.outside

LOGIN = ("username=alice", f"password={PASSWORDS['alice']}")
STRIPS = "location /api/ { proxy_pass http://APP/; proxy_set_header Host HOST; }"


class Drilled:
    """What a drill of the command printed: the checks by their names."""

    def __init__(self, printed: str) -> None:
        self.report = json.loads(printed)
        self.checks = {check["name"]: check for check in self.report["checks"]}
        assert self.report["seconds"] <= 240
        assert self.report["requests"] <= 500

    @property
    def broken(self) -> set[str]:
        return {name for name, check in self.checks.items() if check["holds"] is False}

    def mend(self, name: str) -> str:
        mend: str = self.checks[name]["mend"]
        return mend


def drill(url: str, api: str = "/api/me", login: tuple[str, ...] = LOGIN, **environ: str) -> Drilled:
    """Run the command in a process of its own, as users do."""
    words = [sys.executable, "-m", "asgi_jwt", "drill", url, "--api", api, "--login", *login, "--json"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300, env={**ENVIRONMENT, **environ})
    assert ended.stderr == ""
    drilled = Drilled(ended.stdout)
    assert ended.returncode == (0 if drilled.report["holds"] else 1)
    assert PASSWORDS["alice"] not in ended.stdout
    return drilled


@pytest.fixture
def site() -> Iterator[Site]:
    with served_site() as served:
        yield served


def test_demo() -> None:
    """All promises hold in the demo."""
    with demo_process() as (_, told):
        (password,) = re.findall(r"^  alice (\S+)$", told, re.MULTILINE)
        (url,) = re.findall(r"^Open (\S+)/ to", told, re.MULTILINE)
        drilled = drill(f"{url}/auth", login=("username=alice", f"password={password}"))
    assert drilled.broken == set()
    assert [name for name, check in drilled.checks.items() if check["holds"] is None] == ["metadata"]


@contextmanager
def behind_nginx(tmp_path: Path, site: Site, host: str, **settings: Any) -> Iterator[tuple[str, str]]:
    """The URL of `AuthApp` behind an nginx that strips `/api` and ends TLS, and the file of its authority."""
    site.app = deployment(**settings)
    authority = Authority(tmp_path)
    authority.certify(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    server = STRIPS.replace("APP", site.origin.removeprefix("http://")).replace("HOST", host)
    tls = f"ssl_certificate {tmp_path}/server.pem; ssl_certificate_key {tmp_path}/server.pem;"
    with nginx(tmp_path, f"{tls} {server}", tls=True) as port:
        yield f"https://127.0.0.1:{port}/api/auth", str(authority.path)


def test_nginx(tmp_path: Path, site: Site) -> None:
    """A proxy that strips a prefix and drops the port of Host is named, and so is a cookie that is not Secure."""
    with behind_nginx(tmp_path, site, "$host", cookie_secure=False) as (url, authority):
        drilled = drill(url, "/api/api/me", SSL_CERT_FILE=authority)
        assert drilled.broken == {"refresh cookie", "own site"}
        assert "ASGI_JWT_COOKIE_PATH=/api/auth" in drilled.mend("refresh cookie")
        assert "unset ASGI_JWT_COOKIE_SECURE" in drilled.mend("refresh cookie")
        assert "proxy_set_header Host $http_host" in drilled.mend("own site")
        untrusted = drill(url, "/api/api/me")
        assert "SSL_CERT_FILE" in untrusted.mend("login")
        assert "CERTIFICATE_VERIFY_FAILED" in untrusted.checks["login"]["seen"]


def test_nginx_mended(tmp_path: Path, site: Site) -> None:
    """With the mends all promises hold behind the same proxy, with the default grace, within the time."""
    settings: dict[str, Any] = {"cookie_secure": True, "cookie_name": "__Secure-refresh_token", "grace": 30}
    with behind_nginx(tmp_path, site, "$http_host", cookie_path="/api/auth", **settings) as (url, authority):
        drilled = drill(url, "/api/api/me", SSL_CERT_FILE=authority)
    assert drilled.broken == set()
    assert drilled.checks["theft"]["holds"] is True
    assert len(site.hosts) == 1


def test_two_workers(tmp_path: Path) -> None:
    """Two workers with memory:// are named, with one store as the mend."""
    options = ("--factory", "--workers", "2")
    log, settings = tmp_path / "log", {"DEPLOYMENT": json.dumps({"grace": 3})}
    with process_serving("support.deployments:from_environment", "uvicorn", log, *options, **settings) as address:
        drilled = drill(f"http://{address}/auth")
    assert "one store" in drilled.broken
    assert "memory:// is for one process alone" in drilled.mend("one store")
    assert {drilled.mend(name) for name in drilled.broken} == {drilled.mend("one store")}


def test_late_logout(site: Site) -> None:
    """A logout that takes 30 s to be seen is named, with its time."""
    site.app = deployment(store=MemoryStore(), api={"revocation_interval": 30, "revocation_max_staleness": 60})
    drilled = drill(f"{site.origin}/auth")
    assert drilled.broken == {"logout"}
    assert re.search(r"for (2[5-9]|3\d)\.\d s after the logout", drilled.checks["logout"]["seen"])
    assert "REVOCATION_INTERVAL to 1" in drilled.mend("logout")


@pytest.mark.parametrize("peer", ["authx_app", "simplejwt_app"])
def test_peers(tmp_path: Path, peer: str) -> None:
    """An app of a peer is drilled to the end, and what it lacks is named."""
    log, file = tmp_path / "log", {"PEER_FILE": str(tmp_path / "db.sqlite3")}
    with process_serving(f"support.peers:{peer}", "uvicorn", log, "--factory", **file) as address:
        drilled = drill(f"http://{address}/auth")
        bare = drill(f"http://{address}/auth/bare")
    assert drilled.checks["login"]["holds"]
    assert drilled.checks["forged access tokens"]["holds"]
    assert drilled.broken >= {"refresh cookie", "the drill's sessions"}
    assert bare.broken == {"login"}
