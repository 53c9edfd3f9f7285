"""POST /login: credentials against tokens."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from asgi_jwt.auth import Auth
from asgi_jwt.callbacks import ask
from asgi_jwt.errors import AuthError, CrossSite, InvalidCredentials, InvalidGrant, InvalidRequest
from asgi_jwt.http.bodies import Credentials, read_fields
from asgi_jwt.http.cookies import TokenCookies
from asgi_jwt.http.cross_site import check_cross_site
from asgi_jwt.http.refresh import token_response
from asgi_jwt.stores.records import Client
from asgi_jwt.tokens.identity import Identity, kind

Authenticate = Callable[[Credentials, Request], Awaitable[Identity | None] | Identity | None]

_MAX_USER_AGENT = 256


class Login:
    """Asks the host's `authenticate`, and opens a session for whom it names."""

    def __init__(self, auth: Auth, authenticate: Authenticate, cookies: TokenCookies) -> None:
        self._auth = auth
        self._authenticate = authenticate
        self._cookies = cookies
        self._trusted = auth.settings.trusted_origins

    async def post(self, request: Request) -> Response:
        presented = self._presented(request)
        credentials = await self._credentials(request)
        in_body = credentials.get("transport") == "body"
        identity = await ask(self._authenticate, credentials, request)
        if identity is None:
            raise InvalidCredentials
        if not isinstance(identity, Identity):
            raise TypeError(
                "authenticate returns an Identity for a user and None for nobody, as Identity(str(user.id)):"
                f" it returned {kind(identity)}"
            )
        check_size = None if in_body else self._cookies.check_size
        pair = await self._auth.sessions.open(identity, _client(request), check_size=check_size)
        if presented is not None:
            await self._end(presented)
        if in_body:
            return token_response(pair, refresh_token=True)
        response = token_response(pair)
        self._cookies.set(response, request, pair)
        return response

    async def _credentials(self, request: Request) -> Credentials:
        """The fields of the body. Raises `CrossSite` where another site's page could log its visitor in as another.

        With `transport=body` no cookie is set. An app in a web view, which is another site, logs in so.
        """
        try:
            check_cross_site(request.scope, self._trusted)
        except CrossSite:
            if self._cookies.came(request) or not (fields := await _read_for_body(request)):
                raise
            return fields
        return await read_fields(request)

    def _presented(self, request: Request) -> bytes | None:
        """The refresh token of the cookie that this login replaces; None for no cookie and for two of its name.

        A sibling subdomain can toss a second cookie, or a thousand. They must neither keep the user out nor end a
        session.
        """
        try:
            return self._cookies.refresh_token(request)
        except InvalidRequest:
            return None

    async def _end(self, presented: bytes) -> None:
        """End the session of the replaced cookie: a thief who holds a copy could otherwise go on unchallenged."""
        try:
            claims = await self._auth.sessions.read(presented)
        except InvalidGrant:
            return
        await self._auth.sessions.end(claims.subject, claims["sid"])


async def _read_for_body(request: Request) -> Credentials | None:
    """The fields of a login that asks for its tokens in the body; None for every other body, a broken one too."""
    try:
        fields = await read_fields(request)
        return fields if fields.get("transport") == "body" else None
    except AuthError:
        return None


def _client(request: Request) -> Client:
    user_agent = request.headers.get("user-agent")
    return Client(
        user_agent=user_agent[:_MAX_USER_AGENT] if user_agent else None,
        address=request.client.host if request.client else None,
    )
