"""GET /.well-known/jwks.json: the public keys, for other services to verify with. RFC 7517 section 5."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_jwt.auth import Auth
from asgi_jwt.http.conditional import entity_tag, has_it

MAX_AGE = 300
"""Seconds for which the answer may be cached: half of what a new key is published before it signs."""


class PublishedKeys:
    """Publishes the keys as they are now, those that don't sign yet among them; of secrets nothing."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def get(self, request: Request) -> Response:
        response = JSONResponse(await self._auth.published_keys(), media_type="application/jwk-set+json")
        tag = entity_tag(bytes(response.body))
        response.headers["Cache-Control"] = f"public, max-age={MAX_AGE}"
        response.headers["ETag"] = tag
        if has_it(request, tag):
            return Response(status_code=304, headers={"Cache-Control": response.headers["Cache-Control"], "ETag": tag})
        return response
