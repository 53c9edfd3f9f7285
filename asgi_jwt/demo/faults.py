"""What goes wrong elsewhere, done here when the page asks for it: a stolen token, a lost answer, a slow network.

The refresh cookie is out of the page's reach, so the demo's server is the thief. It can copy the cookie because these
paths lie where the cookie is sent; nothing of it exists outside the demo, and each session robs itself alone.
"""

from collections import OrderedDict

from anyio import sleep
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asgi_jwt.auth import Auth
from asgi_jwt.demo.feed import Feed
from asgi_jwt.errors import InvalidGrant, TokenReused
from asgi_jwt.http.bearer import NO_STORE
from asgi_jwt.http.cookies import TokenCookies
from asgi_jwt.sessions.rotation import Verdict
from asgi_jwt.stores.records import SessionKey

MOST_COPIES = 100
DELAY = 0.3
"""Seconds: about what a phone waits, and enough for all tabs to have sent what they send at once."""


class Thief:
    """Holds a copy of the refresh token of each session that asked to be robbed."""

    def __init__(self, auth: Auth, feed: Feed) -> None:
        self._auth = auth
        self._feed = feed
        self._cookies = TokenCookies(auth.settings)
        self._copies: OrderedDict[SessionKey, str] = OrderedDict()

    async def steal(self, request: Request) -> Response:
        """Copies the refresh token that came as the cookie, and tells its generation."""
        token = self._cookie(request)
        key, generation = await self._read(token)
        self._copies[key] = token
        if len(self._copies) > MOST_COPIES:
            self._copies.popitem(last=False)
        return JSONResponse({"generation": generation}, headers=NO_STORE)

    async def replay(self, request: Request) -> Response:
        """Refreshes with the copy, as its thief would, and tells the verdict. One who is let in goes on from there."""
        key, _ = await self._read(self._cookie(request))
        copy = self._copies.pop(key, None)
        if copy is None:
            return JSONResponse({"error": "nothing_stolen"}, status_code=409, headers=NO_STORE)
        with self._feed.acting("thief"):
            try:
                pair = await self._auth.sessions.refresh(copy)
            except InvalidGrant as refusal:
                verdict = Verdict.REUSED if isinstance(refusal, TokenReused) else Verdict.INVALID
                return JSONResponse({"verdict": verdict}, headers=NO_STORE)
        self._copies[key] = pair.refresh_token
        return JSONResponse({"verdict": pair.verdict}, headers=NO_STORE)

    async def lose(self, request: Request) -> Response:
        """Refreshes, and throws the new tokens away: the answer that never arrives."""
        with self._feed.acting("lost"):
            await self._auth.sessions.refresh(self._cookie(request))
        return Response(status_code=204, headers=NO_STORE)

    def _cookie(self, request: Request) -> str:
        token = self._cookies.refresh_token(request)
        if token is None:
            raise InvalidGrant
        return token.decode("latin-1")

    async def _read(self, token: str) -> tuple[SessionKey, int]:
        claims = await self._auth.sessions.read(token)
        return SessionKey(claims.subject, claims["sid"]), claims["gen"]


class SlowNetwork:
    """Holds the answer back that a request with the header `Demo-Slow` gets; what it asks for is done at once."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def slowly(message: Message) -> None:
            if message["type"] == "http.response.start":
                await sleep(DELAY)
            await send(message)

        is_slow = any(name == b"demo-slow" for name, _ in scope["headers"])
        await self.app(scope, receive, slowly if is_slow else send)
