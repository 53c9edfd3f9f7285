"""The middleware before a WebSocket: it is denied before it is accepted, or opens as its app says."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from support.app import NO_TOKEN, Guarded, authorization, exchange, make_auth, make_token, websocket_scope

from asgi_jwt import JWTMiddleware

pytestmark = pytest.mark.anyio

CHALLENGE = 'Bearer realm="api"'
ALL_SOURCES = "header,subprotocol,cookie:token"
ACCEPT: Message = {"type": "websocket.accept", "subprotocol": None, "headers": []}


@pytest.fixture
def guarded() -> Guarded:
    return Guarded(make_auth(token_sources=ALL_SOURCES))


async def test_good_token(guarded: Guarded) -> None:
    """A verified token opens the socket, and the app's messages pass as they are."""
    answer = await guarded.connect(headers=authorization(guarded.auth))
    assert answer.messages == [ACCEPT]
    assert guarded.app.subject == "alice"


async def test_denied_with_a_response(guarded: Guarded) -> None:
    """Where the server can, a socket without a token is denied with HTTP's status, headers and body."""
    answer = await guarded.connect()
    assert [message["type"] for message in answer.messages] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert (answer.status, answer.challenge, answer.json()) == (401, CHALLENGE, NO_TOKEN)
    assert answer.headers["cache-control"] == "no-store"
    assert guarded.app.calls == []


async def test_denied_with_a_close(guarded: Guarded) -> None:
    """Where it can't, the socket is closed, which every server turns into a 403 before accepting."""
    answer = await guarded.connect(denial=False)
    assert answer.messages == [{"type": "websocket.close", "code": 3000, "reason": ""}]
    assert guarded.app.calls == []


async def test_denied_when_gone(guarded: Guarded) -> None:
    """A client that has gone is sent nothing."""
    answer = await exchange(guarded.middleware, websocket_scope(), {"type": "websocket.disconnect", "code": 1006})
    assert answer.messages == []
    assert guarded.app.calls == []


async def test_invalid_request(guarded: Guarded) -> None:
    """Two tokens in one handshake: 400, whichever source they are in."""
    good = make_token(guarded.auth)
    scopes: list[dict[str, Any]] = [
        {"headers": [("authorization", f"Bearer {good}"), ("authorization", f"Bearer {good}")]},
        {"subprotocols": ["bearer", good, "bearer", good]},
        {"subprotocols": ["chat", "bearer"]},
        {"headers": [("cookie", f"token={good}; token={good}")]},
    ]
    for scope in scopes:
        answer = await guarded.connect(**scope)
        assert (answer.status, answer.json()["error"]) == (400, "invalid_request")
    assert guarded.app.calls == []


@pytest.mark.parametrize("credentials", ["Basic dTpw", "Digest username=u", ""])
async def test_another_scheme_hides_no_token(credentials: str) -> None:
    """Beside a proxy's credentials in the Authorization header the subprotocol's token counts, and the cookie's."""
    guarded = Guarded(make_auth(token_sources=ALL_SOURCES))
    token = make_token(guarded.auth)
    headers = {"authorization": credentials}
    by_subprotocol = await guarded.connect(headers=headers, subprotocols=["bearer", token])
    by_cookie = await guarded.connect(headers={**headers, "cookie": f"token={token}"})
    assert by_subprotocol.messages[0]["type"] == by_cookie.messages[0]["type"] == "websocket.accept"
    cross_site = {**headers, "cookie": f"token={token}", "origin": "https://evil.example"}
    assert (await guarded.connect(headers=cross_site)).status == 403
    assert (await guarded.connect(headers=headers)).status == 401


