"""The metadata by which MCP clients find the authorization server: RFC 9728."""

from typing import Any
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from support.app import (
    ISSUER,
    SECRET,
    Guarded,
    Recorder,
    authorization,
    exchange,
    http_scope,
    make_auth,
    make_token,
    websocket_scope,
)

from asgi_jwt import Auth, ConfigurationError, JWTMiddleware, ResourceMetadata, Settings
from asgi_jwt.tokens.proof import PROOF_ALGORITHMS

pytestmark = pytest.mark.anyio

RESOURCE = "https://host.example/mcp"
WELL_KNOWN = "/.well-known/oauth-protected-resource"


def protecting(resource: str = RESOURCE, **settings: Any) -> Guarded:
    """An app that is the resource, its audience left to default."""
    return Guarded(Auth(Settings(**{"issuer": ISSUER, "secret": SECRET, "resource": resource, **settings})))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_metadata(method: str) -> None:
    """The metadata is public, and names the resource, its authorization server and how a token is sent (section 2)."""
    answer = await protecting().request(f"{WELL_KNOWN}/mcp", method=method)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"] == "max-age=3600"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.json() == {
        "resource": RESOURCE,
        "authorization_servers": [ISSUER],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": list(PROOF_ALGORITHMS),
    }


@pytest.mark.parametrize(
    ("tenants", "listed"), [("b,a", ["https://kc.example/a", "https://kc.example/b"]), ("*", None)]
)
async def test_tenants(tenants: str, listed: list[str] | None) -> None:
    """Each listed tenant is an authorization server. If any tenant is allowed, none is named (section 3.2)."""
    found_by: dict[str, Any] = {"secret": None, "discovery": True, "tenants": tenants}
    answer = await protecting(issuer="https://kc.example/{tenant}", **found_by).request(f"{WELL_KNOWN}/mcp")
    assert answer.json().get("authorization_servers") == listed


async def test_challenges_name_it() -> None:
    """Every challenge names where it is (section 5.1), with an error and without, to requests and to sockets."""
    guarded = protecting()
    start = f'Bearer realm="api", resource_metadata="https://host.example{WELL_KNOWN}/mcp"'
    assert (await guarded.request()).challenge == start
    assert (await guarded.connect()).challenge == start
    bad = await guarded.request(headers={"authorization": "Bearer a.b.c"})
    assert (bad.challenge or "").startswith(f'{start}, error="invalid_token"')


async def test_audience_defaults_to_the_resource() -> None:
    """Tokens have to be for the resource (RFC 8707) unless an audience is set."""
    guarded = protecting()
    assert (await guarded.request(headers=authorization(guarded.auth))).status == 200
    other = protecting("https://host.example/other")
    answer = await guarded.request(headers={"authorization": f"Bearer {make_token(other.auth)}"})
    assert answer.json()["error_description"] == "The access token is for another audience"
    assert protecting(audience="api").auth.settings.audience == ("api",)


PLACES = [("https://host.example", ""), ("https://host.example/", ""), ("https://host.example/a/b", "/a/b")]
PLACES += [("https://host.example/a%20b", "/a%20b"), ("http://localhost:8000/mcp", "/mcp")]


@pytest.mark.parametrize(("resource", "path"), PLACES)
async def test_place(resource: str, path: str) -> None:
    """The well-known name is put before the resource's path (section 3.1), and is served as the server decodes it."""
    guarded = protecting(resource)
    answer = await guarded.request(WELL_KNOWN + unquote(path))
    assert (answer.status, answer.json()["resource"]) == (200, resource)
    origin = resource.removesuffix("/").removesuffix(path)
    assert (await guarded.request()).challenge == f'Bearer realm="api", resource_metadata="{origin}{WELL_KNOWN}{path}"'


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_only_to_read(method: str) -> None:
    """Nothing but reading is answered there, and nothing reaches the app."""
    guarded = protecting()
    answer = await guarded.request(f"{WELL_KNOWN}/mcp", method=method)
    assert (answer.error, answer.headers["allow"]) == ((405, "method_not_allowed"), "GET, HEAD")
    assert guarded.app.calls == []


