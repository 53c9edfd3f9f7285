"""Quart: an app as its documentation writes it, asked by its own test client."""

import pytest
import quart
from frameworks.quart_app import create_app
from quart.testing import WebsocketResponseError
from support.app import NO_TOKEN, authorization, bearer_challenge, make_auth

from asgi_jwt import Auth
from asgi_jwt.events import Event, TokenRefused
from asgi_jwt.quart import current_claims

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

LACKING = 'Bearer realm="api", error="insufficient_scope", error_description="The access token lacks a required scope"'


@pytest.fixture
def heard() -> list[Event]:
    return []


@pytest.fixture
def auth(heard: list[Event]) -> Auth:
    return make_auth(on_event=heard.append, public_paths=["/hello"])


@pytest.fixture
def app(auth: Auth) -> quart.Quart:
    return create_app(auth)


async def test_a_view_knows_the_user(app: quart.Quart, auth: Auth) -> None:
    """`current_claims` are the caller's, in async views and in sync ones; they are false where nobody asks."""
    client = app.test_client()
    answer = await client.get("/orders/7", headers=authorization(auth, scopes="orders:read"))
    assert (answer.status_code, await answer.json) == (200, {"of": "alice", "number": 7})
    answer = await client.get("/admin", headers=authorization(auth, "carol", roles=["admin"]))
    assert (answer.status_code, await answer.data) == (200, b"carol")
    assert await (await client.get("/hello", headers=authorization(auth))).json == {"known": False}


async def test_a_refusal_is_the_challenge(app: quart.Quart, auth: Auth, heard: list[Event]) -> None:
    """No token and a bad one are 401, too little is 403 with its scope or for its role; each emits its event."""
    client = app.test_client()
    answer = await client.get("/orders/7")
    assert (answer.status_code, await answer.json) == (401, NO_TOKEN)
    bad = await client.get("/orders/7", headers={"Authorization": "Bearer a.b.c"})
    assert bad.status_code == 401
    assert 'error="invalid_token"' in bad.headers["WWW-Authenticate"]
    for path, challenge in (("/orders/7", f'{LACKING}, scope="orders:read"'), ("/admin", None)):
        answer = await client.get(path, headers=authorization(auth, scopes="orders:write"))
        assert (answer.status_code, (await answer.json)["error"]) == (403, "insufficient_scope")
        assert answer.headers["Cache-Control"] == "no-store"
        assert challenge in (None, bearer_challenge(answer.headers["WWW-Authenticate"]))
    assert [event.reason for event in heard if isinstance(event, TokenRefused)] == [
        "token_missing",
        "token_malformed",
        "scope_insufficient",
        "role_insufficient",
    ]


async def test_a_stronger_login(app: quart.Quart, auth: Auth) -> None:
    """A view may ask for the kind of the login and for its age (RFC 9470)."""
    answer = await app.test_client().post("/transfers", headers=authorization(auth))
    assert (answer.status_code, (await answer.json)["error"]) == (401, "insufficient_user_authentication")
    assert answer.headers["WWW-Authenticate"].find(', acr_values="phr", max_age="60"') > 0


@pytest.mark.parametrize(("scopes", "status"), [("orders:read", None), ("", 403), (None, 401)])
async def test_websockets(app: quart.Quart, auth: Auth, scopes: str | None, status: int | None) -> None:
    """A WebSocket with enough is accepted and knows the user; with too little or nothing it is denied before."""
    headers = {} if scopes is None else authorization(auth, scopes=scopes)
    async with app.test_client().websocket("/feed", headers=headers) as websocket:
        if status is None:
            assert await websocket.receive() == "alice"
            return
        with pytest.raises(WebsocketResponseError) as denied:
            await websocket.receive()
        assert denied.value.response.status_code == status
        assert denied.value.response.headers["WWW-Authenticate"].startswith('Bearer realm="api"')


async def test_without_the_middleware() -> None:
    """Where no middleware verified anything there are no claims, and outside a request there is no proxy."""
    async with quart.Quart(__name__).test_request_context("/"):
        with pytest.raises(RuntimeError, match="needs JWTMiddleware around the app"):
            bool(current_claims.subject)
    with pytest.raises(RuntimeError, match="Not within a request context"):
        bool(current_claims.subject)
