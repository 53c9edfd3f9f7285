"""Root paths under real servers: one that the operator set counts, one that a client names does not."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from support.serving import process_serving
from support.waiting import PATIENCE
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

TESTS = Path(__file__).parents[1]
APP = "servers.routers:app"
SETTINGS = {
    "ASGI_JWT_ISSUER": "https://issuer.example",
    "ASGI_JWT_AUDIENCE": "https://api.example",
    "ASGI_JWT_SECRET": "a secret of more than thirty-two bytes, for HS256",
}
WARNING = "Daphne lets each client name it in the header Daphne-Root-Path"

ROUTERS = ["ignoring", "joining", "starlette", "mounting", "litestar", "quart"]
NAMED = ["", "/", "/orders", "/auth", "/auth/", "auth", "/orders/auth", "/auth%2f", "/%61uth", "/x", "/auth/orders"]
PATHS = ["/orders/auth/7", "/auth/orders/7", "/auth/7", "/auth/auth/orders/7", "/authorders/7", "/x/auth/7", "/auth"]


def ask(address: str, path: str, router: str, headers: dict[str, str]) -> tuple[int, str]:
    response = httpx2.get(f"http://{address}{path}?{router}", headers=headers, timeout=PATIENCE, trust_env=False)
    return response.status_code, response.text


def open_websocket(address: str, path: str, router: str, headers: dict[str, str]) -> str | None:
    """What the WebSocket was told, None where it was denied."""
    try:
        with connect(f"ws://{address}{path}?{router}", additional_headers=headers, proxy=None) as websocket:
            return str(websocket.recv(timeout=PATIENCE))
    except InvalidStatus:
        return None


@pytest.fixture(scope="module")
def daphne(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("daphne") / "log"
    with process_serving(APP, "daphne", log, **SETTINGS) as address:
        yield address
    assert log.read_text().count(WARNING) == 1
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("router", ROUTERS)
def test_a_root_path_that_a_client_names(daphne: str, router: str) -> None:
    """Under Daphne, no header makes a router serve a private path to a request without a token, nor a public path a
    private one."""
    with httpx2.Client(base_url=f"http://{daphne}", timeout=PATIENCE, trust_env=False) as client:
        for path in PATHS:
            plain = client.get(f"{path}?{router}")
            assert (plain.status_code == 401) == (not f"{path}/".startswith("/auth/"))
            for named in NAMED:
                answer = client.get(f"{path}?{router}", headers={"Daphne-Root-Path": named})
                assert (answer.status_code, answer.text) == (plain.status_code, plain.text), named


@pytest.mark.parametrize("router", ["ignoring", "joining", "mounting"])
def test_a_root_path_that_a_client_names_for_a_websocket(daphne: str, router: str) -> None:
    """The same holds for WebSockets."""
    for named in ("/orders", "/auth", "/x"):
        headers = {"Daphne-Root-Path": named}
        assert open_websocket(daphne, "/orders/auth/7", router, headers) is None
        assert open_websocket(daphne, "/auth/orders/7", router, headers) == "auth"


@pytest.mark.outside
def test_the_root_path_of_the_setting(tmp_path: Path) -> None:
    """Under Daphne with a root path of its own, `ROOT_PATH` is what counts, whatever a client names."""
    log, option = tmp_path / "log", ("--root-path", "/api")
    with process_serving(APP, "daphne", log, *option, **SETTINGS, ASGI_JWT_ROOT_PATH="/api") as address:
        for router in ("starlette", "litestar", "quart"):
            assert ask(address, "/api/auth/7", router, {}) == (200, "auth")
            assert ask(address, "/api/orders/7", router, {})[0] == 401
        assert WARNING not in log.read_text()
        for router in ("starlette", "litestar", "quart"):
            for named in ("", "/", "/api/orders", "/orders", "/api/auth"):
                assert ask(address, "/api/auth/orders/7", router, {"Daphne-Root-Path": named}) == (200, "auth")
                assert ask(address, "/api/orders/auth/7", router, {"Daphne-Root-Path": named})[0] == 401
                assert ask(address, "/orders/auth/7", router, {"Daphne-Root-Path": named})[0] == 401
        assert open_websocket(address, "/api/auth/7", "mounting", {}) == "auth"


@pytest.mark.outside
@pytest.mark.parametrize(
    ("server", "option"), [("uvicorn", "--root-path"), ("hypercorn", "--root-path"), ("granian", "--url-path-prefix")]
)
def test_the_root_path_of_a_server(server: str, option: str, tmp_path: Path) -> None:
    """The other servers' own root path counts without a setting, behind a proxy that strips it or not."""
    with process_serving(APP, server, tmp_path / "log", option, "/api", **SETTINGS) as address:
        # uvicorn puts it in front of every path.
        prefix = "" if server == "uvicorn" else "/api"
        for router in ("starlette", "litestar"):
            assert ask(address, f"{prefix}/auth/7", router, {"Daphne-Root-Path": "/orders"}) == (200, "auth")
            assert ask(address, f"{prefix}/orders/auth/7", router, {"Daphne-Root-Path": "/orders"})[0] == 401
            assert ask(address, f"{prefix}/auth/a%20b%C3%A4/", router, {}) == (200, "auth")
            assert ask(address, f"{prefix}/auth/%252e%252e/orders/7", router, {})[0] == 401
        assert open_websocket(address, f"{prefix}/auth/7", "mounting", {}) == "auth"
        assert open_websocket(address, f"{prefix}/orders/7", "mounting", {}) is None
