"""POST /logout, POST /logout-all, GET /sessions, DELETE /sessions/{sid}, POST /revoke: list and end sessions."""

import json
from collections.abc import Sequence
from functools import partial
from math import floor

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_jwt.auth import Auth
from asgi_jwt.errors import (
    AuthError,
    InvalidGrant,
    InvalidProof,
    InvalidRequest,
    InvalidToken,
    MissingClaim,
    MissingToken,
    RevokedToken,
    SessionNotFound,
    SessionOver,
    UnsupportedTokenType,
    WrongIssuer,
)
from asgi_jwt.http.bearer import NO_STORE
from asgi_jwt.http.bodies import read_fields
from asgi_jwt.http.cookies import TokenCookies
from asgi_jwt.http.dpop import DPoP, of_scheme
from asgi_jwt.http.places import place_and_claims
from asgi_jwt.stores.millis import seconds
from asgi_jwt.stores.records import Session, SessionKey
from asgi_jwt.tasks import in_slices
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.proof import Proof
from asgi_jwt.tokens.proofs import VerifiedProof

_SHOWN_AT_ONCE = 500


class SessionEndpoints:
    """Lists and ends a user's sessions.

    The paths are public for `JWTMiddleware`, so these endpoints verify the access tokens themselves. A logout and a
    revocation need no proof of a key: any holder of a token may end it.
    """

    def __init__(self, auth: Auth, dpop: DPoP, cookies: TokenCookies) -> None:
        self._auth = auth
        self._dpop = dpop
        self._cookies = cookies
        self._issuer = auth.settings.issuer[0]
        self._shared = frozenset(auth.settings.shared_clients)

    async def logout(self, request: Request) -> Response:
        """Ends the sessions of the Bearer token and of the cookie, and revokes the token.

        Answers 204, also if the request has neither. Raises `UnsupportedTokenType`, after both sessions have ended, for
        a token that can't be revoked.
        """
        async with place_and_claims(self._auth, "end", partial(self._bearer_claims, request)) as claims:
            by_cookie = await self._cookie_claims(request, beside=claims)
            await self._end(self._session_of(claims), self._session_of(by_cookie))
            await self._revoke(claims)
        return self._cleared(request)

    async def logout_all(self, request: Request) -> Response:
        """Ends all sessions of the subject and the session of the cookie, and revokes the access token. Answers 204.

        A client repeats a request that was answered with 503. If the first request had revoked the client's tokens in
        its last step, the repeated one is answered with 204, too.
        """
        async with place_and_claims(self._auth, "end_all", partial(self._claims_or_refusal, request)) as shown:
            await self._end_all(request, shown)
        return self._cleared(request)

    async def _claims_or_refusal(self, request: Request) -> Claims | tuple[AuthError, Claims | None]:
        """The claims of the access token, or why it is refused, with the claims of a revoked token."""
        try:
            return await self._own_claims(request)
        except RevokedToken as refused:
            return refused, await self._bearer_claims(request)
        except (MissingToken, InvalidToken, InvalidProof) as refused:
            return refused, None

    async def _end_all(self, request: Request, shown: Claims | tuple[AuthError, Claims | None]) -> None:
        if isinstance(shown, Claims):
            await self._end(None, self._session_of(await self._cookie_claims(request, beside=shown)))
            await self._auth.revoker.end_all(shown.subject, last=shown.session_id)
            await self._revoke(shown)
            return
        session = await self._session_without_token(request, *shown)
        if session is not None:
            await self._auth.revoker.end_all(session.subject, last=session.sid)

    async def _session_without_token(
        self, request: Request, refused: AuthError, revoked: Claims | None
    ) -> SessionKey | None:
        """The live session of the refresh cookie, if the access token was `refused`. None: a repeated request.

        Raises `refused`, or `SessionOver` for the cookie of a session that ended before.
        """
        by_cookie = await self._cookie_claims(request)
        session = self._session_of(by_cookie)
        if session is not None and await self._auth.sessions.is_live(*session):
            return session
        if await self._logged_out(revoked) or await self._logged_out(by_cookie):
            return None
        # The token of an ended session proves no user.
        raise refused if session is None else SessionOver from None

    async def list(self, request: Request) -> Response:
        """The subject's live sessions, each with its device. Times are in seconds. Raises `AuthError`."""
        claims = await self._own_claims(request)
        sessions = await self._auth.sessions.list(claims.subject)
        # A JSONResponse of 10,000 sessions would take 50 ms of the event loop in one step.
        parts = [self._json_of(some, claims) async for some in in_slices(sessions, _SHOWN_AT_ONCE)]
        body = f'{{"sessions":[{",".join(parts)}]}}'
        return Response(body, media_type="application/json", headers=NO_STORE)

    async def end(self, request: Request) -> Response:
        """Ends one session of the subject. Raises `SessionNotFound` for the session of another subject.

        A client repeats a request that was answered with 503, and its token may be revoked by then. So a revoked token,
        too, may end its own session.
        """
        verify = partial(self._dpop.authentic, *self._shown(request))
        async with place_and_claims(self._auth, "end", verify) as (claims, verified):
            return await self._end_one(request, claims, verified)

    async def _end_one(self, request: Request, claims: Claims, verified: VerifiedProof | None) -> Response:
        sid = request.path_params["sid"]
        own = self._session_of(claims)
        is_own = own is not None and own.sid == sid
        if not is_own:
            await self._auth.revocations.check(claims)
        if verified is not None:
            await self._auth.binding.use(verified)
        if not is_own:
            if not await self._auth.revoker.end(self._own(claims).subject, sid):
                raise SessionNotFound
            return Response(status_code=204, headers=NO_STORE)
        await self._end(own, self._session_of(await self._cookie_claims(request, beside=claims)))
        return self._cleared(request)

    async def revoke(self, request: Request) -> Response:
        """Ends the session of a refresh token, or revokes an access token. Answers `{}`, also for an unknown token.

        An access token without a `jti` is revoked with its session. Raises `UnsupportedTokenType` for a token with
        neither (RFC 7009).
        """
        # The body comes first: clients that send it slowly would hold all places.
        token = (await read_fields(request))["token"]
        async with place_and_claims(self._auth, "revoke_token", partial(self._session_or_claims, token)) as shown:
            if isinstance(shown, SessionKey):
                await self._auth.revoker.end(*shown, shown=True)
            else:
                if shown is not None and "jti" not in shown:
                    await self._end(self._session_of(shown))
                await self._revoke(shown)
        return JSONResponse({}, headers=NO_STORE)

    async def _session_or_claims(self, token: str) -> SessionKey | Claims | None:
        """The session of a refresh token, or the claims of an authentic access token. None: the token is neither."""
        try:
            refresh_claims = await self._auth.sessions.read(token)
        except InvalidGrant:
            return await self._authentic(token)
        return SessionKey(refresh_claims.subject, refresh_claims["sid"])

    def _shown(self, request: Request) -> tuple[bytes, Proof | None]:
        """The access token, and its proof if the scheme is `DPoP`. Raises `MissingToken`."""
        shown = self._dpop.presented(request.scope)
        if shown is None:
            raise MissingToken
        return shown

    async def _own_claims(self, request: Request) -> Claims:
        """The claims of the access token, which was issued here and is not revoked. Raises `AuthError`."""
        token, proof = self._shown(request)
        return self._own(of_scheme(await self._auth.verify(token, proof=proof), proof))

    async def _bearer_claims(self, request: Request) -> Claims | None:
        """The claims of an authentic access token, revoked or not. None: there is no such token."""
        shown = self._dpop.authorization_token(request.scope["headers"])
        return None if shown is None else await self._authentic(shown[1])

    async def _revoke(self, claims: Claims | None) -> None:
        """Revoke a token unless the end of its session revoked it.

        A token may have no session, or its session may be lost from the store. Raises `UnsupportedTokenType`.
        """
        if claims is not None and not self._auth.revocations.is_revoked(claims):
            try:
                await self._auth.revoke_token(claims)
            except MissingClaim:
                raise UnsupportedTokenType from None

    async def _end(self, by_token: SessionKey | None, by_cookie: SessionKey | None = None) -> None:
        for session, shown in {by_token: False, by_cookie: True}.items():
            if session is not None:
                await self._auth.revoker.end(*session, shown=shown)

    async def _cookie_claims(self, request: Request, *, beside: Claims | None = None) -> Claims | None:
        """The claims of the refresh cookie. None: there is no valid cookie.

        A sibling subdomain can add cookies of this name. If access claims are given in `beside`, ambiguous cookies
        are ignored, so that the user can log out. Otherwise they raise `InvalidRequest`.
        """
        try:
            token = self._cookies.refresh_token(request)
            return None if token is None else await self._auth.sessions.read(token)
        except InvalidGrant:
            return None
        except InvalidRequest:
            if beside is None:
                raise
            return None

    async def _logged_out(self, claims: Claims | None) -> bool:
        """Whether the subject was logged out everywhere after this token was issued, and the token's session ended."""
        if claims is None or claims.issuer != self._issuer:
            return False
        await self._auth.revocations.current()
        if not self._auth.revocations.has_subject(claims):
            return False
        session = self._session_of(claims)
        return session is None or await self._auth.sessions.has_ended(*session)

    def _session_of(self, claims: Claims | None) -> SessionKey | None:
        """The session of a token that was issued here, else None: another issuer's `sid` may equal one of ours."""
        if claims is None or claims.issuer != self._issuer or not isinstance(claims.session_id, str):
            return None
        return SessionKey(claims.subject, claims.session_id)

    async def _authentic(self, token: str | bytes) -> Claims | None:
        """The claims of an access token of any trusted issuer. None: the token is invalid or expired.

        Revoked tokens count, too: after a 503 a user logs out again with a token that is revoked already, and the
        session may still need its tombstone.
        """
        try:
            return await self._auth.authentic(token)
        except InvalidToken:
            return None

    def _own(self, claims: Claims) -> Claims:
        """`claims`, if they were issued here. Another issuer's subject may be equal to one of ours.

        Raises `WrongIssuer`.
        """
        if claims.issuer != self._issuer:
            raise WrongIssuer
        return claims

    def _json_of(self, sessions: Sequence[Session], claims: Claims) -> str:
        """The sessions as members of a JSON array, without its brackets."""
        own, shared = claims.session_id, self._shared
        devices = [_device(each, current=each.sid == own, shared=each.client_id in shared) for each in sessions]
        return json.dumps(devices, ensure_ascii=False, separators=(",", ":"))[1:-1]

    def _cleared(self, request: Request) -> Response:
        response = Response(status_code=204, headers=NO_STORE)
        self._cookies.clear(response, request)
        return response


def _device(session: Session, *, current: bool, shared: bool) -> dict[str, object]:
    client = {"user_agent": session.client.user_agent, "address": session.client.address}
    return {
        "sid": session.sid,
        "client": client,
        "created_at": floor(seconds(session.created_at)),
        "used_at": floor(seconds(session.used_at)),
        "current": current,
        **({"shared": True} if shared else {}),
    }
