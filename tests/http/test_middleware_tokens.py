"""The middleware before requests and WebSockets: which token counts, and every answer of the table of errors."""

import logging
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from support.app import (
    AUDIENCE,
    ISSUER,
    NO_TOKEN,
    SECRET,
    Answer,
    Guarded,
    Recorder,
    authorization,
    bearer_challenge,
    exchange,
    http_scope,
    make_auth,
    make_token,
    websocket_scope,
)
from support.tables import tables_of

from asgi_jwt import Auth, ConfigurationError, JWTMiddleware
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

CHALLENGE = 'Bearer realm="api"'
ALL_SOURCES = "header,subprotocol,cookie:token,header:X-Gateway"
ACCEPT: Message = {"type": "websocket.accept", "subprotocol": None, "headers": []}


@pytest.fixture
def guarded() -> Guarded:
    return Guarded(make_auth(token_sources=ALL_SOURCES))


def error_of(answer: Answer, status: int, error: str | None, description: str | None = None) -> None:
    """An answer is the error, in its body and its challenge (RFC 6750 section 3)."""
    told = answer.json()["error_description"]
    assert (answer.error, description or told) == ((status, error), told)
    assert answer.challenge == CHALLENGE + (f', error="{error}", error_description="{told}"' if error else "")
    assert (answer.headers["cache-control"], answer.headers["content-type"]) == ("no-store", "application/json")


OUTCOMES: dict[str, tuple[int, str | None, str | None]] = {
    "missing": (401, None, "The request has no Bearer token"),
    "malformed": (400, "invalid_request", "The scheme takes exactly one token"),
    "ambiguous": (400, "invalid_request", "The request bears more than one token"),
    "invalid": (401, "invalid_token", None),
}
# `T` stands for a good token. A row may have several headers; HTTP/2 sends each cookie in one of its own.
TABLES = tables_of(__file__)
AUTHORIZATIONS = TABLES["authorizations"]
COOKIES = TABLES["cookies"]
GATEWAYS = TABLES["gateways"]
ROWS = [
    *(("authorization", value, outcome) for outcome, values in AUTHORIZATIONS.items() for value in values),
    *(("cookie", value, outcome) for outcome, values in COOKIES.items() for value in values),
    *(("x-gateway", value, outcome) for outcome, values in GATEWAYS.items() for value in values),
    ("x-authorization", "Bearer T", "missing"),
]


async def sent_by_both(guarded: Guarded, outcome: str, **scope: Any) -> None:
    """A request and a WebSocket both have the outcome."""
    for send in (guarded.request, guarded.connect):
        guarded.app.calls.clear()
        answer = await send(**scope)
        if outcome == "good":
            assert answer.accepted or answer.body == b"app"
            assert guarded.app.subject == "alice"
        else:
            error_of(answer, *OUTCOMES[outcome])
            assert guarded.app.calls == []


