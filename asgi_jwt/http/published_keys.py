"""GET /.well-known/jwks.json: publishes the public keys, with which other services verify. RFC 7517 section 5."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_jwt.auth import Auth
from asgi_jwt.http.conditional import client_has, entity_tag

MAX_AGE = 300
"""How long (s) the answer may be cached: half of the time that a new key is published before it signs."""


class PublishedKeys:
    """Publishes the present public keys, including keys that don't sign yet. A secret is never published."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def get(self, request: Request) -> Response:
        response = JSONResponse(await self._auth.published_keys(), media_type="application/jwk-set+json")
        tag = entity_tag(bytes(response.body))
        response.headers["Cache-Control"] = f"public, max-age={MAX_AGE}"
        response.headers["ETag"] = tag
        if client_has(request, tag):
            return Response(status_code=304, headers={"Cache-Control": response.headers["Cache-Control"], "ETag": tag})
        return response
