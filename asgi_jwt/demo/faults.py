"""Plays faults for the demo's page: a stolen refresh token, a lost answer, a slow network.

No script of the page can read the refresh cookie, so the demo's server plays the thief. Its paths are below the path of
the cookie, so browsers send it there. It steals only from the session that asks for it, and exists only in the demo.
"""

from collections import OrderedDict

from anyio import sleep
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asgi_jwt.auth import Auth
from asgi_jwt.demo.feed import Feed
from asgi_jwt.errors import InvalidGrant, InvalidGrantProof, TokenReused
from asgi_jwt.http.bearer import NO_STORE
from asgi_jwt.http.cookies import TokenCookies
from asgi_jwt.http.cross_site import values_of
from asgi_jwt.sessions.rotation import Verdict
from asgi_jwt.stores.records import SessionKey
from asgi_jwt.tokens.proof import Proof

MAX_COPIES = 100
DELAY = 0.3
"""How long (s) an answer is held back: as in a phone's network, and long enough for all tabs to send their requests."""


class Thief:
    """Plays the thief: it keeps a copy of the refresh token of each session that asks to be robbed."""

    def __init__(self, auth: Auth, feed: Feed) -> None:
        self._auth = auth
        self._feed = feed
        self._cookies = TokenCookies(auth.settings)
        self._copies: OrderedDict[SessionKey, str] = OrderedDict()

    async def steal(self, request: Request) -> Response:
        """Copies the refresh token of the cookie. Answers with its generation."""
        token = self._cookie(request)
        key, generation = await self._read(token)
        self._copies[key] = token
        if len(self._copies) > MAX_COPIES:
            self._copies.popitem(last=False)
        return JSONResponse({"generation": generation}, headers=NO_STORE)

    async def replay(self, request: Request) -> Response:
        """Refreshes with the copy, as a thief would, and keeps the new token. Answers with the verdict.

        The thief has no proof for a session that is bound to a key. His verdict is then NO_KEY.
        """
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
            except InvalidGrantProof:
                self._copies[key] = copy
                return JSONResponse({"verdict": "NO_KEY"}, headers=NO_STORE)
        self._copies[key] = pair.refresh_token
        return JSONResponse({"verdict": pair.verdict}, headers=NO_STORE)

    async def lose(self, request: Request) -> Response:
        """Refreshes, and throws the new tokens away, as if the answer had been lost. A proof is for `/auth/refresh`."""
        proof = Proof(values_of(request.scope, b"dpop"), "POST", str(request.url.replace(path="/auth/refresh")))
        with self._feed.acting("lost"):
            await self._auth.sessions.refresh(self._cookie(request), proof=proof)
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
    """Delays the answer to a request with the header `Demo-Slow`. The request itself is handled at once."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def slowly(message: Message) -> None:
            if message["type"] == "http.response.start":
                await sleep(DELAY)
            await send(message)

        is_slow = any(name == b"demo-slow" for name, _ in scope["headers"])
        await self.app(scope, receive, slowly if is_slow else send)
