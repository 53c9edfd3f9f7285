"""What of a request is its token, and how an error is answered."""

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from support.app import exchange, http_scope, websocket_scope

from asgi_jwt.errors import (
    AmbiguousCredentials,
    AuthError,
    CrossSite,
    ExpiredToken,
    InsufficientRole,
    InsufficientScope,
    InvalidRequest,
    KeysUnavailable,
    MalformedCredentials,
    MissingToken,
)
from asgi_jwt.http.bearer import (
    Challenge,
    bearer_token,
    cookie_token,
    deny,
    error_body,
    hide_subprotocol_token,
    subprotocol_token,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER", b"bEaReR"])
def test_scheme_in_any_case(scheme: bytes) -> None:
    """The scheme's name compares case-insensitively (RFC 9110 section 11.1)."""
    assert bearer_token([(b"authorization", scheme + b" a.b.c")]) == b"a.b.c"


@pytest.mark.parametrize("value", [b"Bearer   a.b.c", b" Bearer a.b.c", b"Bearer a.b.c \t"])
def test_space_around_the_token(value: bytes) -> None:
    """Several spaces may stand before the token (RFC 9110 section 11.4), and space around a value is none of it."""
    assert bearer_token([(b"authorization", value)]) == b"a.b.c"


def test_no_header() -> None:
    """Without an Authorization header there is no token."""
    assert bearer_token([(b"x-authorization", b"Bearer a.b.c"), (b"cookie", b"Bearer a.b.c")]) is None


@pytest.mark.parametrize(
    "value", [b"Basic dTpw", b"Bearerx a.b.c", b"a.b.c", b"", b"Basic x, Bearer a.b.c", b"Bearer\ta.b.c", b"DPoP a.b.c"]
)
def test_another_scheme(value: bytes) -> None:
    """Another scheme has no token of ours."""
    assert bearer_token([(b"authorization", value)]) is None


@pytest.mark.parametrize("value", [b"Bearer", b"Bearer  ", b"Bearer a.b.c d", b"Bearer a.b.c, Bearer d", b"bearer x y"])
def test_no_or_several_credentials(value: bytes) -> None:
    """Behind the scheme stands exactly one token (RFC 6750 section 2.1)."""
    with pytest.raises(MalformedCredentials):
        bearer_token([(b"authorization", value)])


@pytest.mark.parametrize("second", [b"Bearer a.b.c", b"Basic dTpw", b""])
def test_two_headers(second: bytes) -> None:
    """Two Authorization headers are ambiguous, even the same one twice: another hop may have read the other one."""
    with pytest.raises(AmbiguousCredentials):
        bearer_token([(b"authorization", b"Bearer a.b.c"), (b"accept", b"*/*"), (b"authorization", second)])


@pytest.mark.parametrize(
    "value",
    [
        b"token=a.b.c",
        b"x=1; token=a.b.c",
        b"x=1;token=a.b.c;y=2",
        b'token="a.b.c"',
        b"token = a.b.c ",
        b";;token=a.b.c;",
    ],
)
def test_cookie(value: bytes) -> None:
    """The cookie's value is found wherever it stands, quoted or not (RFC 6265 section 4.1.1)."""
    assert cookie_token([(b"accept", b"token=no"), (b"cookie", value)], b"token") == b"a.b.c"


def test_cookies_split_by_http2() -> None:
    """HTTP/2 may send each cookie in a header of its own (RFC 9113 section 8.2.3)."""
    headers = [(b"cookie", b"x=1"), (b"cookie", b"token=a.b.c"), (b"cookie", b"y=2")]
    assert cookie_token(headers, b"token") == b"a.b.c"


@pytest.mark.parametrize(
    "value", [b"token=", b'token=""', b"token", b"Token=a.b.c", b"xtoken=a.b.c", b"x=token=a.b.c", b""]
)
def test_no_cookie(value: bytes) -> None:
    """An empty cookie is none, nor is one whose name only resembles the token's."""
    assert cookie_token([(b"cookie", value)], b"token") is None


@pytest.mark.parametrize("second", [b"token=a.b.c", b"token=", b"token=d.e.f"])
def test_two_cookies(second: bytes) -> None:
    """Two cookies of the name, in one header or in two, are ambiguous: a sibling domain can toss one."""
    with pytest.raises(AmbiguousCredentials):
        cookie_token([(b"cookie", b"token=a.b.c; " + second)], b"token")
    with pytest.raises(AmbiguousCredentials):
        cookie_token([(b"cookie", second), (b"cookie", b"token=a.b.c")], b"token")


@pytest.mark.parametrize("offered", [["bearer", "a.b.c"], ["chat", "bearer", "a.b.c", "v2"]])
def test_subprotocol(offered: list[str]) -> None:
    """The token is what stands behind `bearer` among the subprotocols."""
    assert subprotocol_token(websocket_scope(subprotocols=offered)) == b"a.b.c"


def test_no_subprotocol() -> None:
    """Without `bearer` there is no token among the subprotocols, and a plain request has none at all."""
    assert subprotocol_token(websocket_scope(subprotocols=["chat", "Bearer", "a.b.c"])) is None
    assert subprotocol_token(http_scope(subprotocols=["bearer", "a.b.c"])) is None
    scope = websocket_scope()
    del scope["subprotocols"]
    assert subprotocol_token(scope) is None


def test_subprotocol_outside_ascii() -> None:
    """A server's text that is no UTF-8 becomes bytes that no token has, not an error of ours."""
    assert subprotocol_token(websocket_scope(subprotocols=["bearer", "a.\udcff.c"])) == b"a.?.c"


def test_nothing_behind_bearer() -> None:
    """`bearer` without a token is malformed."""
    with pytest.raises(MalformedCredentials):
        subprotocol_token(websocket_scope(subprotocols=["chat", "bearer"]))


def test_bearer_twice() -> None:
    """Two tokens among the subprotocols are ambiguous."""
    with pytest.raises(AmbiguousCredentials):
        subprotocol_token(websocket_scope(subprotocols=["bearer", "a.b.c", "bearer", "d.e.f"]))


@pytest.mark.parametrize(
    ("offered", "left"),
    [
        (["bearer", "a.b.c"], ["bearer"]),
        (["chat", "bearer", "a.b.c", "v2"], ["chat", "bearer", "v2"]),
        (["bearer", "a.b.c", "bearer", "d.e.f"], ["bearer", "bearer"]),
        (["bearer", "bearer", "a.b.c"], ["bearer"]),
        (["bearer"], ["bearer"]),
    ],
)
def test_hidden_token(offered: list[str], left: list[str]) -> None:
    """Nothing that stands behind a `bearer` is left for the app to select, and what the server holds is not touched."""
    scope = websocket_scope()
    scope["subprotocols"] = servers = list(offered)
    assert hide_subprotocol_token(scope)
    assert scope["subprotocols"] == left
    assert servers == offered


def test_nothing_to_hide() -> None:
    """Subprotocols without `bearer` stay as they are."""
    scope = websocket_scope(subprotocols=["chat", "v2"])
    assert not hide_subprotocol_token(scope)
    assert scope["subprotocols"] == ["chat", "v2"]


class Telltale(AuthError):
    """An application's own error, in words that a header can't bear."""

    error = 'no"pe'
    description = 'quote " backslash \\ line\r\nX-Evil: 1 \x00 tab\t é €'


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MissingToken(), 'Bearer realm="api"'),
        (
            ExpiredToken("of alice"),
            'Bearer realm="api", error="invalid_token", error_description="The access token expired"',
        ),
        (
            InsufficientScope(scope="orders:read orders:write"),
            (
                'Bearer realm="api", error="insufficient_scope", '
                'error_description="The access token lacks a required scope", scope="orders:read orders:write"'
            ),
        ),
        (
            InsufficientRole(),
            'Bearer realm="api", error="insufficient_scope", error_description="The user lacks a required role"',
        ),
    ],
)
def test_challenge(error: AuthError, expected: str) -> None:
    """The challenge is RFC 6750 section 3's, word for word, and tells nothing of the error's detail."""
    assert Challenge("api").header(error) == expected