@pytest.mark.parametrize(("name", "values", "outcome"), ROWS)
async def test_a_token_in_a_header(
    guarded: Guarded, name: str, values: str, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind the scheme, of any case, stands exactly one token (RFC 6750 section 2.1); another scheme has none. The
    cookie's token is found wherever it stands, quoted or not. A gateway's header has the token bare or behind the
    scheme. Two headers, and two cookies, are ambiguous, even with the same token: another hop may have read the other
    one. Whatever becomes of it, no token is in a log record."""
    caplog.set_level(logging.DEBUG)
    token = make_token(guarded.auth)
    headers = [(name, value.replace("T", token) if "dTpw" not in value else value) for value in values.split(" && ")]
    await sent_by_both(guarded, outcome, headers=headers)
    records = "".join(str(vars(record)) for record in caplog.records)
    assert not [part for part in (*token.split("."), "dTpw", SECRET, "alice") if part in records]


OFFERED = [*TABLES["offered"], ["bearer T" + " chat" * 98, "good"]]


@pytest.mark.parametrize(("offered", "outcome"), OFFERED)
async def test_a_token_among_the_subprotocols(guarded: Guarded, offered: str, outcome: str) -> None:
    """A WebSocket's token is what stands behind `bearer` among its subprotocols; a request has none there."""
    subprotocols = offered.replace("T", make_token(guarded.auth)).split()
    answer = await guarded.connect(subprotocols=subprotocols)
    if outcome == "good":
        assert answer.messages == [{**ACCEPT, "subprotocol": "bearer"}]
    else:
        error_of(answer, *OUTCOMES[outcome])
    assert (await guarded.request(subprotocols=subprotocols)).status == 401


@pytest.mark.parametrize("cookie_headers", [1, 3, 333])
async def test_too_many(guarded: Guarded, cookie_headers: int) -> None:
    """More than 1,000 headers, more than 1,000 cookies where the token's is one of them, in however many headers, and
    more than 100 subprotocols are a 400 before any of them is read."""
    token = make_token(guarded.auth)
    bearer, cookie = ("authorization", f"Bearer {token}"), ("cookie", f"token={token}")
    others = [("cookie", "; ".join(["a=b"] * (999 // cookie_headers)))] * cookie_headers
    for headers, status in (
        ([("x", "")] * 1000 + [bearer], 400),
        ([("x", "")] * 999 + [bearer], 200),
        ([*others, cookie], 200),
        ([*others, ("cookie", f"a=b; token={token}")], 400),
        ([*others, *others], 401),
    ):
        assert (await guarded.request(headers=headers)).status == status
    assert (await guarded.connect(subprotocols=["bearer", token, *["chat"] * 99])).status == 400


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD", "TRACE", "PROPFIND"])
async def test_every_method_needs_a_token(guarded: Guarded, method: str) -> None:
    """OPTIONS is a request like any other: letting preflights through would call handlers that ignore the method."""
    assert (await guarded.request(method=method)).status == 401
    assert guarded.app.calls == []


async def test_good_token(guarded: Guarded) -> None:
    """A verified token's request reaches the app, and its answer comes back as it is. A token's signature is checked
    once, however often it comes; once the token has expired it is refused."""
    headers = authorization(guarded.auth)
    for _ in range(3):
        answer = await guarded.request(headers=headers)
        assert (answer.status, answer.body, answer.headers) == (200, b"app", {"x-app": "1"})
    verifier = guarded.auth.verifier
    assert (verifier.signature_checks, verifier.verified, verifier.cache_hits) == (1, 1, 2)
    assert isinstance(guarded.auth.clock, Clock)
    guarded.auth.clock.turn(900 + 31)
    error_of(await guarded.request(headers=headers), 401, "invalid_token", "The access token expired")


async def test_a_server_without_raw_path_and_root_path(guarded: Guarded) -> None:
    """ASGI lets a server leave both out: a token, seen before or not, is let in all the same, and its lack refused."""
    scope = http_scope("/orders", headers=authorization(guarded.auth))
    bare = {name: value for name, value in scope.items() if name not in ("raw_path", "root_path")}
    for _ in range(2):
        assert (await exchange(guarded.middleware, dict(bare))).status == 200
    assert (await exchange(guarded.middleware, {**bare, "headers": []})).status == 401


async def test_bad_tokens_cost_little(guarded: Guarded) -> None:
    """A flood of forged tokens leaves nothing behind in the cache of verified ones, and nothing is looked at of one
    past the size limit."""
    good = make_token(guarded.auth)
    for size in (8193, 9 * 1024, 60 * 1024):
        large = await guarded.request(headers={"authorization": f"Bearer {'a' * size}"})
        error_of(large, 401, "invalid_token", "The access token is too large")
    assert guarded.auth.verifier.signature_checks == 0
    for number in range(20):
        answer = await guarded.request(headers={"authorization": f"Bearer {good[:-4]}{number:04}"})
        error_of(answer, 401, "invalid_token")
    assert (guarded.auth.verifier.cache_hits, guarded.auth.verifier.verified) == (0, 0)
    assert (await guarded.request(headers={"authorization": f"Bearer {good}"})).status == 200


async def test_realm() -> None:
    """The challenge names the realm of the settings."""
    assert (await Guarded(make_auth(realm="my shop")).request()).challenge == 'Bearer realm="my shop"'


# The sources; the subjects of the tokens in the header, the subprotocol and the cookie; and whose token counts.
SOURCES = TABLES["sources"]


@pytest.mark.parametrize("row", SOURCES)
async def test_sources(row: str) -> None:
    """The sources are tried in their order, those not configured never; a Bearer token in the Authorization header
    always wins, and a proxy's credentials there hide no other token. Requests have no subprotocols."""
    sources, header, subprotocol, cookie, found = row.split()
    guarded = Guarded(make_auth(token_sources=sources))
    tokens = {name: make_token(guarded.auth, name) for name in ("alice", "bob", "carol")} | {"bad": "a.b.c"}
    headers = {}
    if header != "-":
        headers["authorization"] = f"Bearer {tokens[header]}" if header in tokens else f"{header} dTpw"
    if cookie != "-":
        headers["cookie"] = f"token={tokens[cookie]}"
    offered = [] if subprotocol == "-" else ["bearer", tokens[subprotocol]]
    for send in [guarded.connect, guarded.request][: 1 if offered else 2]:
        answer = await send(headers=headers, subprotocols=offered)
        if found == "401":
            assert answer.status == 401
        else:
            assert answer.accepted or answer.status == 200
            assert guarded.app.subject == found


OWN = {"host": "api.example"}
SITES = TABLES["sites"]


@pytest.mark.parametrize(("headers", "passes"), SITES)
@pytest.mark.parametrize("source", ["cookie:token", "header:Token"])
async def test_a_cookie_from_another_site(source: str, headers: dict[str, str], passes: bool) -> None:
    """A token cookie, or a gateway's header, which stands for a cookie of the gateway, opens a socket (CSWSH), and
    passes with a method that may change something, from the site itself and from trusted origins alone; else it is a
    403 `cross_site` in the body, and no challenge. A link may be followed.

    A server that names the handshake's method in a socket's scope makes the socket no safer.
    """
    guarded = Guarded(make_auth(token_sources=f"header,{source}", trusted_origins=["https://app.example"]))
    token = make_token(guarded.auth)
    headers = {"cookie": f"token={token}"} | headers if source.startswith("cookie") else {"token": token} | headers
    answers = [await guarded.connect(headers=headers), await guarded.connect(headers=headers, method="GET")]
    methods = ("POST", "PUT", "PATCH", "DELETE", "get", "PROPFIND", "")
    answers += [await guarded.request(headers=headers, method=method) for method in methods]
    for answer in answers:
        if passes:
            assert answer.accepted or answer.status == 200
        else:
            assert (answer.error, answer.challenge) == ((403, "cross_site"), None)
            assert answer.json()["error_description"] == "The request comes from another site"
    closed = (await guarded.connect(headers=headers, denial=False)).messages
    assert closed == [ACCEPT if passes else {"type": "websocket.close", "code": 3003, "reason": ""}]
    for method in ("GET", "HEAD", "OPTIONS", "TRACE"):
        assert (await guarded.request(method=method, headers=headers)).status == 200


async def test_a_token_that_no_other_site_has(guarded: Guarded) -> None:
    """A token in the header or among the subprotocols is not asked where it comes from: no page of another site can
    put it there."""
    headers = {"cookie": "token=x", "sec-fetch-site": "cross-site"}
    by_header = {**authorization(guarded.auth), **headers}
    assert (await guarded.request(method="POST", headers=by_header)).status == 200
    assert (await guarded.connect(headers=headers, subprotocols=["bearer", make_token(guarded.auth)])).accepted


async def test_a_socket_that_is_denied(guarded: Guarded) -> None:
    """Where the server can, a socket without a token is denied with HTTP's status, headers and body; else it is closed,
    which every server turns into a 403. A client that has gone is sent nothing."""
    answer = await guarded.connect()
    parts = ["websocket.http.response.start", "websocket.http.response.body"]
    assert ([message["type"] for message in answer.messages], answer.json()) == (parts, NO_TOKEN)
    error_of(answer, *OUTCOMES["missing"])
    closed = {"type": "websocket.close", "code": 3000, "reason": ""}
    assert (await guarded.connect(denial=False)).messages == [closed]
    gone: Message = {"type": "websocket.disconnect", "code": 1006}
    assert (await exchange(guarded.middleware, websocket_scope(), gone)).messages == []
    assert guarded.app.calls == []


HIDDEN = [*TABLES["hidden"], ["bearer T" + " chat" * 99, ""]]


@pytest.mark.parametrize(("offered", "left"), HIDDEN)
@pytest.mark.parametrize("where", ["header", "cookie", "public", "optional"])
async def test_a_token_is_hidden_from_the_app(where: str, offered: str, left: str) -> None:
    """The app finds `bearer` among the subprotocols and no token, which it might select and so send back, wherever the
    token counted. `bearer` is selected where the app selects nothing; what the server holds is not touched."""
    auth = make_auth(token_sources="cookie:token,header,subprotocol")
    guarded = Guarded(auth, public=["/public"] if where == "public" else [], optional=where == "optional")
    if where == "optional" and left != "chat v2":
        return
    good = make_token(auth)
    headers = {"header": authorization(auth), "cookie": {"cookie": f"token={good}"}}.get(where, {})
    scope = websocket_scope("/public" if where == "public" else "/", headers=headers)
    scope["subprotocols"] = servers = offered.split()
    answer = await exchange(guarded.middleware, scope)
    assert (guarded.app.calls[-1][0]["subprotocols"], servers) == (left.split(), offered.split())
    assert answer.messages == [{**ACCEPT, "subprotocol": "bearer" if "bearer" in left else None}]


async def test_subprotocols_are_the_apps() -> None:
    """Without that source the subprotocols are neither hidden nor selected; with it, what the app selects stays, and
    every message passes as the same object."""
    guarded = Guarded(make_auth())
    answer = await guarded.connect(headers=authorization(guarded.auth), subprotocols=["bearer", "v2"])
    assert (guarded.app.calls[-1][0]["subprotocols"], answer.messages) == (["bearer", "v2"], [ACCEPT])
    sent: list[Message] = [
        {"type": "websocket.accept", "subprotocol": "chat"},
        {"type": "websocket.send", "text": "hello"},
        {"type": "websocket.close", "code": 1000},
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for message in sent:
            await send(message)

    auth = make_auth(token_sources="subprotocol")
    scope = websocket_scope(subprotocols=["chat", "bearer", make_token(auth)])
    passed = (await exchange(JWTMiddleware(app, auth), scope)).messages
    assert all(left is right for left, right in zip(passed, sent, strict=True))


def test_in_starlette() -> None:
    """In a Starlette app, a browser's handshake with the token as a subprotocol opens, and one without is denied."""

    async def whoami(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json([websocket.user.identity, list(websocket.auth.scopes)])
        await websocket.close()

    auth = make_auth(token_sources="subprotocol")
    client = TestClient(JWTMiddleware(Starlette(routes=[WebSocketRoute("/ws", whoami)]), auth))
    with client.websocket_connect("/ws", subprotocols=["bearer", make_token(auth, scopes="feed:read")]) as session:
        assert (str(session.accepted_subprotocol), session.receive_json()) == ("bearer", ["alice", ["feed:read"]])
    with pytest.raises(WebSocketDenialResponse) as denied:
        client.websocket_connect("/ws").__enter__()
    assert (denied.value.status_code, bearer_challenge(denied.value.headers["www-authenticate"])) == (401, CHALLENGE)


async def test_the_environments_own_auth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an `auth`, the middleware reads `ASGI_JWT_*` itself, is refused what is wrong there, and protects as with
    one that is handed in. It looks for no logouts in a memory store of its own: it says what to pass."""

    async def build_in_an_app() -> None:
        app = Starlette()
        app.add_middleware(JWTMiddleware)
        await exchange(app, http_scope())

    with pytest.raises(ConfigurationError, match="ASGI_JWT_ISSUER is missing"):
        await build_in_an_app()
    for name, value in {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "SECRET": SECRET}.items():
        monkeypatch.setenv(f"ASGI_JWT_{name}", value)
    guarded = Guarded()
    guarded.middleware = JWTMiddleware(guarded.app)
    assert (await guarded.request()).status == 401
    assert (await guarded.request(headers=authorization(Auth.from_env()))).status == 200
    for store in ("memory://", "MEMORY://"):
        monkeypatch.setenv("ASGI_JWT_STORE", store)
        with pytest.raises(ConfigurationError, match=r"memory://.*JWTMiddleware\(app, auth=auth\)"):
            await build_in_an_app()
        assert JWTMiddleware(Recorder(), Auth.from_env())


def test_settings_from_the_environment() -> None:
    """Outside an event loop, the fault shows when the middleware is built."""
    with pytest.raises(ConfigurationError, match="ASGI_JWT_ISSUER is missing"):
        JWTMiddleware(Recorder())
