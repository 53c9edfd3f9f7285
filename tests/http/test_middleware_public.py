"""Requests that need no token: on public paths, and where it is optional."""

from typing import Any

import pytest
from support.app import Guarded, authorization, make_auth
from support.tables import cells

from asgi_jwt import ConfigurationError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/health", "/auth", "/auth/login", "/docs"])
async def test_public_path(path: str) -> None:
    """On a public path no token is read, however bad; `public` adds to `PUBLIC_PATHS`; the scope says nobody."""
    guarded = Guarded(make_auth(public_paths="/docs"), public=["/health", "/auth/*"])
    bad: list[Any] = [{}, {"authorization": "Bearer a.b.c"}, [("authorization", "x"), ("authorization", "y")]]
    for headers in [*bad, authorization(guarded.auth)]:
        assert (await guarded.request(path, headers=headers)).status == 200
        assert (await guarded.connect(path, headers=headers)).accepted
        assert guarded.app.subject is None
    assert guarded.auth.verifier.signature_checks == 0


async def test_private_path() -> None:
    """P2: What only looks public needs a token; where the server sets a root path, public is what lies below it."""
    guarded = Guarded(public=["/health", "/auth/*", "/schema"])
    private = "/ | /auth/../orders | /auth//orders | /auth/\\orders | /auth/\0 | /authority | /schema-private | /HEALTH"
    for path in cells(private):
        assert (await guarded.request(path)).status == (await guarded.connect(path)).status == 401, path
    assert (await guarded.request("/api/orders", root_path="/api")).status == 401
    assert guarded.app.calls == []
    assert (await guarded.request("/api/health", root_path="/api")).status == 200


async def test_a_root_path_that_a_client_names() -> None:
    """Where a client can name the root path, the app behind a public path finds the one of `ROOT_PATH`."""
    for configured, path in ((None, "/auth/orders"), ("/api", "/api/auth/orders")):
        guarded = Guarded(make_auth(root_path=configured), public=["/auth/*"])
        more: dict[str, Any] = {"root_path": "/auth", "asgi": {"version": "3.0"}}
        assert (await guarded.request(path, **more)).status == 200
        assert guarded.app.calls[-1][0]["root_path"] == (configured or "")
        assert (await guarded.connect(path, **more)).messages[0]["type"] == "websocket.accept"
        assert (await guarded.request("/auth/auth/x/..", **more)).status == 401
        assert (await guarded.request("/x" + path, **more)).status == 401


@pytest.mark.parametrize("host", ["host.example/health", "host.example/health?", "host.example/health#", "/health"])
async def test_host_opens_nothing(host: str) -> None:
    """A Host header that would turn the URL into a public one opens no private path."""
    guarded = Guarded(public=["/health"])
    assert (await guarded.request("/orders", headers={"host": host, "x-forwarded-prefix": "/health"})).status == 401


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic dTpw"}])
async def test_optional(headers: dict[str, str]) -> None:
    """With `optional`, a request without a token passes as nobody."""
    guarded = Guarded(optional=True)
    for send in (guarded.request, guarded.connect):
        answer = await send(headers=headers)
        assert answer.accepted or answer.status == 200
        assert guarded.app.subject is None
    assert (await guarded.request(headers=authorization(guarded.auth))).status == 200
    assert guarded.app.subject == "alice"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("authorization", "Bearer a.b.c")], 401),
        ([("authorization", "Bearer")], 400),
        ([("authorization", "Basic x"), ("authorization", "Basic x")], 400),
    ],
)
async def test_optional_refuses_bad_tokens(headers: list[tuple[str, str]], status: int) -> None:
    """With `optional`, a bad token is refused all the same: it never passes as nobody."""
    guarded = Guarded(optional=True)
    for send in (guarded.request, guarded.connect):
        assert (await send(headers=headers)).status == status
    assert guarded.app.calls == []


@pytest.mark.parametrize("public", [["health"], ["/a", "/b*"], ["/a?b"], "/health,b"])
def test_public_fault(public: Any) -> None:
    """A public path that can't be meant is refused when the middleware is built."""
    with pytest.raises(ConfigurationError, match="public: may hold paths as /health"):
        Guarded(public=public)