@pytest.mark.parametrize(
    ("sources", "header", "subprotocol", "cookie", "found"),
    [
        (ALL_SOURCES, "alice", "bob", "carol", "alice"),
        (ALL_SOURCES, None, "bob", "carol", "bob"),
        (ALL_SOURCES, None, None, "carol", "carol"),
        (ALL_SOURCES, "alice", None, None, "alice"),
        (ALL_SOURCES, "alice", "bad", "bad", "alice"),
        (ALL_SOURCES, "bad", "bob", "carol", 401),
        (ALL_SOURCES, None, "bad", "carol", 401),
        ("cookie:token,subprotocol,header", "alice", "bob", "carol", "alice"),
        ("cookie:token,subprotocol,header", None, "bob", "carol", "carol"),
        ("cookie:token,subprotocol", "alice", "bob", "carol", "carol"),
        ("cookie:token,subprotocol", None, "bob", None, "bob"),
        ("subprotocol,cookie:token", "alice", "bob", "carol", "bob"),
        ("subprotocol", "alice", None, "carol", 401),
        ("cookie:token", "alice", "bob", None, 401),
        ("header", None, "bob", "carol", 401),
    ],
)
async def test_sources(
    sources: str, header: str | None, subprotocol: str | None, cookie: str | None, found: str | int
) -> None:
    """The sources are tried in their order, those not configured never; the Authorization header always wins."""
    guarded = Guarded(make_auth(token_sources=sources))
    tokens = {name: make_token(guarded.auth, name) for name in ("alice", "bob", "carol")} | {"bad": "a.b.c"}
    headers = {}
    if header is not None:
        headers["authorization"] = f"Bearer {tokens[header]}"
    if cookie is not None:
        headers["cookie"] = f"token={tokens[cookie]}"
    subprotocols = [] if subprotocol is None else ["bearer", tokens[subprotocol]]
    answer = await guarded.connect(headers=headers, subprotocols=subprotocols)
    accepted = answer.messages[0]["type"] == "websocket.accept"
    assert (guarded.app.subject if accepted else answer.status) == found


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://evil.example", "host": "api.example"}, 403),
        ({"origin": "null", "host": "api.example"}, 403),
        ({"sec-fetch-site": "same-origin", "origin": "https://api.example", "host": "api.example"}, None),
        ({"origin": "https://api.example", "host": "api.example"}, None),
        ({"sec-fetch-site": "cross-site", "origin": "https://app.example"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("more", [{}, {"method": "GET"}])
async def test_cookie_from_another_site(headers: dict[str, str], status: int | None, more: dict[str, str]) -> None:
    """A socket that relies on a cookie opens from the site itself and from trusted origins alone (CSWSH).

    A server that names the handshake's method in the scope makes it no safer.
    """
    guarded = Guarded(make_auth(token_sources="cookie:token", trusted_origins=["https://app.example"]))
    headers = {"cookie": f"token={make_token(guarded.auth)}", **headers}
    answer = await guarded.connect(headers=headers, **more)
    if status is None:
        assert answer.messages == [ACCEPT]
    else:
        assert (answer.status, answer.challenge, answer.json()["error"]) == (status, None, "cross_site")
        closed = await guarded.connect(headers=headers, denial=False, **more)
        assert closed.messages == [{"type": "websocket.close", "code": 3003, "reason": ""}]
        assert guarded.app.calls == []


async def test_subprotocol_from_another_site() -> None:
    """A socket whose script knows the token needs no such check: no other site's script does."""
    guarded = Guarded(make_auth(token_sources=ALL_SOURCES))
    offered = ["bearer", make_token(guarded.auth)]
    headers = {"cookie": "token=x", "sec-fetch-site": "cross-site"}
    assert (await guarded.connect(headers=headers, subprotocols=offered)).messages[0]["type"] == "websocket.accept"


async def test_bearer_is_selected(guarded: Guarded) -> None:
    """`bearer` is selected where the app selects nothing: a browser that offered it closes otherwise."""
    answer = await guarded.connect(subprotocols=["bearer", make_token(guarded.auth)])
    assert answer.messages == [{**ACCEPT, "subprotocol": "bearer"}]


async def test_apps_own_subprotocol() -> None:
    """What the app selects stays, and every other message passes as the same object."""
    sent: list[Message] = [
        {"type": "websocket.accept", "subprotocol": "chat"},
        {"type": "websocket.send", "text": "hello"},
        {"type": "websocket.close", "code": 1000},
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in sent:
            await send(message)

    auth = make_auth(token_sources="subprotocol")
    scope = websocket_scope(subprotocols=["chat", "bearer", make_token(auth)])
    passed: list[Message] = []

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        passed.append(message)

    await JWTMiddleware(app, auth)(scope, receive, send)
    assert all(left is right for left, right in zip(passed, sent, strict=True))


async def test_token_is_hidden_from_the_app(guarded: Guarded) -> None:
    """The app finds `bearer` among the subprotocols and no token: it might select it, and so send it back."""
    offered = ["chat", "bearer", make_token(guarded.auth), "v2"]
    await guarded.connect(subprotocols=offered)
    assert guarded.app.calls[-1][0]["subprotocols"] == ["chat", "bearer", "v2"]


@pytest.mark.parametrize("where", ["header", "cookie", "public", "optional"])
async def test_token_is_hidden_wherever_it_was_not_needed(where: str) -> None:
    """Nor does the app find it where another source came first, or none was asked for."""
    auth = make_auth(token_sources="cookie:token,subprotocol,header")
    guarded = Guarded(auth, public=["/public"] if where == "public" else [])
    good = make_token(auth)
    headers = {"header": authorization(auth), "cookie": {"cookie": f"token={good}"}}.get(where, {})
    path = "/public" if where == "public" else "/"
    answer = await guarded.connect(path, headers=headers, subprotocols=["bearer", good])
    assert guarded.app.calls[-1][0]["subprotocols"] == ["bearer"]
    assert answer.messages == [{**ACCEPT, "subprotocol": "bearer"}]


async def test_subprotocols_are_the_apps_where_no_source() -> None:
    """Without that source, the subprotocols are none of our business: neither hidden nor selected."""
    guarded = Guarded(make_auth())
    answer = await guarded.connect(headers=authorization(guarded.auth), subprotocols=["bearer", "v2"])
    assert guarded.app.calls[-1][0]["subprotocols"] == ["bearer", "v2"]
    assert answer.messages == [ACCEPT]


async def test_public_and_optional() -> None:
    """Public paths and `optional` hold for sockets as for requests; a bad token is refused all the same."""
    guarded = Guarded(make_auth(token_sources=ALL_SOURCES), public=["/feed/*"])
    assert (await guarded.connect("/feed/x", headers={"authorization": "Bearer a.b.c"})).messages == [ACCEPT]
    assert guarded.app.subject is None
    assert (await guarded.connect("/feed/../x")).status == 401
    guarded = Guarded(make_auth(token_sources=ALL_SOURCES), optional=True)
    assert (await guarded.connect()).messages == [ACCEPT]
    assert guarded.app.subject is None
    assert (await guarded.connect(subprotocols=["bearer", "a.b.c"])).status == 401


def test_in_starlette() -> None:
    """In a Starlette app, a browser's handshake with the token as a subprotocol opens, and one without is denied."""

    async def whoami(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json(
            [websocket.user.identity, list(websocket.auth.scopes), websocket.scope["subprotocols"]]
        )
        await websocket.close()

    auth = make_auth(token_sources="subprotocol")
    app = JWTMiddleware(Starlette(routes=[WebSocketRoute("/ws", whoami)]), auth)
    client = TestClient(app)
    token = make_token(auth, scopes="feed:read")
    with client.websocket_connect("/ws", subprotocols=["bearer", token]) as session:
        assert str(session.accepted_subprotocol) == "bearer"
        assert session.receive_json() == ["alice", ["feed:read"], ["bearer"]]
    with pytest.raises(WebSocketDenialResponse) as denied:
        client.websocket_connect("/ws").__enter__()
    assert (denied.value.status_code, denied.value.headers["www-authenticate"]) == (401, CHALLENGE)
