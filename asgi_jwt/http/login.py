"""POST /login: exchanges credentials for tokens."""

from collections.abc import Awaitable, Callable

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from asgi_jwt.auth import Auth
from asgi_jwt.callbacks import ask
from asgi_jwt.errors import AuthError, CrossSite, InvalidCredentials, InvalidGrant, InvalidRequest
from asgi_jwt.http.bodies import Credentials, read_fields
from asgi_jwt.http.cookies import SetsHeaders, TokenCookies
from asgi_jwt.http.cross_site import check_cross_site
from asgi_jwt.http.dpop import DPoP
from asgi_jwt.http.refresh import token_response
from asgi_jwt.sessions.pairs import TokenPair
from asgi_jwt.sessions.sessions import CheckSize
from asgi_jwt.stores.records import Client, SessionKey
from asgi_jwt.tokens.identity import Identity, kind
from asgi_jwt.tokens.proofs import VerifiedProof

Authenticate = Callable[[Credentials, Request], Awaitable[Identity | None] | Identity | None]

_MAX_USER_AGENT = 256


class Login:
    """Calls the host's `authenticate`, and opens a session for the user that it returns."""

    def __init__(self, auth: Auth, dpop: DPoP, authenticate: Authenticate, cookies: TokenCookies) -> None:
        self._auth = auth
        self._dpop = dpop
        self._authenticate = authenticate
        self._cookies = cookies
        self._trusted = auth.settings.trusted_origins

    async def post(self, request: Request) -> Response:
        """Log the user in, and bind the session to the key of a proof, if there is one.

        Raises `InvalidCredentials`, `CrossSite`, the errors of a malformed body, and `InvalidGrantProof`, before the
        credentials are checked.
        """
        replaced = self._replaced_token(request)
        credentials = await self._credentials(request)
        in_body = credentials.get("transport") == "body"
        proof = self._auth.binding.at_login(self._dpop.proof(request.scope))
        identity = await ask(self._authenticate, credentials, request)
        if identity is None:
            raise InvalidCredentials
        if not isinstance(identity, Identity):
            raise TypeError(
                "authenticate returns an Identity for a user and None for nobody, as Identity(str(user.id)):"
                f" it returned {kind(identity)}"
            )
        if in_body:
            return token_response(await self._open(request, identity, replaced, proof), refresh_token=True)
        pair = await self._open(request, identity, replaced, proof, check_size=self._cookies.check_size)
        response = token_response(pair)
        self._cookies.set(response, request, pair)
        return response

    async def start(self, request: HTTPConnection, response: SetsHeaders, identity: Identity) -> TokenPair:
        """Open a session for `identity`, and set its cookies on the host's `response`. Returns its first tokens."""
        proof = self._auth.binding.at_login(self._dpop.proof(request.scope))
        replaced = self._replaced_token(request)
        pair = await self._open(request, identity, replaced, proof, check_size=self._cookies.check_size)
        self._cookies.set(response, request, pair)
        return pair

    async def _open(
        self,
        request: HTTPConnection,
        identity: Identity,
        replaced: bytes | None,
        proof: VerifiedProof | None,
        *,
        check_size: CheckSize | None = None,
    ) -> TokenPair:
        """Open a session, and end the session of the refresh token that it replaces."""
        jkt = await self._auth.binding.use_at_login(proof)
        replaces = None if replaced is None else await self._session_of(replaced)
        client = _client(request)
        return await self._auth.sessions.open(identity, client, jkt=jkt, replaces=replaces, check_size=check_size)

    async def _credentials(self, request: Request) -> Credentials:
        """The fields of the body. Raises `CrossSite` if another site's page could log its visitor in as someone else.

        A login with `transport=body` sets no cookie, so other sites may send it. An app in a web view does so.
        """
        try:
            check_cross_site(request.scope, self._trusted)
        except CrossSite:
            if self._cookies.are_in(request) or not (fields := await _read_for_body_transport(request)):
                raise
            return fields
        return await read_fields(request)

    def _replaced_token(self, request: HTTPConnection) -> bytes | None:
        """The refresh token of the cookie that this login replaces. None: there is no cookie, or there are several.

        A sibling subdomain can add any number of cookies of this name. They must not prevent the login, and must not
        end a session.
        """
        try:
            return self._cookies.refresh_token(request)
        except InvalidRequest:
            return None

    async def _session_of(self, replaced: bytes) -> SessionKey | None:
        """The session of the replaced refresh token. It ends, because a thief may hold a copy without being noticed.

        Reuse is detected only while the owner uses the token, too. An invalid token has no session to end.
        """
        try:
            claims = await self._auth.sessions.read(replaced)
        except InvalidGrant:
            return None
        return SessionKey(claims.subject, claims["sid"])


async def _read_for_body_transport(request: Request) -> Credentials | None:
    """The fields of a login with `transport=body`. None: any other body, also a malformed one."""
    try:
        fields = await read_fields(request)
        return fields if fields.get("transport") == "body" else None
    except AuthError:
        return None


def _client(request: HTTPConnection) -> Client:
    user_agent = request.headers.get("user-agent")
    return Client(
        user_agent=user_agent[:_MAX_USER_AGENT] if user_agent else None,
        address=request.client.host if request.client else None,
    )
