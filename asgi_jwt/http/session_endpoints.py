"""POST /logout, POST /logout-all, GET /sessions, DELETE /sessions/{sid}, POST /revoke: sessions shown and ended."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_jwt.auth import Auth
from asgi_jwt.errors import (
    InvalidGrant,
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
from asgi_jwt.http.bearer import NO_STORE, bearer_token
from asgi_jwt.http.bodies import read_fields
from asgi_jwt.http.cookies import TokenCookies
from asgi_jwt.stores.records import Session, SessionKey
from asgi_jwt.tokens.claims import Claims


class SessionEndpoints:
    """What users may do with their sessions. The tokens are verified here: the paths are public to the middleware."""

    def __init__(self, auth: Auth, cookies: TokenCookies) -> None:
        self._auth = auth
        self._cookies = cookies
        self._issuer = auth.settings.issuer[0]

    async def logout(self, request: Request) -> Response:
        """Ends the session of the Bearer token and that of the cookie, and refuses the token: 204 also for neither.

        Raises `UnsupportedTokenType`, once both sessions have ended, for a token that can't be refused.
        """
        claims = await self._shown(request)
        by_cookie = await self._by_cookie(request, beside=claims)
        await self._end(self._session_of(claims), self._session_of(by_cookie))
        await self._refuse(claims)
        return self._cleared(request)

    async def logout_all(self, request: Request) -> Response:
        """Ends all sessions of the subject, and the cookie's whoever's it is, and refuses the access token.

        204 also where an earlier try, although it was answered with 503, had come to its last step: that step refuses
        the tokens that were shown.
        """
        claims = None
        try:
            claims = await self._claims(request)
            subject, sid = claims.subject, claims.session_id
        except (MissingToken, InvalidToken) as refused:
            by_cookie = await self._by_cookie(request)
            holder = self._session_of(by_cookie)
            if holder is None or not await self._auth.sessions.is_live(*holder):
                # A token that does not verify is not tried a second time: each try takes up to four signature checks.
                shown = await self._shown(request) if isinstance(refused, RevokedToken) else None
                if await self._logged_out(shown) or await self._logged_out(by_cookie):
                    return self._cleared(request)
                # A token of a session that is over speaks for nobody.
                raise refused if holder is None else SessionOver from None
            subject, sid = holder
        if claims is not None:
            await self._end(None, self._session_of(await self._by_cookie(request, beside=claims)))
        await self._auth.revoker.end_all(subject, last=sid)
        await self._refuse(claims)
        return self._cleared(request)

    async def list(self, request: Request) -> Response:
        """The subject's devices."""
        claims = await self._claims(request)
        sessions = await self._auth.sessions.list(claims.subject)
        shown = [_device(session, current=session.sid == claims.session_id) for session in sessions]
        return JSONResponse({"sessions": shown}, headers=NO_STORE)

    async def end(self, request: Request) -> Response:
        """Ends one session of the subject's: another subject's is not found.

        A token that is refused already ends its own session, too: after a 503 the request is made again.
        """
        sid = request.path_params["sid"]
        shown = await self._auth.authentic(self._bearer(request))
        own = self._session_of(shown)
        if own is None or own.sid != sid:
            claims = await self._claims(request)
            if not await self._auth.revoker.end(claims.subject, sid):
                raise SessionNotFound
            return Response(status_code=204, headers=NO_STORE)
        await self._end(own, self._session_of(await self._by_cookie(request, beside=shown)))
        return self._cleared(request)

    async def revoke(self, request: Request) -> Response:
        """RFC 7009: ends a refresh token's session, or refuses an access token; `{}` also for one that nobody knows.

        An access token without a `jti` is refused with its session. Raises `UnsupportedTokenType` for one with neither.
        """
        token = (await read_fields(request))["token"]
        try:
            refresh_claims = await self._auth.sessions.read(token)
        except InvalidGrant:
            claims = await self._authentic(token)
            if claims is not None and "jti" not in claims:
                await self._end(self._session_of(claims))
            await self._refuse(claims)
        else:
            await self._auth.revoker.end(refresh_claims.subject, refresh_claims["sid"], shown=True)
        return JSONResponse({}, headers=NO_STORE)

    def _bearer(self, request: Request) -> bytes:
        token = bearer_token(request.scope["headers"])
        if token is None:
            raise MissingToken
        return token

    async def _claims(self, request: Request) -> Claims:
        return self._own(await self._auth.verify(self._bearer(request)))

    async def _shown(self, request: Request) -> Claims | None:
        """The claims of the access token that came along, if it is one to log out by."""
        token = bearer_token(request.scope["headers"])
        return None if token is None else await self._authentic(token)

    async def _refuse(self, shown: Claims | None) -> None:
        """Have a token refused that its session's end does not refuse: one without a session, or of a session that the
        store has lost.
        """
        if shown is not None and not self._auth.revocations.is_revoked(shown):
            try:
                await self._auth.revoke_token(shown)
            except MissingClaim:
                raise UnsupportedTokenType from None

    async def _end(self, by_token: SessionKey | None, by_cookie: SessionKey | None = None) -> None:
        for holder, shown in {by_token: False, by_cookie: True}.items():
            if holder is not None:
                await self._auth.revoker.end(*holder, shown=shown)

    async def _by_cookie(self, request: Request, *, beside: Claims | None = None) -> Claims | None:
        """The claims of the refresh cookie.

        Two cookies are none `beside` an access token's claims, nor is one among too many: a sibling subdomain can toss
        them, and nobody is to be kept from logging out. Raises `InvalidRequest` without claims.
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

    async def _logged_out(self, shown: Claims | None) -> bool:
        """Whether the subject was logged out everywhere since this token was issued, its own session included."""
        if shown is None or shown.issuer != self._issuer:
            return False
        await self._auth.revocations.current()
        if not self._auth.revocations.has_subject(shown):
            return False
        holder = self._session_of(shown)
        return holder is None or await self._auth.sessions.has_ended(*holder)

    def _session_of(self, claims: Claims | None) -> SessionKey | None:
        """The session of a token that was issued here: another issuer's `sid` may have the name of ours."""
        if claims is None or claims.issuer != self._issuer or not isinstance(claims.session_id, str):
            return None
        return SessionKey(claims.subject, claims.session_id)

    async def _authentic(self, token: str | bytes) -> Claims | None:
        """The claims of an access token of any trusted issuer; None for one that doesn't hold, as after a night asleep.

        Revoked or not: a user who logs out once more, because of a 503, has a token that is refused, and a session that
        may have no tombstone yet.
        """
        try:
            return await self._auth.authentic(token)
        except InvalidToken:
            return None

    def _own(self, claims: Claims) -> Claims:
        """`claims`, if issued here: another issuer's subject may have the name of one of our users."""
        if claims.issuer != self._issuer:
            raise WrongIssuer
        return claims

    def _cleared(self, request: Request) -> Response:
        response = Response(status_code=204, headers=NO_STORE)
        self._cookies.clear(response, request)
        return response


def _device(session: Session, *, current: bool) -> dict[str, object]:
    client = {"user_agent": session.client.user_agent, "address": session.client.address}
    return {
        "sid": session.sid,
        "client": client,
        "created_at": session.created_at // 1000,
        "used_at": session.used_at // 1000,
        "current": current,
    }
