"""The Model Context Protocol: adapters for the `mcp` SDK and FastMCP, inside `JWTMiddleware` or instead of it."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken, TokenVerifier
from starlette.types import ASGIApp, Receive, Scope, Send

from asgi_jwt.auth import Auth
from asgi_jwt.errors import AuthError, Unavailable
from asgi_jwt.events import TokenRefused
from asgi_jwt.http.bearer import authorization_token
from asgi_jwt.http.require import guard_of
from asgi_jwt.tokens.claims import Claims


class Principal:
    """An SDK's app inside `JWTMiddleware`: `JWTMiddleware(Principal(mcp.streamable_http_app()), auth)`.

    `scope["user"]` is the SDK's `AuthenticatedUser`, so that an MCP session belongs to its user, and
    `get_access_token()` gives the caller's token. Raises `RuntimeError` where no `JWTMiddleware` is around it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = AuthContextMiddleware(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            guard = guard_of(scope)
            claims: Claims | None = scope["claims"]
            if claims is not None:
                # The SDK gets no token of another source. The header may then hold any token.
                shown = authorization_token(scope["headers"], (b"bearer", b"dpop")) if guard.reads_header else None
                token = b"" if shown is None else shown[1]
                scope["user"] = AuthenticatedUser(AccessToken(**_members(claims, token.decode("latin-1"))))
        await self.app(scope, receive, send)


class _Verifier:
    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def verify_token(self, token: str) -> AccessToken | None:
        members = await _verified(self._auth, token)
        return None if members is None else AccessToken(**members)


def token_verifier(auth: Auth) -> TokenVerifier:
    """A verifier for the `mcp` SDK: `MCPServer(..., token_verifier=token_verifier(auth), auth=AuthSettings(...))`.

    The SDK writes the challenges. The verifier raises `Unavailable` where keys or revocations are out of reach, which
    the SDK answers with 500.
    """
    return _Verifier(auth)


def fastmcp_verifier(auth: Auth, *, required_scopes: Sequence[str] | None = None) -> Any:
    """A verifier for FastMCP: `FastMCP(..., auth=fastmcp_verifier(auth))`.

    `required_scopes` None: those of the setting `SCOPES`. It raises FastMCP's `TokenVerificationError` where keys or
    revocations are out of reach. The result is a `fastmcp.server.auth.TokenVerifier`.
    """
    fastmcp: Any = import_module("fastmcp.server.auth")

    async def verify_token(self: object, token: str) -> Any:
        try:
            members = await _verified(auth, token)
        except Unavailable as error:
            raise fastmcp.TokenVerificationError(error.description) from error
        return None if members is None else fastmcp.AccessToken(**members)

    verifier = type("Verifier", (fastmcp.TokenVerifier,), {"verify_token": verify_token})
    return verifier(required_scopes=list(auth.settings.scopes if required_scopes is None else required_scopes))


async def _verified(auth: Auth, token: str) -> dict[str, Any] | None:
    """The members of the SDKs' access token; None for a token that is refused. Raises `Unavailable`."""
    try:
        claims = await auth.verify(token)
    except AuthError as error:
        await auth.events.emit(TokenRefused(error.reason, error.status, "http"))
        if isinstance(error, Unavailable):
            raise
        return None
    return _members(claims, token, auth.settings.resource)


def _members(claims: Claims, token: str, resource: str | None = None) -> dict[str, Any]:
    members = claims.to_dict()
    audience = members.get("aud") or []
    audiences = [audience] if isinstance(audience, str) else audience
    return {
        "token": token,
        "client_id": str(members.get("client_id") or members.get("azp") or ""),
        "scopes": list(claims.credentials.scopes),
        "expires_at": int(claims.expires_at) if "exp" in claims else None,
        "resource": resource if resource in audiences else next(iter(audiences), None),
        "subject": claims.subject,
        "claims": members,
    }
