"""GET /.well-known/jwks.json: the public keys, for other services to verify with. RFC 7517 section 5."""

from hashlib import sha256

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_jwt.auth import Auth

MAX_AGE = 300
"""Seconds for which the answer may be cached: half of what a new key is published before it signs."""


class PublishedKeys:
    """Publishes the keys as they are now, those that don't sign yet among them; of secrets nothing."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def get(self, request: Request) -> Response:
        response = JSONResponse(await self._auth.published_keys(), media_type="application/jwk-set+json")
        tag = f'"{sha256(response.body).hexdigest()[:32]}"'
        response.headers["Cache-Control"] = f"public, max-age={MAX_AGE}"
        response.headers["ETag"] = tag
        # Compared weakly, for a proxy that compresses says W/ (RFC 9110 section 13.1.2).
        if tag in (given.strip().removeprefix("W/") for given in request.headers.get("if-none-match", "").split(",")):
            return Response(status_code=304, headers={"Cache-Control": response.headers["Cache-Control"], "ETag": tag})
        return response
