"""The metadata of the resource, by which MCP clients find the authorization server. RFC 9728."""

from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from asgi_jwt.auth import Auth
from asgi_jwt.errors import ConfigurationError
from asgi_jwt.http.asgi import check_scope_type
from asgi_jwt.http.bearer import FOR_ALL, deny, error_response

# MCP clients send a header of their own along, for which browsers ask first.
_PREFLIGHT = {**FOR_ALL, "Access-Control-Allow-Methods": "GET, HEAD", "Access-Control-Allow-Headers": "*"}
_WELL_KNOWN = "/.well-known/oauth-protected-resource"


class ResourceMetadata:
    """The metadata of the setting `RESOURCE` (RFC 9728), as an ASGI app that answers at any path, without a token.

    `JWTMiddleware` serves the same by itself. Where what it guards is mounted, mount this beside it:
    `app.mount("/.well-known/oauth-protected-resource", ResourceMetadata(auth))`.

    Raises `ConfigurationError` where there is no `RESOURCE`.
    """

    def __init__(self, auth: Auth) -> None:
        if auth.settings.resource is None:
            raise ConfigurationError("ASGI_JWT_RESOURCE is missing: this service's URL, as https://host/mcp")
        self._auth = auth
        url = urlsplit(auth.settings.resource)
        path = _WELL_KNOWN + (url.path if url.path != "/" else "")
        self.url = f"{url.scheme}://{url.netloc}{path}"
        """Where clients look for it (section 3.1)."""
        self.path = unquote(path)
        """The same as a scope's path, which is decoded."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        check_scope_type(scope)
        response = self._answer(Request(scope)) if scope["type"] == "http" else error_response(404)
        await deny(response, scope, receive, send)

    def _answer(self, request: Request) -> Response:
        if request.method in ("GET", "HEAD"):
            return JSONResponse(self._document(), headers=FOR_ALL)
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return Response(status_code=204, headers=_PREFLIGHT)
        return error_response(405, headers={"Allow": "GET, HEAD"})

    def _document(self) -> dict[str, Any]:
        settings = self._auth.settings
        document = {
            "resource": settings.resource,
            "authorization_servers": list(self._auth.verifier.issuers),
            "bearer_methods_supported": ["header"] if "header" in settings.token_sources else [],
        }
        return {**document, "scopes_supported": list(settings.scopes)} if settings.scopes else document
