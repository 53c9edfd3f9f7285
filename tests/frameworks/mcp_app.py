"""An MCP server, written as the SDK's documentation writes one."""

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl
from starlette.applications import Starlette

from asgi_jwt import Auth, JWTMiddleware
from asgi_jwt.mcp import Principal, token_verifier


def whoami() -> str:
    """The caller."""
    token = get_access_token()
    assert token is not None
    return f"{token.subject} by {token.client_id} of {(token.claims or {})['iss']} may {' '.join(token.scopes)}"


def create_app(auth: Auth) -> JWTMiddleware:
    server = MCPServer("whoami", log_level="ERROR")
    server.add_tool(whoami)
    return JWTMiddleware(Principal(server.streamable_http_app()), auth)


def create_app_over_sse(auth: Auth) -> JWTMiddleware:
    server = MCPServer("whoami", log_level="ERROR")
    server.add_tool(whoami)
    return JWTMiddleware(Principal(server.sse_app()), auth)


def create_app_by_the_sdk(auth: Auth, url: str) -> Starlette:
    settings = AuthSettings(
        issuer_url=AnyHttpUrl(url),
        resource_server_url=AnyHttpUrl(f"{url}/mcp"),
        required_scopes=["tools:call"],
        validate_token_resource=True,
    )
    server = MCPServer("whoami", log_level="ERROR", token_verifier=token_verifier(auth), auth=settings)
    server.add_tool(whoami)
    return server.streamable_http_app()
