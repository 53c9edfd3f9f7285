"""POST /refresh and POST /token: exchange a refresh token for new tokens. RFC 6749 sections 5 and 6."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_jwt.auth import Auth
from asgi_jwt.errors import InvalidGrant, UnsupportedGrantType
from asgi_jwt.events import logger
from asgi_jwt.http.bearer import NO_STORE, error_body
from asgi_jwt.http.bodies import read_fields
from asgi_jwt.http.cookies import TokenCookies
from asgi_jwt.http.dpop import DPoP
from asgi_jwt.http.hints import HINTS
from asgi_jwt.http.oauth_client import client_id
from asgi_jwt.sessions.pairs import TokenPair
from asgi_jwt.sessions.sessions import LoadIdentity, OnReuse

TOKEN_HEADERS = {**NO_STORE, "Pragma": "no-cache"}
"""The headers of every answer that contains tokens (RFC 6749 section 5.1)."""


def token_response(pair: TokenPair, *, refresh_token: bool = False) -> Response:
    """The answer with new tokens. With `refresh_token`, its body contains the refresh token (RFC 6749 section 5.1)."""
    body: dict[str, Any] = {
        "access_token": pair.access_token,
        "token_type": pair.token_type,
        "expires_in": pair.expires_in,
        "scope": pair.scope,
    }
    if refresh_token:
        body["refresh_token"] = pair.refresh_token
    return JSONResponse(body, headers=TOKEN_HEADERS)


class Refresh:
    """Exchanges the refresh token of the cookie, or of the body, for new tokens."""

    def __init__(
        self,
        auth: Auth,
        dpop: DPoP,
        cookies: TokenCookies,
        load_identity: LoadIdentity | None,
        on_reuse: OnReuse | None,
    ) -> None:
        self._auth = auth
        self._dpop = dpop
        self._cookies = cookies
        self._load_identity = load_identity
        self._on_reuse = on_reuse

    async def by_cookie(self, request: Request) -> Response:
        """Refresh with the cookie, and set the cookies of the new tokens. Raises `AuthError`."""
        token = self._cookies.refresh_token(request)
        if token is None:
            return self._not_logged_in(request)
        pair = await self._auth.sessions.refresh(
            token,
            proof=self._dpop.proof(request.scope),
            load_identity=self._load_identity,
            check_size=self._cookies.check_size,
            on_reuse=self._on_reuse,
        )
        response = token_response(pair)
        self._cookies.set(response, request, pair)
        return response

    def _not_logged_in(self, request: Request) -> Response:
        """The 401 for a refresh without a cookie. Every page without a user sends one, so no event is emitted."""
        request.scope[HINTS].cookie_is_missing(request.scope)
        logger.debug("a refresh without a cookie: nobody is logged in")
        error = InvalidGrant()
        headers = {**TOKEN_HEADERS, "WWW-Authenticate": "Bearer"}
        response = JSONResponse(error_body(error), status_code=error.status, headers=headers)
        self._cookies.clear(response, request)
        return response

    async def by_body(self, request: Request) -> Response:
        """Refresh with the body's `refresh_token`, and answer in the body. Raises `AuthError`."""
        fields = await read_fields(request)
        if fields["grant_type"] != "refresh_token":
            raise UnsupportedGrantType
        pair = await self._auth.sessions.refresh(
            fields["refresh_token"],
            proof=self._dpop.proof(request.scope),
            load_identity=self._load_identity,
            client_id=client_id(request.scope["headers"], fields),
            scope=fields.get("scope", ""),
            on_reuse=self._on_reuse,
        )
        return token_response(pair, refresh_token=True)