def test_challenge_keeps_to_the_characters() -> None:
    """Whatever an error says, a challenge holds printable ASCII without quotes or line ends (RFC 6750 section 3)."""
    value = Challenge("api").header(Telltale())
    assert value == (
        'Bearer realm="api", error="no?pe", error_description="quote ? backslash ? line??X-Evil: 1 ? tab? ? ?"'
    )


def test_scope_keeps_to_the_characters() -> None:
    """Nor can the name of a scope break out of the challenge."""
    assert Challenge("api").header(InsufficientScope(scope='a"b\\c\n')).endswith('scope="a?b?c?"')


def test_resource_metadata() -> None:
    """Where there is metadata, every challenge names it (RFC 9728 section 5.1)."""
    url = "https://host.example/.well-known/oauth-protected-resource/mcp"
    assert Challenge("api", url).header(MissingToken()) == f'Bearer realm="api", resource_metadata="{url}"'


@pytest.mark.parametrize("error", [CrossSite(), KeysUnavailable()])
def test_no_challenge(error: AuthError) -> None:
    """Where a new token would mend nothing, no challenge asks for one."""
    assert "WWW-Authenticate" not in Challenge("api").headers(error)


def test_retry_after() -> None:
    """An outage says in seconds when to come again, and is not to be stored."""
    assert Challenge("api").headers(KeysUnavailable()) == {"Cache-Control": "no-store", "Retry-After": "1"}


