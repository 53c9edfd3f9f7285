"""Serves the metadata of the resource, in which MCP clients find the authorization server. RFC 9728."""

from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_jwt.auth import Auth
from asgi_jwt.errors import ConfigurationError
from asgi_jwt.http.asgi import check_scope_type
from asgi_jwt.http.bearer import FOR_ALL_SITES, deny, error_response
from asgi_jwt.http.dpop import dpop_metadata

# MCP clients in a browser add a header of their own, so the browser sends a preflight request first.
_PREFLIGHT = {**FOR_ALL_SITES, "Access-Control-Allow-Methods": "GET, HEAD", "Access-Control-Allow-Headers": "*"}
_WELL_KNOWN = "/.well-known/oauth-protected-resource"


class ResourceMetadata:
    """An ASGI app that serves the metadata of the setting `RESOURCE` at any path, and needs no token (RFC 9728).

    `JWTMiddleware` serves the same metadata. If the app inside `JWTMiddleware` is mounted below a path, mount this app
    beside it: `app.mount("/.well-known/oauth-protected-resource", ResourceMetadata(auth))`.

    Raises `ConfigurationError` if `RESOURCE` is not set.
    """

    def __init__(self, auth: Auth) -> None:
        if auth.settings.resource is None:
            raise ConfigurationError("ASGI_JWT_RESOURCE is missing: this service's URL, as https://host/mcp")
        self._auth = auth
        url = urlsplit(auth.settings.resource)
        path = _WELL_KNOWN + (url.path if url.path != "/" else "")
        self.url = f"{url.scheme}://{url.netloc}{path}"
        """The URL at which clients fetch the metadata (RFC 9728 section 3.1)."""
        self.path = unquote(path)
        """The path of `url`, decoded like the path of an ASGI scope."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        check_scope_type(scope)
        response = self._answer(Request(scope)) if scope["type"] == "http" else error_response(404)
        await deny(response, scope, receive, send)

    def _answer(self, request: Request) -> Response:
        if request.method in ("GET", "HEAD"):
            return JSONResponse(self._document(), headers=FOR_ALL_SITES)
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return Response(status_code=204, headers=_PREFLIGHT)
        return error_response(405, headers={"Allow": "GET, HEAD"})

    def _document(self) -> dict[str, Any]:
        settings = self._auth.settings
        document = {
            "resource": settings.resource,
            **self._authorization_servers(),
            "bearer_methods_supported": ["header"] if "header" in settings.token_sources else [],
        }
        scopes = {"scopes_supported": list(settings.scopes)} if settings.scopes else {}
        return {**document, **scopes, **dpop_metadata(settings)}

    def _authorization_servers(self) -> dict[str, list[str]]:
        """The issuers that are named in full, and each tenant of a list. A member without values is left out."""
        verifier = self._auth.verifier
        tenants = {pattern.text: pattern.issuers for pattern in verifier.patterns}
        named = [issuer for name in verifier.issuers for issuer in tenants.get(name, (name,))]
        return {"authorization_servers": named} if named else {}
