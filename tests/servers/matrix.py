"""Frameworks x servers: `python -m servers.matrix`, in the folder `tests`, prints the table of the documentation."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from support.serving import process_serving
from support.waiting import PATIENCE
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.sync.client import connect

from asgi_jwt import Auth, Identity, Settings

SCOPE = "orders:read"
auth = Auth(Settings(issuer="https://issuer.example", audience="orders", secret="0123456789abcdef" * 2))

APPS = "servers.matrix_apps:"
FRAMEWORKS = ("bare", "starlette", "fastapi", "litestar", "quart", "django")
SERVERS = ("uvicorn", "hypercorn", "granian", "daphne")
CASES = ("good", "missing", "bad", "too little")
HTTP = "200 alice, 401 challenge, 401 challenge, 403 challenge"
WEBSOCKET = "101 alice, 401 challenge, 401 challenge, 403 challenge"
BARE = "101 alice, 403, 403, 403"
"""A denied handshake is a 403 without headers where the server has no `websocket.http.response`."""


def headers(case: str) -> dict[str, str]:
    if case == "missing":
        return {}
    token = auth.issuer.access_token(Identity("alice", scopes=SCOPE if case == "good" else "orders"))
    return {"Authorization": f"Bearer {'a.b.c' if case == 'bad' else token}"}


def _told(response: Any) -> str:
    return f"{response.status_code} challenge" if "WWW-Authenticate" in response.headers else str(response.status_code)


def over_http(address: str) -> str:
    """What each case is answered over HTTP."""
    with httpx2.Client(base_url=f"http://{address}", timeout=PATIENCE, trust_env=False) as client:
        answers = [client.get("/orders", headers=headers(case)) for case in CASES]
    return ", ".join(f"200 {told.text}" if told.status_code == 200 else _told(told) for told in answers)


def over_websocket(address: str) -> str:
    """What each case is answered in the handshake of a WebSocket."""
    return ", ".join(_shaken_hands(address, headers(case)) for case in CASES)


def _shaken_hands(address: str, headers: dict[str, str]) -> str:
    try:
        with connect(f"ws://{address}/feed", additional_headers=headers, proxy=None) as websocket:
            received = websocket.recv(timeout=PATIENCE)
            websocket.send("enough")
            return f"101 {received!s}"
    except InvalidStatus as denied:
        return _told(denied.response)
    except InvalidMessage:
        return "no answer"


def cell(framework: str, server: str) -> str:
    """The cell of the table: `ok` where all is as behind uvicorn, else what differs."""
    with TemporaryDirectory() as folder, process_serving(APPS + framework, server, Path(folder, "log")) as address:
        differences = [
            f"HTTP: {told}" if (told := over_http(address)) != HTTP else "",
            "" if (told := over_websocket(address)) == WEBSOCKET else "bare 403" if told == BARE else f"WS: {told}",
        ]
    return "; ".join(filter(None, differences)) or "ok"


def table() -> str:
    """The whole table, in Markdown."""
    rows = [["", *SERVERS], ["---"] * (len(SERVERS) + 1)]
    rows += [[framework, *(cell(framework, server) for server in SERVERS)] for framework in FRAMEWORKS]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(table())  # noqa: T201
