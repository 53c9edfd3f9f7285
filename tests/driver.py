"""A bare ASGI server's side of the interface: scopes, one exchange of messages, and an app that records."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asgi_jwt import Auth, Identity, JWTMiddleware, Settings
from asgi_jwt.events import OnEvent
from asgi_jwt.stores.base import SessionStore
from asgi_jwt.testing import Clock

ISSUER = "https://issuer.example"
AUDIENCE = "https://api.example"
SECRET = "a secret of more than thirty-two bytes, for HS256"
NO_TOKEN = {"error_description": "The request has no Bearer token"}
CONNECT: Message = {"type": "websocket.connect"}

Headers = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]


def make_auth(
    *, clock: Clock | None = None, store: SessionStore | None = None, on_event: OnEvent | None = None, **settings: Any
) -> Auth:
    """An Auth with a clock to turn."""
    given = Settings(**{"issuer": ISSUER, "audience": AUDIENCE, "secret": SECRET, **settings})
    return Auth(given, store=store, on_event=on_event, clock=clock or Clock())


def make_token(auth: Auth, subject: str = "alice", **identity: Any) -> str:
    """An access token that `auth` takes."""
    return auth.issuer.access_token(Identity(subject, **identity))


def bearer(auth: Auth, subject: str = "alice", **identity: Any) -> dict[str, str]:
    """The Authorization header of a request by `subject`."""
    return {"authorization": f"Bearer {make_token(auth, subject, **identity)}"}


def http_scope(path: str = "/", *, method: str = "GET", headers: Headers = (), **more: Any) -> Scope:
    """The scope of an HTTP request, as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(errors="surrogatepass"),
        "query_string": b"",
        "root_path": "",
        "headers": raw(headers),
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        **more,
    }


def websocket_scope(
    path: str = "/", *, headers: Headers = (), subprotocols: Iterable[str] = (), denial: bool = True, **more: Any
) -> Scope:
    """The scope of a WebSocket; `denial`: whether the server knows `websocket.http.response`."""
    scope = http_scope(path, headers=headers)
    del scope["method"]
    extensions: dict[str, Any] = {"websocket.http.response": {}} if denial else {}
    return {
        **scope,
        "type": "websocket",
        "scheme": "ws",
        "subprotocols": list(subprotocols),
        "extensions": extensions,
        **more,
    }


def raw(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Headers as a scope holds them."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(name.encode(), value if isinstance(value, bytes) else value.encode("latin-1")) for name, value in pairs]


class Answer(NamedTuple):
    """What was sent."""

    messages: list[Message]

    @property
    def status(self) -> int:
        status: int = self.messages[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode("latin-1") for name, value in self.messages[0]["headers"]}

    @property
    def challenge(self) -> str | None:
        return self.headers.get("www-authenticate")

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    def json(self) -> Any:
        return json.loads(self.body)


async def exchange(app: ASGIApp, scope: Scope, *incoming: Message) -> Answer:
    """Call `app` and give it `incoming`, by default an empty body or the connection of a WebSocket."""
    default: Message = {"type": "http.request", "body": b"", "more_body": False}
    waiting = list(incoming) or [CONNECT if scope["type"] == "websocket" else default]
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        if message["type"].endswith((".close", ".response.start", ".accept")):
            # RFC 6455 section 4.2: the server has not yet read the connection that it would answer.
            assert CONNECT not in waiting
        sent.append(message)

    await app(scope, receive, send)
    return Answer(sent)


class Recorder:
    """An app that keeps every call it gets, and answers 200 or accepts."""

    def __init__(self) -> None:
        self.calls: list[tuple[Scope, Receive, Send]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls.append((scope, receive, send))
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]})
            await send({"type": "http.response.body", "body": b"app"})
        elif scope["type"] == "websocket":
            assert await receive() == CONNECT
            await send({"type": "websocket.accept", "subprotocol": None, "headers": []})

    @property
    def subject(self) -> str | None:
        """Whom the last call was by."""
        claims = self.calls[-1][0]["claims"]
        return None if claims is None else claims.subject


class Guarded:
    """A recorder behind the middleware, as `JWTMiddleware` takes its arguments."""

    def __init__(self, auth: Auth | None = None, **options: Any) -> None:
        self.auth = auth or make_auth()
        self.app = Recorder()
        self.middleware = JWTMiddleware(self.app, self.auth, **options)

    async def request(self, path: str = "/", **scope: Any) -> Answer:
        """Send an HTTP request."""
        return await exchange(self.middleware, http_scope(path, **scope))

    async def connect(self, path: str = "/", **scope: Any) -> Answer:
        """Open a WebSocket."""
        return await exchange(self.middleware, websocket_scope(path, **scope))
