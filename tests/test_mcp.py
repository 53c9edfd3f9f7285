"""MCP servers of both SDKs over HTTP, driven by the SDKs' own clients."""

import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx2
import pytest
from frameworks.mcp_app import create_app, create_app_by_the_sdk, create_app_over_sse, whoami
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import MCPServer
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from support.app import AUDIENCE, WatchedStore, authorization, exchange, http_scope, make_auth, make_token
from support.outside import package
from support.serving import serving_made
from support.waiting import PATIENCE

from asgi_jwt import Auth, JWTMiddleware, MemoryStore, Settings
from asgi_jwt.events import Event, TokenRefused
from asgi_jwt.mcp import Principal, fastmcp_verifier
from asgi_jwt.testing import Clock

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

SESSION = "mcp-session-id"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
ACCEPT = {"accept": "application/json, text/event-stream"}


class Service:
    """An MCP server at `url`, whose tool `whoami` tells the caller. The clock starts at the present."""

    def __init__(self, address: str) -> None:
        self.url = f"http://{address}"
        self.clock = Clock(time.time())
        self.heard: list[Event] = []
        self.store = WatchedStore(MemoryStore())
        settings = Settings(
            issuer=self.url,
            resource=f"{self.url}/mcp",
            scopes=["tools:call"],
            secret="0123456789abcdef" * 2,
            leeway=0,
            public_paths=["/.well-known/*", "/token"],
        )
        self.auth = Auth(settings, store=self.store, on_event=self.heard.append, clock=self.clock)
        self.asked: list[dict[str, Any]] = []

    def headers(self, subject: str = "alice", **identity: Any) -> dict[str, str]:
        return authorization(self.auth, subject, **{"scopes": "tools:call", "client_id": "agent", **identity})

    def token(self, subject: str = "alice", **identity: Any) -> str:
        return self.headers(subject, **identity)["authorization"].removeprefix("Bearer ")


@contextmanager
def serving(make: Callable[[Service], Any]) -> Iterator[Service]:
    made: list[Service] = []

    def app(address: str) -> Any:
        made.append(Service(address))
        return make(made[0])

    with serving_made(app):
        yield made[0]


def guarded(service: Service) -> Any:
    return create_app(service.auth)


def guarded_sse(service: Service) -> Any:
    return create_app_over_sse(service.auth)


def by_the_sdk(service: Service) -> Any:
    return create_app_by_the_sdk(service.auth, service.url)


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    with serving(getattr(request, "param", guarded)) as service:
        yield service