def test_body() -> None:
    """The body has RFC 6749 section 5.2's members, and no `error` where the RFC wants none."""
    assert error_body(ExpiredToken()) == {"error": "invalid_token", "error_description": "The access token expired"}
    assert error_body(MissingToken()) == {"error_description": "The request has no Bearer token"}


def deny_with(status: int) -> ASGIApp:
    """An app that denies with a status."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await deny(Response(status_code=status), scope, receive, send)

    return app


@pytest.mark.parametrize(("status", "code"), [(400, 3000), (401, 3000), (403, 3003), (503, 1013)])
async def test_denied_socket_without_the_extension(status: int, code: int) -> None:
    """A WebSocket is closed with the code that comes nearest where the server knows no `websocket.http.response`."""
    for scope in (websocket_scope(denial=False), websocket_scope(extensions=None)):
        answer = await exchange(deny_with(status), scope)
        assert answer.messages == [{"type": "websocket.close", "code": code, "reason": ""}]


async def test_denied_socket_with_the_extension() -> None:
    """A WebSocket is denied with the very response where the server can send one."""
    answer = await exchange(deny_with(401), websocket_scope())
    assert [message["type"] for message in answer.messages] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert answer.status == 401


async def test_socket_gone_before_its_denial() -> None:
    """A client that went away before it was denied is sent nothing."""
    gone: Message = {"type": "websocket.disconnect", "code": 1006}
    assert (await exchange(deny_with(401), websocket_scope(), gone)).messages == []


def test_too_many_headers() -> None:
    """More than 1,000 headers are a 400 before any of them is read."""
    token = (b"authorization", b"Bearer token")
    assert bearer_token([(b"x", b"")] * 999 + [token]) == b"token"
    with pytest.raises(InvalidRequest):
        bearer_token([(b"x", b"")] * 1000 + [token])


@pytest.mark.parametrize("headers", [1, 3, 333])
def test_too_many_cookies(headers: int) -> None:
    """More than 1,000 cookies are a 400, in however many headers, where the token's is one of them."""
    others = [(b"cookie", b"; ".join([b"a=b"] * (999 // headers)))] * headers
    assert cookie_token([*others, (b"cookie", b"token=a.b.c")], b"token") == b"a.b.c"
    with pytest.raises(InvalidRequest):
        cookie_token([*others, (b"cookie", b"a=b; token=a.b.c")], b"token")
    assert cookie_token([*others, *others], b"token") is None


def test_too_many_subprotocols() -> None:
    """More than 100 subprotocols are a 400, and where no token is read, the app sees none of them."""
    offered = ["bearer", "a.b.c", *["chat"] * 98]
    assert subprotocol_token(websocket_scope(subprotocols=offered)) == b"a.b.c"
    with pytest.raises(InvalidRequest):
        subprotocol_token(websocket_scope(subprotocols=[*offered, "chat"]))
    scope = websocket_scope(subprotocols=[*offered, "chat"])
    assert not hide_subprotocol_token(scope)
    assert scope["subprotocols"] == []