async def test_a_browser_may_ask_first() -> None:
    """A page of any site may read it, also one that sends MCP's own header along: the preflight is answered."""
    headers = {"origin": "https://inspector.example", "access-control-request-method": "GET"}
    headers["access-control-request-headers"] = "mcp-protocol-version"
    answer = await protecting().request(f"{WELL_KNOWN}/mcp", method="OPTIONS", headers=headers)
    assert (answer.status, answer.body) == (204, b"")
    allowed = [answer.headers[f"access-control-allow-{each}"] for each in ("origin", "methods", "headers")]
    assert allowed == ["*", "GET, HEAD", "*"]


async def test_scopes() -> None:
    """With `SCOPES` the metadata and the challenge for no token name them; no other challenge does."""
    guarded = protecting(scopes="orders:read orders:write")
    answer = await guarded.request(f"{WELL_KNOWN}/mcp")
    assert answer.json()["scopes_supported"] == ["orders:read", "orders:write"]
    assert ((await guarded.request()).challenge or "").endswith(', scope="orders:read orders:write"')
    bad = await guarded.request(headers={"authorization": "Bearer a.b.c"})
    assert bad.challenge
    assert "scope" not in bad.challenge


async def test_beside_a_mounted_app() -> None:
    """`ResourceMetadata` answers where the guarded app, being mounted, can't: at the root of the host."""
    auth = protecting().auth
    routes = [Mount("/mcp", JWTMiddleware(Recorder(), auth)), Mount(WELL_KNOWN, ResourceMetadata(auth))]
    app = Starlette(routes=routes)
    refused = await exchange(app, http_scope("/mcp/"))
    assert refused.challenge == f'Bearer realm="api", resource_metadata="https://host.example{WELL_KNOWN}/mcp"'
    for path in (f"{WELL_KNOWN}/mcp", f"{WELL_KNOWN}/", WELL_KNOWN + "/mcp/"):
        answer = await exchange(app, http_scope(path))
        assert (answer.status, answer.json()["resource"]) == (200, RESOURCE)


async def test_the_app_of_the_metadata() -> None:
    """It answers no WebSocket, and there is none without a `RESOURCE`."""
    app = ResourceMetadata(protecting().auth)
    assert (await exchange(app, websocket_scope())).status == 404
    with pytest.raises(ConfigurationError, match="ASGI_JWT_RESOURCE is missing"):
        ResourceMetadata(make_auth())


async def test_nothing_else_is_public() -> None:
    """Only that very path is public, and to requests alone: a socket to it needs a token like any other. Without
    `RESOURCE` there is no metadata: the path is one like any other."""
    guarded, without = protecting(), Guarded()
    for path in ("/mcp", *(WELL_KNOWN + rest for rest in ("", "/", "/mcp/", "/mcp/x", "/MCP"))):
        assert (await guarded.request(path)).status == 401, path
    assert (await guarded.connect(f"{WELL_KNOWN}/mcp")).status == 401
    assert guarded.app.calls == []
    assert (await without.request(WELL_KNOWN)).status == 401
    assert (await without.request(WELL_KNOWN, headers=authorization(without.auth))).body == b"app"


async def test_below_a_root_path() -> None:
    """Behind a proxy that sets a root path, the metadata is served with it and without."""
    guarded = protecting()
    for path in (f"/api{WELL_KNOWN}/mcp", f"{WELL_KNOWN}/mcp"):
        assert (await guarded.request(path, root_path="/api")).json()["resource"] == RESOURCE


async def test_without_the_header() -> None:
    """Where the header is no source, no method of RFC 6750 is offered."""
    answer = await protecting(token_sources="cookie:token").request(f"{WELL_KNOWN}/mcp")
    assert answer.json()["bearer_methods_supported"] == []