@asynccontextmanager
async def connected(service: Service, headers: dict[str, str], mode: Any = "legacy", **more: Any) -> Any:
    """The SDK's client, and the HTTP client that it uses."""
    async with (
        httpx2.AsyncClient(headers=headers, timeout=PATIENCE, trust_env=False, **more) as http,
        Client(streamable_http_client(f"{service.url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


def text(result: Any) -> str:
    told: str = result.content[0].text
    return told


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28", "auto"])
@pytest.mark.parametrize("service", [guarded, by_the_sdk], indirect=True)
async def test_a_tool_knows_the_caller(service: Service, mode: str) -> None:
    """`get_access_token()` speaks of the caller: the subject, the client, the issuer and the scopes."""
    async with connected(service, service.headers(), mode) as client:
        assert text(await client.call_tool("whoami")) == f"alice by agent of {service.url} may tools:call"


async def test_a_session_belongs_to_its_user(service: Service) -> None:
    """Another user's token in a session finds none: POST, GET and DELETE are 404, and the session lives on."""
    async with httpx2.AsyncClient(base_url=service.url, headers=ACCEPT, timeout=PATIENCE, trust_env=False) as http:
        opened = await http.post("/mcp", json=INITIALIZE, headers=service.headers())
        assert opened.status_code == 200
        session = {SESSION: opened.headers[SESSION]}
        bob = service.headers("bob") | session
        assert (await http.post("/mcp", json=LIST, headers=bob)).status_code == 404
        assert (await http.get("/mcp", headers=bob)).status_code == 404
        assert (await http.delete("/mcp", headers=bob)).status_code == 404
        assert (await http.post("/mcp", json=LIST, headers=session)).status_code == 401
        alice = service.headers() | session  # another token of hers
        assert (await http.post("/mcp", json=LIST, headers=alice)).status_code == 200
        async with http.stream("GET", "/mcp", headers=alice) as stream:
            assert stream.status_code == 200
        assert (await http.delete("/mcp", headers=alice)).status_code == 200
        assert (await http.post("/mcp", json=LIST, headers=alice)).status_code == 404


@pytest.mark.parametrize("service", [guarded_sse], indirect=True)
async def test_a_session_over_sse_belongs_to_its_user(service: Service) -> None:
    """The same for the older transport: Bob's message does not reach Alice's session."""
    ids: list[str] = []
    transport = sse_client(f"{service.url}/sse", headers=service.headers(), on_session_created=ids.append)
    async with Client(transport, mode="legacy") as client:
        assert text(await client.call_tool("whoami")).startswith("alice by agent")
        async with httpx2.AsyncClient(base_url=service.url, timeout=PATIENCE, trust_env=False) as http:
            url = f"/messages/?session_id={ids[0]}"
            assert (await http.post(url, json=LIST, headers=service.headers("bob"))).status_code == 404
            assert (await http.post(url, json=LIST)).status_code == 401
            assert (await http.post(url, json=LIST, headers=service.headers())).status_code == 202


async def test_the_end_of_a_token_in_a_session(service: Service) -> None:
    """A token that expires or is revoked in mid-session is refused with the challenge; a fresh one goes on."""
    async with httpx2.AsyncClient(base_url=service.url, headers=ACCEPT, timeout=PATIENCE, trust_env=False) as http:
        alice = service.headers()
        opened = await http.post("/mcp", json=INITIALIZE, headers=alice)
        session = {SESSION: opened.headers[SESSION]}
        service.clock.turn(3600)
        refused = await http.post("/mcp", json=LIST, headers=alice | session)
        assert refused.status_code == 401
        metadata = f'resource_metadata="{service.url}/.well-known/oauth-protected-resource/mcp"'
        assert metadata in refused.headers["www-authenticate"]
        assert 'error_description="The access token expired"' in refused.headers["www-authenticate"]
        fresh = service.headers()
        assert (await http.post("/mcp", json=LIST, headers=fresh | session)).status_code == 200
        await service.auth.revoke_token(fresh["authorization"].removeprefix("Bearer "))
        assert (await http.post("/mcp", json=LIST, headers=fresh | session)).status_code == 401
        assert [event.reason for event in service.heard if isinstance(event, TokenRefused)] == [
            "token_expired",
            "token_revoked",
        ]


class Storage:
    """Where the SDK's client keeps tokens."""

    def __init__(self) -> None:
        self.tokens: Any = None
        self.client: Any = None

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> Any:
        return self.client

    async def set_client_info(self, client_info: Any) -> None:
        self.client = client_info


def with_authorization_server(service: Service) -> Any:
    """The guarded server, and beside it one that issues tokens for the `resource` that a client asks for."""

    async def metadata(request: Request) -> JSONResponse:
        endpoints = {f"{name}_endpoint": f"{service.url}/{name}" for name in ("authorization", "token")}
        return JSONResponse({"issuer": service.url, "response_types_supported": ["code"], **endpoints})

    async def token(request: Request) -> JSONResponse:
        async with request.form() as form:
            service.asked.append(dict(form))
        issued = service.token("robot", client_id="robot")
        return JSONResponse({"access_token": issued, "token_type": "Bearer", "expires_in": 60})

    server: Any = MCPServer("whoami", log_level="ERROR")
    server.add_tool(whoami)
    app = server.streamable_http_app()
    app.router.routes += [
        Route("/.well-known/oauth-authorization-server", metadata),
        Route("/token", token, methods=["POST"]),
    ]
    return JWTMiddleware(Principal(app), service.auth)


@pytest.mark.parametrize("service", [with_authorization_server], indirect=True)
async def test_discovery(service: Service) -> None:
    """The SDK's client finds the authorization server by the challenge, and asks for our resource and our scopes."""
    auth = ClientCredentialsOAuthProvider(f"{service.url}/mcp", Storage(), "robot", "secret", issuer=service.url)
    async with connected(service, {}, auth=auth) as client:
        assert text(await client.call_tool("whoami")).startswith("robot by robot")
    assert service.asked[0]["resource"] == f"{service.url}/mcp"
    assert service.asked[0]["scope"] == "tools:call"


@pytest.mark.parametrize("service", [by_the_sdk], indirect=True)
async def test_the_sdk_s_own_guard(service: Service) -> None:
    """With `token_verifier` a bad token is 401, too little 403, and what is out of reach is never a 401."""
    async with httpx2.AsyncClient(base_url=service.url, headers=ACCEPT, timeout=PATIENCE, trust_env=False) as http:

        async def status(headers: dict[str, str], body: Any = None) -> int:
            # A server that refuses a request before its body has arrived closes the connection, and may reset it.
            return (await http.post("/mcp", json=body, headers=headers)).status_code

        assert await status(service.headers(), INITIALIZE) == 200
        assert await status({}) == 401
        assert await status({"authorization": "Bearer a.b.c"}) == 401
        assert await status(service.headers(scopes="")) == 403
        service.store.down = {"read_revocations"}
        service.clock.turn(60)
        assert await status(service.headers()) == 500
    assert [event.reason for event in service.heard if isinstance(event, TokenRefused)] == [
        "token_malformed",
        "revocations_unavailable",
    ]


@pytest.mark.parametrize("sources", [["header"], ["cookie:token"]])
async def test_the_token_that_is_told(sources: list[str]) -> None:
    """`get_access_token().token` is the one that was verified: never a header beside another source."""
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        token = get_access_token()
        assert token is not None
        told.append((token.token, token.resource, token.subject))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    auth = make_auth(token_sources=sources)
    token = make_token(auth)
    headers = [("authorization", f"Bearer {token if sources == ['header'] else 'of.anything.else'}")]
    scope = http_scope(headers=[*headers, ("cookie", f"token={token}")])
    assert (await exchange(JWTMiddleware(Principal(app), auth), scope)).status == 200
    assert told == [(token if sources == ["header"] else "", AUDIENCE, "alice")]


async def test_nobody_and_no_middleware() -> None:
    """On a public path there is no caller; without the middleware nothing reaches the server."""
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.append(get_access_token())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    await exchange(JWTMiddleware(Principal(app), make_auth(), public=["/"]), http_scope())
    with pytest.raises(RuntimeError, match="JWTMiddleware around the app"):
        await exchange(Principal(app), http_scope())
    assert told == [None]


@pytest.mark.outside
@pytest.mark.parametrize("inside", [True, False])
async def test_fastmcp(inside: bool) -> None:
    """FastMCP's tools know the caller, inside the middleware and by FastMCP's own verifier; others are refused."""
    fastmcp = package("fastmcp")

    def app(service: Service) -> Any:
        made = fastmcp.FastMCP("whoami", auth=None if inside else fastmcp_verifier(service.auth))

        def caller() -> str:
            token = fastmcp.server.dependencies.get_access_token()
            assert token is not None
            return f"{token.subject} {token.claims['iss']}"

        made.tool(caller)
        http = made.http_app()
        return JWTMiddleware(Principal(http), service.auth) if inside else http

    with serving(app) as service:
        async with fastmcp.Client(f"{service.url}/mcp", auth=service.token()) as client:
            assert text(await client.call_tool("caller")) == f"alice {service.url}"
        async with httpx2.AsyncClient(base_url=service.url, headers=ACCEPT, timeout=PATIENCE, trust_env=False) as http:
            for headers, status in (({}, 401), ({"authorization": "Bearer a.b.c"}, 401), (service.headers(), 200)):
                assert (await http.post("/mcp", json=INITIALIZE, headers=headers)).status_code == status
            opened = await http.post("/mcp", json=INITIALIZE, headers=service.headers())
            bob = service.headers("bob") | {SESSION: opened.headers[SESSION]}
            assert (await http.delete("/mcp", headers=bob)).status_code == 404
            if not inside:
                little = await http.post("/mcp", json=INITIALIZE, headers=service.headers(scopes=""))
                assert little.status_code == 403
                service.store.down = {"read_revocations"}
                service.clock.turn(60)
                # Without a body: uvicorn resets a connection whose request it has not read to its end.
                assert (await http.get("/mcp", headers=service.headers())).status_code >= 500
