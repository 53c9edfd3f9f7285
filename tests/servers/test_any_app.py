"""The same behaviour around any ASGI app, under any server: real requests over loopback."""

import json
from collections.abc import Iterator
from threading import Event
from typing import Any, NamedTuple

import httpx2
import pytest
from servers.apps import APPS
from support.app import bearer_challenge
from support.serving import SERVERS
from support.waiting import PATIENCE
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from asgi_jwt import Auth, Settings
from asgi_jwt.testing import FakeIssuer, fake_issuer

ALICE = {"subject": "alice", "scopes": ["orders:read", "orders:write"]}
outside = pytest.mark.outside
CHALLENGE = 'Bearer realm="api"'


class Service(NamedTuple):
    address: str
    client: httpx2.Client
    issue: FakeIssuer
    gate: Event

    def alice(self, **identity: Any) -> dict[str, str]:
        return self.issue("alice", scopes=ALICE["scopes"], **identity)


# Every day each app meets one server, and each server one app.
PAIRS = [
    pytest.param((app, server), id=f"{app}-{server}", marks=() if "uvicorn" in server or app == "bare" else outside)
    for app in APPS
    for server in SERVERS
]


@pytest.fixture(params=PAIRS, scope="module")
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    app, server = request.param
    auth = Auth(Settings(issuer="https://issuer.example", audience="orders", secret="0123456789abcdef" * 2))
    gate = Event()
    with (
        fake_issuer(auth) as issue,
        SERVERS[server](APPS[app](auth, gate)) as address,
        httpx2.Client(base_url=f"http://{address}", timeout=PATIENCE, trust_env=False) as client,
    ):
        yield Service(address, client, issue, gate)


NO_TOKEN = "The request has no Bearer token"


def test_no_token(service: Service) -> None:
    """A request without a token gets a 401 whose challenge names no error."""
    response = service.client.get("/me")
    assert (response.status_code, response.json()) == (401, {"error_description": NO_TOKEN})
    assert bearer_challenge(response.headers["www-authenticate"]) == CHALLENGE
    assert response.headers["cache-control"] == "no-store"


def test_good_token(service: Service) -> None:
    """A good token reaches the app, which is told the subject and the scopes."""
    response = service.client.get("/me", headers=service.alice())
    assert (response.status_code, response.json()) == (200, ALICE)


def test_expired_token(service: Service) -> None:
    """An expired token gets a 401 that says so, in the challenge and in the body."""
    response = service.client.get("/me", headers=service.alice(expires_in=-60))
    assert response.status_code == 401
    assert response.json() == {"error": "invalid_token", "error_description": "The access token expired"}
    assert bearer_challenge(response.headers["www-authenticate"]) == (
        f'{CHALLENGE}, error="invalid_token", error_description="The access token expired"'
    )


def test_public_path(service: Service) -> None:
    """A public path answers everyone, and takes nobody for somebody."""
    for headers in ({}, service.alice(), service.alice(expires_in=-60)):
        response = service.client.get("/health", headers=headers)
        assert (response.status_code, response.json()) == (200, {"subject": None, "scopes": []})


def test_streaming_response(service: Service) -> None:
    """A streamed response reaches the client part by part."""
    service.gate.clear()
    with service.client.stream("GET", "/stream", headers=service.alice()) as response:
        parts = response.iter_raw()
        assert next(parts) == b"first"
        service.gate.set()
        assert b"".join(parts) == b"second"


def test_websocket_with_a_token(service: Service) -> None:
    """A WebSocket with a good token is accepted, and told the subject and the scopes."""
    with connect(f"ws://{service.address}/ws", additional_headers=service.alice(), proxy=None) as websocket:
        assert json.loads(websocket.recv(timeout=PATIENCE)) == ALICE


@pytest.mark.parametrize("expires_in", [None, -60])
def test_websocket_without_a_good_token(service: Service, expires_in: float | None) -> None:
    """A WebSocket without a token, or with an expired one, is denied in its handshake with the challenge."""
    headers = {} if expires_in is None else service.alice(expires_in=expires_in)
    with pytest.raises(InvalidStatus) as denied:
        connect(f"ws://{service.address}/ws", additional_headers=headers, proxy=None)
    assert denied.value.response.status_code == 401
    assert denied.value.response.headers["WWW-Authenticate"].startswith(CHALLENGE)
