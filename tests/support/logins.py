"""AuthApp over a store, and browsers that are logged in to it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from httpx2 import ASGITransport, AsyncClient, Response
from starlette.requests import Request
from support.waiting import PATIENCE

from asgi_jwt import Auth, AuthApp, Credentials, Identity, Settings
from asgi_jwt.events import OnEvent
from asgi_jwt.stores.base import SessionStore
from asgi_jwt.stores.records import Session, SessionKey

NOW = 1_700_000_000
HOUR = 3600
COOKIE = "__Secure-refresh_token"

SETTINGS: dict[str, Any] = {
    "issuer": "https://issuer.example",
    "audience": "api",
    "secret": "a" * 32,
    "refresh_secret": "r" * 32,
}


def an_auth(store: SessionStore, clock: Callable[[], float], on_event: OnEvent | None = None, **settings: Any) -> Auth:
    """One of any number of processes' `Auth`, all with the same keys."""
    return Auth(Settings(**{**SETTINGS, **settings}), store=store, clock=clock, on_event=on_event)


def an_app(auth: Auth) -> AuthApp:
    """Lets in whoever asks."""

    def authenticate(credentials: Credentials, request: Request) -> Identity:
        return Identity(credentials["username"], scopes="orders:read")

    return AuthApp(auth, authenticate)


class Browser:
    """Keeps the refresh token of the last answer that had one, and the tokens of all answers."""

    def __init__(self, client: AsyncClient, cookie: str | None = None) -> None:
        self.client = client
        self.cookie = cookie
        self.cookies: list[str | None] = []
        self.access: list[str] = []

    @property
    def bearer(self) -> dict[str, str]:
        """The header with the last access token."""
        return {"Authorization": f"Bearer {self.access[-1]}"}

    async def post(self, path: str, body: object = None) -> Response:
        headers = {} if self.cookie is None else {"Cookie": f"{COOKIE}={self.cookie}"}
        # The cookies are marked Secure, so the client's own jar sends none over this scheme.
        answer = await self.client.post(path, json=body, headers=headers)
        for line in answer.headers.get_list("set-cookie"):
            self.cookie = line.partition(";")[0].removeprefix(f"{COOKIE}=") or None
            self.cookies.append(self.cookie)
        if answer.status_code == 200:
            self.access.append(answer.json()["access_token"])
        return answer

    async def login(self, username: str = "alice") -> Response:
        return await self.post("/login", {"username": username})

    async def refresh(self) -> Response:
        return await self.post("/refresh")


@asynccontextmanager
async def browsing(app: AuthApp, cookie: str | None = None) -> AsyncIterator[Browser]:
    """A browser of an app in this process."""
    async with AsyncClient(transport=ASGITransport(app), base_url="http://app.example") as client:
        yield Browser(client, cookie)


@asynccontextmanager
async def browsing_at(address: str, cookie: str | None = None) -> AsyncIterator[Browser]:
    """A browser of the app below /auth of another process, at `host:port`."""
    async with AsyncClient(base_url=f"http://{address}/auth", timeout=PATIENCE, trust_env=False) as client:
        yield Browser(client, cookie)


@asynccontextmanager
async def logged_in(auth: Auth, username: str = "alice") -> AsyncIterator[Browser]:
    """A browser that is logged in to an app in this process."""
    async with browsing(an_app(auth)) as browser:
        assert (await browser.login(username)).status_code == 200
        yield browser


async def session_of(auth: Auth, cookie: str | None) -> Session:
    """What the store has of the session that this refresh token belongs to."""
    claims = await auth.sessions.read(cookie or "")
    session = await auth.store.get(SessionKey(claims.subject, claims["sid"]))
    assert session is not None
    return session


async def assert_logged_in(auth: Auth, browser: Browser) -> None:
    """The next refresh gives an access token that holds, and its cookie works on."""
    answer = await browser.refresh()
    assert answer.status_code == 200, answer.text
    claims = await auth.verify(answer.json()["access_token"])
    session = await session_of(auth, browser.cookie)
    assert (claims.subject, claims.session_id, session.ended_at) == (session.subject, session.sid, None)
    assert (await browser.refresh()).status_code == 200


def assert_unavailable(answer: Response) -> None:
    """Try again, and keep your cookie: RFC 9110 section 15.6.4."""
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert "set-cookie" not in answer.headers
    assert answer.json()["error"] == "temporarily_unavailable"


def assert_over(answer: Response) -> None:
    """The session is over, and its cookie leaves the jar."""
    assert answer.status_code == 401, answer.text
    assert answer.json()["error"] == "invalid_grant"
    (cleared,) = answer.headers.get_list("set-cookie")
    assert cleared.startswith(f"{COOKIE}=; ")
    assert "Max-Age=0" in cleared
