"""What of a request is its token, and how an error is answered."""

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from support.app import exchange, websocket_scope

from asgi_jwt import errors
from asgi_jwt.http.bearer import Challenge, deny

pytestmark = pytest.mark.anyio


class Telltale(errors.AuthError):
    """An application's own error, in words that a header can't bear."""

    error = 'no"pe'
    description = 'quote " backslash \\ line\r\nX-Evil: 1 \x00 tab\t é €'


METADATA = "https://host.example/.well-known/oauth-protected-resource/mcp"
LACKS = 'error="insufficient_scope", error_description="The access token lacks a required scope"'
EXPIRED = 'error="invalid_token", error_description="The access token expired"'
ROLE = 'error="insufficient_scope", error_description="The user lacks a required role"'
TOLD = 'error="no?pe", error_description="quote ? backslash ? line??X-Evil: 1 ? tab? ? ?"'
HEADERS: list[tuple[errors.AuthError, str | None, str]] = [
    (errors.MissingToken(), None, 'realm="api"'),
    (errors.MissingToken(), METADATA, f'realm="api", resource_metadata="{METADATA}"'),
    (errors.ExpiredToken("of alice"), None, f'realm="api", {EXPIRED}'),
    (errors.InsufficientScope(scope="a:read a:write"), None, f'realm="api", {LACKS}, scope="a:read a:write"'),
    (errors.InsufficientScope(scope='a"b\\c\n'), None, f'realm="api", {LACKS}, scope="a?b?c?"'),
    (errors.InsufficientRole(), None, f'realm="api", {ROLE}'),
    (Telltale(), None, f'realm="api", {TOLD}'),
]


@pytest.mark.parametrize(("error", "metadata", "expected"), HEADERS)
def test_challenge(error: errors.AuthError, metadata: str | None, expected: str) -> None:
    """The challenge is RFC 6750 section 3's, word for word, tells nothing of the error's detail, and names the metadata
    where there is any (RFC 9728 section 5.1). Whatever an error says, and whatever the name of a scope is, a challenge
    holds printable ASCII without quotes or line ends."""
    assert Challenge("api", metadata).header(error) == f"Bearer {expected}"


@pytest.mark.parametrize(
    ("error", "more"), [(errors.CrossSite(), {}), (errors.KeysUnavailable(), {"Retry-After": "1"})]
)
def test_no_challenge(error: errors.AuthError, more: dict[str, str]) -> None:
    """Where a new token would mend nothing, no challenge asks for one; an outage says in seconds when to come again."""
    assert Challenge("api").headers(error) == {"Cache-Control": "no-store", **more}


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
