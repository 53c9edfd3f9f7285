"""A site with the browser client on its pages, and a line to it that can be cut: on loopback, and real."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from anyio import to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from support.serving import uvicorn_serving

from asgi_jwt import Auth, AuthApp, Claims, Credentials, Identity, JWTMiddleware, MemoryStore, Settings
from asgi_jwt.events import Event, Refreshed
from asgi_jwt.testing import Clock

NOW = 1_800_000_000
PASSWORDS = {"alice": "alice's Wonderland", "bob": "bob's Burgers"}
REFRESH = "/auth/refresh"

_PAGE = Path(__file__).with_name("site.html").read_text(encoding="utf-8")


class Seen(NamedTuple):
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Site:
    """Serves pages with the client, an API behind the middleware, and AuthApp at `/auth` and `/other/auth`."""

    settings: dict[str, Any] = field(default_factory=dict)
    clock: Clock = field(default_factory=lambda: Clock(NOW))
    events: list[Event] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Subjects whose access tokens the API takes no longer."""
    refused_tokens: set[str] = field(default_factory=set)
    """The same by `jti`."""
    free: threading.Event = field(default_factory=threading.Event)
    """While it is clear, the answers of refreshes are held back, for 10 s at most."""
    callers: list[str] = field(default_factory=list)
    """Origins whose pages may call it with cookies; empty: any without."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Further scripts, below `/files`."""
    url: str = ""

    def __post_init__(self) -> None:
        self.free.set()
        given = {"issuer": "https://issuer.example", "audience": "api", "secret": "a" * 32, "refresh_secret": "r" * 32}
        self.auth = Auth(
            Settings(**{**given, **self.settings}), store=MemoryStore(), on_event=self.events.append, clock=self.clock
        )
        other = Auth(Settings(**{**given, "cookie_name": "__Secure-other"}), store=MemoryStore(), clock=self.clock)
        app = Starlette(
            routes=[
                Route("/", _page),
                Route("/favicon.ico", _nothing),
                Route("/files/{name}", self._file),
                Route("/away/{host}/{port:int}/{path:path}", _redirect, methods=["GET", "POST"]),
                Route("/401", _unauthorized, methods=["GET", "POST"]),
                Route("/api/me", _me, methods=["GET", "POST", "PUT"]),
                WebSocketRoute("/feed", _feed),
                Mount("/auth", AuthApp(self.auth, authenticate)),
                Mount("/other/auth", AuthApp(other, authenticate)),
            ],
            middleware=[
                Middleware(
                    CORSMiddleware,
                    allow_origins=self.callers or ["*"],
                    allow_credentials=bool(self.callers),
                    allow_headers=["Authorization"],
                    allow_methods=["*"],
                ),
                Middleware(
                    JWTMiddleware,
                    auth=self.auth,
                    public=["/", "/favicon.ico", "/files/*", "/away/*", "/401", "/auth/*", "/other/*"],
                    validate=self._validate,
                ),
            ],
        )
        self.app: ASGIApp = self._watched(app)

    @property
    def verdicts(self) -> list[str]:
        """What became of each refresh so far."""
        return [str(event.verdict) for event in self.events if isinstance(event, Refreshed)]

    @property
    def away(self) -> str:
        """The path that another site's redirects come to this one by: `/away/host/port`."""
        return f"/away/{self.url.removeprefix('http://').replace(':', '/')}"

    def asked(self, path: str = REFRESH) -> int:
        """How many requests for a path there were."""
        return sum(seen.path == path and seen.method != "OPTIONS" for seen in self.seen)

    def _validate(self, claims: Claims, scope: Scope) -> bool:
        return claims.subject not in self.refused and claims["jti"] not in self.refused_tokens

    def _watched(self, app: ASGIApp) -> ASGIApp:
        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
                self.seen.append(Seen(scope["method"], scope["path"], headers))
                if scope["path"] == REFRESH:
                    send = self._held(send)
            await app(scope, receive, send)

        return watched

    async def _file(self, request: Request) -> Response:
        headers = {"Service-Worker-Allowed": "/"}
        return Response(self.files[request.path_params["name"]], media_type="text/javascript", headers=headers)

    def _held(self, send: Send) -> Send:
        async def hold(message: Message) -> None:
            await to_thread.run_sync(self.free.wait, 10)
            await send(message)

        return hold


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    """Serves the site under `localhost`, for whose pages browsers keep Secure cookies over plain HTTP."""
    with uvicorn_serving(site.app) as address:
        site.url = f"http://localhost:{address.rpartition(':')[2]}"
        yield site


def authenticate(credentials: Credentials, request: Request) -> Identity | None:
    name = credentials["username"]
    if credentials["password"] != PASSWORDS.get(name):
        return None
    return Identity(name, scopes=["read", "write"], remember="forget" not in credentials)


def login(name: str = "alice") -> str:
    """The script that logs in."""
    return f"auth.login({json.dumps({'username': name, 'password': PASSWORDS[name]})})"


async def _page(request: Request) -> Response:
    return HTMLResponse(_PAGE)


async def _nothing(request: Request) -> Response:
    return Response(status_code=204)


async def _redirect(request: Request) -> Response:
    return RedirectResponse("http://{host}:{port}/{path}".format(**request.path_params), 307)


async def _me(request: Request) -> Response:
    body = (await request.body()).decode("latin-1")
    return JSONResponse({"subject": request.user.subject, "method": request.method, "body": body})


async def _feed(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(websocket.user.subject)
    await websocket.close()


async def _unauthorized(request: Request) -> Response:
    response = Response(status_code=401)
    for challenge in request.query_params.getlist("challenge"):
        response.headers.append("WWW-Authenticate", challenge)
    return response


class Line:
    """What stands between the browser and the server, at `url`: bytes pass both ways while it is up."""

    def __init__(self, portal: BlockingPortal, url: str) -> None:
        self._portal = portal
        self._behind = int(url.rpartition(":")[2])
        self._port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._cut_at: tuple[bytes, int] | None = None
        self.up()
        self.url = f"http://localhost:{self._port}"

    def up(self) -> None:
        self._portal.call(self._up)

    def down(self) -> None:
        """Nobody listens any more, and what is in flight is lost."""
        self._portal.call(self._down)

    def cut(self, path: str, after: int = 0) -> None:
        """The next request for `path` reaches the server, whose answer is cut off `after` so many bytes."""
        self._cut_at = (f"POST {path} ".encode(), after)

    async def _up(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _down(self) -> None:
        self._server.close()
        for writer in self._open:
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection("127.0.0.1", self._behind)
        self._open |= {writer, requests}
        to_cut: list[int] = []

        async def ask() -> None:
            while asked := await reader.read(65536):
                if self._cut_at is not None and asked.startswith(self._cut_at[0]):
                    to_cut.append(self._cut_at[1])
                    self._cut_at = None
                requests.write(asked)
            requests.close()

        async def answer() -> None:
            while answered := await answers.read(65536):
                writer.write(answered[: to_cut[0]] if to_cut else answered)
                if to_cut:
                    break
            writer.close()

        with suppress(ConnectionError):
            await asyncio.gather(ask(), answer(), return_exceptions=True)
        self._open -= {writer, requests}
        writer.close()
        requests.close()


@contextmanager
def line_to(site: Site) -> Iterator[Line]:
    """A line to a site that is served."""
    with start_blocking_portal("asyncio") as portal:
        line = Line(portal, site.url)
        yield line
        line.down()
