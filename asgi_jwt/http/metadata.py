"""Metadata by which clients find their way: RFC 8414 of the authorization server, RFC 9728 of the resource."""

from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from asgi_jwt.auth import Auth
from asgi_jwt.errors import ConfigurationError
from asgi_jwt.http.asgi import check_scope_type
from asgi_jwt.http.bearer import deny, error_response

# Any page may read what is public: clients run in browsers too.
_ANY_ORIGIN = {"Access-Control-Allow-Origin": "*"}
# MCP clients send a header of their own along, for which browsers ask first.
_PREFLIGHT = {**_ANY_ORIGIN, "Access-Control-Allow-Methods": "GET, HEAD", "Access-Control-Allow-Headers": "*"}
_WELL_KNOWN = "/.well-known/oauth-protected-resource"


def _public(document: dict[str, Any]) -> Response:
    return JSONResponse(document, headers={**_ANY_ORIGIN, "Cache-Control": "max-age=3600"})


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
            return _public(self._document())
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return Response(status_code=204, headers={**_PREFLIGHT, "Access-Control-Max-Age": "3600"})
        return error_response(405, headers={"Allow": "GET, HEAD"})

    def _document(self) -> dict[str, Any]:
        settings = self._auth.settings
        document = {
            "resource": settings.resource,
            "authorization_servers": list(self._auth.verifier.issuers),
            "bearer_methods_supported": ["header"] if "header" in settings.token_sources else [],
        }
        return {**document, "scopes_supported": list(settings.scopes)} if settings.scopes else document


class ServerMetadata:
    """`GET /.well-known/oauth-authorization-server`: what `AuthApp` offers to OAuth clients (RFC 8414).

    `ISSUER` has to be a URL, and the mount its own: the path of `ISSUER`, or any on its host. Else the answer is 404,
    for a client would be sent to another server.
    """

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._issuer = urlsplit(auth.settings.issuer[0])
        cookie_path = auth.settings.cookie_path
        self._stripped = "" if cookie_path in (None, "/") else cookie_path.rstrip("/")

    async def answer(self, request: Request) -> Response:
        mount = request.scope.get("root_path", "").rstrip("/") or self._stripped
        issuer = self._issuer
        known = issuer.path.rstrip("/") == mount or issuer.netloc == request.headers.get("host")
        if issuer.scheme not in ("https", "http") or not known:
            return error_response(404)
        return _public(await self._document(f"{issuer.scheme}://{issuer.netloc}{mount}"))

    async def _document(self, base: str) -> dict[str, Any]:
        settings = self._auth.settings
        document: dict[str, Any] = {
            "issuer": settings.issuer[0],
            "token_endpoint": f"{base}/token",
            "revocation_endpoint": f"{base}/revoke",
            "grant_types_supported": ["refresh_token"],
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
        }
        if settings.scopes:
            document["scopes_supported"] = list(settings.scopes)
        if (await self._auth.published_keys())["keys"]:
            document["jwks_uri"] = f"{base}/.well-known/jwks.json"
        return document
