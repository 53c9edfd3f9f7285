"""BackchannelLogout: an issuer tells that a user has logged out there. OpenID Connect Back-Channel Logout 1.0."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from asgi_jwt.auth import Auth
from asgi_jwt.callbacks import ask
from asgi_jwt.errors import AuthError, ConfigurationError, InvalidLogoutToken, InvalidToken
from asgi_jwt.events import TokenRefused, logger
from asgi_jwt.http.asgi import check_scope_type, checked_auth
from asgi_jwt.http.bearer import NO_STORE, Challenge, deny, error_response
from asgi_jwt.http.bodies import read_fields
from asgi_jwt.http.places import place_and_claims
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.logout_token import LOGOUT_TYP, check_logout_claims

OnLogout = Callable[[Claims], Awaitable[None] | None]


class BackchannelLogout:
    """An ASGI app to which trusted issuers send their logout tokens, by POST, at any path. It needs no Bearer token.

    It revokes the access tokens of the session `sid` in the logout token. Without a `sid` it revokes all tokens that
    the issuer has issued for the user until the logout. Every process refuses them within `REVOCATION_INTERVAL`, and
    open WebSockets end.

    `on_logout(claims)`, sync or async, gets the claims of the logout token afterwards. The host ends its own sessions
    there that it opened before the claim `iat`. Either `sub` or `sid` may be missing. An exception fails the request.
    Issuers send a logout token again after a failure, so `on_logout` may be called twice with one.

    Raises `ConfigurationError` without `LOGOUT_AUDIENCE` or a store.
    """

    def __init__(self, auth: Auth, on_logout: OnLogout | None = None) -> None:
        checked_auth(auth, "BackchannelLogout(auth)")
        if not auth.settings.logout_audience:
            raise ConfigurationError(
                "ASGI_JWT_LOGOUT_AUDIENCE is missing: the client id of this service at the issuer, to which the issuer"
                " sends its logout tokens"
            )
        auth.require_store()
        self._auth = auth
        self._on_logout = on_logout
        self._challenge = Challenge(auth.settings.realm)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        check_scope_type(scope)
        if scope["type"] == "lifespan":
            return
        response = error_response(404)
        if scope["type"] == "http":
            response = error_response(405, headers={"Allow": "POST"})
            if scope["method"] == "POST":
                response = await self._answer(Request(scope, receive))
        await deny(response, scope, receive, send)

    async def post(self, request: Request) -> Response:
        """Revokes the tokens of the session or of the user. Raises `InvalidRequest`, and `Unavailable`."""
        token = (await read_fields(request))["logout_token"]
        async with place_and_claims(self._auth, "backchannel_logout", partial(self._verified, token)) as claims:
            await self._auth.revoker.log_out(claims)
        if self._on_logout is not None:
            await ask(self._on_logout, claims)
        return Response(headers=NO_STORE)

    async def _verified(self, token: str) -> Claims:
        settings = self._auth.settings
        try:
            claims, policy = await self._auth.verifier.verify_signature(token.encode(), LOGOUT_TYP)
            check_logout_claims(claims, policy, settings.logout_audience, self._auth.clock())
        except InvalidToken as refused:
            logger.info("a logout token was refused: %s (%s)", refused.reason, refused)
            raise InvalidLogoutToken(refused.reason) from None
        return claims

    async def _answer(self, request: Request) -> Response:
        try:
            return await self.post(request)
        except AuthError as error:
            await self._auth.events.emit(TokenRefused(error.reason, error.status, "http"))
            return self._challenge.response(error)
