"""Every forged token at the door: refused over HTTP and before a WebSocket opens, with its own reason."""

import logging

import pytest
from starlette.types import Scope
from support.app import Answer, Recorder, exchange, http_scope, websocket_scope
from support.forgeries import FORGERIES, Forgery
from support.tokens import NOW, genuine_token, keys_auth

from asgi_jwt import JWTMiddleware
from asgi_jwt.events import Event, TokenRefused
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio


class Door:
    """The middleware with the Auth that has to refuse a forgery, and the events it tells."""

    def __init__(self, forgery: Forgery) -> None:
        self.auth = forgery.auth()
        self.app = Recorder()
        self.events: list[Event] = []
        self.auth.events = type(self.auth.events)(self.events.append)
        self.middleware = JWTMiddleware(self.app, self.auth)

    async def knock(self, scope: Scope) -> Answer:
        return await exchange(self.middleware, scope)


def authorization(token: str) -> list[tuple[str, str | bytes]]:
    return [("authorization", b"Bearer " + token.encode())]


@pytest.mark.parametrize("name", FORGERIES)
async def test_refused(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A forgery never reaches the app, is told apart by its reason, and stands in no log record and no answer."""
    forgery = FORGERIES[name]
    token = forgery.token()
    # What the header's own space and the scheme's rule make of an empty token, and of one that holds a space.
    at_the_header = {"empty": "credentials_malformed", "a space in base64url": "credentials_malformed"}
    reason = at_the_header.get(name, forgery.reason)
    status = 400 if name in at_the_header else 401
    door = Door(forgery)
    with caplog.at_level(logging.DEBUG):
        over_http = await door.knock(http_scope(headers=authorization(token)))
        over_websocket = await door.knock(websocket_scope(headers=authorization(token)))
        closed = await door.knock(websocket_scope(headers=authorization(token), denial=False))
    assert (over_http.status, over_websocket.status) == (status, status)
    assert over_http.challenge == over_websocket.challenge
    assert [message["type"] for message in closed.messages] == ["websocket.close"]
    assert door.app.calls == []
    transports = ("http", "websocket", "websocket")
    assert door.events == [TokenRefused(reason, status, transport) for transport in transports]
    told = [str(vars(record)) for record in caplog.records] + [str(answer.messages) for answer in (over_http, closed)]
    for segment in token.split("."):
        assert len(segment) < 8 or not any(segment in text for text in told)


async def test_genuine() -> None:
    """The token that most forgeries were made from is let in: what is refused is what is wrong with them."""
    auth, app = keys_auth(), Recorder()
    middleware = JWTMiddleware(app, auth)
    assert (await exchange(middleware, http_scope(headers=authorization(genuine_token())))).status == 200
    answer = await exchange(middleware, websocket_scope(headers=authorization(genuine_token())))
    assert answer.messages[0]["type"] == "websocket.accept"
    assert isinstance(auth.clock, Clock)
    assert auth.clock.now == NOW
