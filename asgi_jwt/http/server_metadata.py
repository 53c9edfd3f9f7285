"""GET /.well-known/oauth-authorization-server: serves the metadata for OAuth clients. RFC 8414."""

from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_jwt.auth import Auth
from asgi_jwt.http.bearer import FOR_ALL_SITES, error_response
from asgi_jwt.http.dpop import dpop_metadata


class ServerMetadata:
    """Serves the URLs and abilities of `AuthApp` for OAuth clients (RFC 8414).

    `ISSUER` must be a URL, and `AuthApp` must be mounted at its path or be reached at its host. Otherwise the metadata
    would send a client to another server, so the answer is 404.
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
        return JSONResponse(await self._document(f"{issuer.scheme}://{issuer.netloc}{mount}"), headers=FOR_ALL_SITES)

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
        return {**document, **dpop_metadata(settings)}
