"""GraphQL by Strawberry: HTTP and WebSocket, the token in a header, a subprotocol or connectionParams."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from frameworks.graphql_app import PROTOCOL, ConnectionParams, create_app, create_fastapi_app
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect
from strawberry.asgi.test import GraphQLTestClient
from support.app import NO_TOKEN, authorization, make_auth, make_token
from support.serving import uvicorn_serving
from support.waiting import PATIENCE
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from asgi_jwt import Auth, MemoryStore
from asgi_jwt.testing import Clock

APPS: list[Callable[[Auth], Any]] = [create_app, create_fastapi_app]
INIT = {"type": "connection_init", "payload": {}}
SUBSCRIBE = {"id": "1", "type": "subscribe", "payload": {"query": "subscription { names }"}}

every_app = pytest.mark.parametrize("create", APPS)


@every_app
def test_over_http(create: Callable[[Auth], Any]) -> None:
    """Strawberry's own test client is answered with a token, and a field's permission asks for its scopes."""
    auth = make_auth()
    with TestClient(create(auth)) as http:
        client = GraphQLTestClient(http, url="/graphql")
        reader: Any = authorization(auth, scopes="orders:read")
        answer: Any = client.query("{ me orders }", headers=reader)
        assert answer.data == {"me": "alice", "orders": ["an order"]}
        lacking: Any = client.query("{ orders }", headers=dict(authorization(auth)), assert_no_errors=False)
        assert lacking.errors[0]["message"] == "The access token lacks a required scope"
        refused = http.post("/graphql", json={"query": "{ me }"})
        assert (refused.status_code, refused.json()) == (401, NO_TOKEN)
        assert http.post("/graphql", json={}, headers={"Authorization": "Bearer x"}).status_code == 401


def first_name(session: WebSocketTestSession) -> str:
    session.send_json(INIT)
    assert session.receive_json()["type"] == "connection_ack"
    session.send_json(SUBSCRIBE)
    answer: str = session.receive_json()["payload"]["data"]["names"]
    return answer


@every_app
def test_over_a_websocket(create: Callable[[Auth], Any]) -> None:
    """A subscription opens with the token in the header or beside its subprotocol, and is denied without."""
    auth = make_auth(token_sources=["header", "subprotocol"])
    with TestClient(create(auth)) as client:
        with client.websocket_connect("/graphql", [PROTOCOL], headers=authorization(auth)) as session:
            assert str(session.accepted_subprotocol) == PROTOCOL
            assert first_name(session) == "alice"
        with client.websocket_connect("/graphql", [PROTOCOL, "bearer", make_token(auth)]) as session:
            assert str(session.accepted_subprotocol) == PROTOCOL
            assert first_name(session) == "alice"
        for headers in ({}, {"Authorization": "Bearer x"}):
            with pytest.raises(WebSocketDenialResponse) as denied:
                client.websocket_connect("/graphql", [PROTOCOL], headers=headers).__enter__()
            assert denied.value.status_code == 401


@contextmanager
def subscribing(address: str, init: Any) -> Iterator[Any]:
    with connect(f"ws://{address}/graphql", subprotocols=[Subprotocol(PROTOCOL)], proxy=None) as socket:
        socket.send(init if isinstance(init, str) else json.dumps(init))
        yield socket


def params(authorization: object) -> dict[str, Any]:
    return {**INIT, "payload": {"Authorization": authorization}}


@every_app
def test_connection_params(create: Callable[[Auth], Any]) -> None:
    """A token in `connectionParams` opens the subscription, and its revocation closes the socket with 3000."""
    auth = make_auth(store=MemoryStore())
    token = make_token(auth)
    app = ConnectionParams(create(auth))
    with uvicorn_serving(app) as address, subscribing(address, params(f"Bearer {token}")) as socket:
        assert json.loads(socket.recv(PATIENCE))["type"] == "connection_ack"
        socket.send(json.dumps(SUBSCRIBE))
        assert json.loads(socket.recv(PATIENCE))["payload"]["data"] == {"names": "alice"}
        anyio.run(auth.revoke_token, token)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(PATIENCE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 3000


@pytest.mark.parametrize(
    "init",
    [INIT, params("Bearer x"), params(None), params("Bearer ä"), "[]", "no JSON", params("Bearer " + "x" * 20_000)],
)
def test_connection_params_without_a_good_token(init: Any) -> None:
    """Whatever else the first message holds, the socket is closed with 3000 and nothing reaches the schema."""
    client = TestClient(ConnectionParams(create_app(make_auth())))
    with client.websocket_connect("/graphql", [PROTOCOL]) as session:
        session.send_text(init if isinstance(init, str) else json.dumps(init))
        with pytest.raises(WebSocketDisconnect) as closed:
            session.receive_text()
    assert closed.value.code == 3000


def test_connection_params_of_a_token_that_expires() -> None:
    """The socket ends with its token, as one whose token came in a header."""
    auth = make_auth(clock=(clock := Clock()))
    client = TestClient(ConnectionParams(create_app(auth)))
    with client.websocket_connect("/graphql", [PROTOCOL]) as session:
        session.send_json(params(f"Bearer {make_token(auth)}"))
        assert session.receive_json()["type"] == "connection_ack"
        clock.turn(3600)
        with pytest.raises(WebSocketDisconnect) as closed:
            session.receive_text()
    assert closed.value.code == 3000


def test_a_client_that_leaves_at_once() -> None:
    """A socket that is closed before its first message ends in silence."""
    with TestClient(ConnectionParams(create_app(make_auth()))).websocket_connect("/graphql", [PROTOCOL]) as session:
        session.close()


def test_other_connections_pass_as_they_are() -> None:
    """HTTP, and WebSockets that show a token by themselves, are not touched."""
    auth = make_auth()
    with TestClient(ConnectionParams(create_app(auth))) as client:
        assert client.post("/graphql", json={"query": "{ me }"}, headers=authorization(auth)).status_code == 200
        with client.websocket_connect("/graphql", [PROTOCOL], headers=authorization(auth)) as session:
            assert first_name(session) == "alice"
        with pytest.raises(WebSocketDenialResponse):
            client.websocket_connect("/graphql").__enter__()
