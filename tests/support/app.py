"""One harness of an app: scopes, one exchange of messages, guarded apps, and AuthApp with its devices and browsers."""

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

import pytest
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asgi_jwt import Auth, AuthApp, Credentials, Identity, JWTMiddleware, Settings
from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.events import Event, OnEvent, Refreshed
from asgi_jwt.stores.base import Change, LogPage, SessionStore, outcome
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Revocation, Session, SessionKey
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.opaque import OpaqueVerifier

T = TypeVar("T")
Header = tuple[str, str | bytes]
Headers = Mapping[str, str] | Mapping[str, bytes] | Iterable[tuple[str, str]] | Iterable[Header]

ISSUER = "https://issuer.example"
AUDIENCE = "https://api.example"
SECRET = "the secret of access tokens: thirty-two bytes and more"
REFRESH_SECRET = "the secret of refresh tokens: thirty-two bytes and more"
PASSWORDS = {"alice": "alice's Wonderland", "bob": "bob's Burgers"}
COOKIE = "__Secure-refresh_token"
HOST = "api.example"
NOW = Millis(1_800_000_000)
NO_TOKEN = {"error_description": "The request has no Bearer token"}
CONNECT: Message = {"type": "websocket.connect"}

every_store = pytest.mark.parametrize(
    ("anyio_backend", "store_kind"),
    [("asyncio", "memory"), ("trio", "memory"), ("asyncio", "sqlite"), ("trio", "sqlite"), ("asyncio", "valkey")],
)


def make_auth(
    *, clock: Clock | None = None, store: SessionStore | None = None, on_event: OnEvent | None = None, **settings: Any
) -> Auth:
    """An Auth whose clock the test turns."""
    given = Settings(**{"issuer": ISSUER, "audience": AUDIENCE, "secret": SECRET, **settings})
    return Auth(given, store=store, on_event=on_event, clock=clock or Clock())


def make_token(auth: Auth, subject: str = "alice", **identity: Any) -> str:
    """An access token that `auth` takes."""
    return auth.issuer.access_token(Identity(subject, **identity))


def authorization(auth: Auth, subject: str = "alice", **identity: Any) -> dict[str, str]:
    """The Authorization header of a request by `subject`."""
    return {"authorization": f"Bearer {make_token(auth, subject, **identity)}"}


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


def cookie(token: str, name: str = COOKIE) -> tuple[str, str]:
    return "cookie", f"{name}={token}"


def payload(token: str) -> dict[str, Any]:
    """The claims of a token, not verified."""
    segment = token.split(".")[1]
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return said


def raw(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Headers as a scope holds them."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(name.encode(), value if isinstance(value, bytes) else value.encode("latin-1")) for name, value in pairs]


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
        "client": ("192.0.2.1", 50000),
        "server": ("127.0.0.1", 8000),
        **more,
    }


def websocket_scope(path: str = "/", *, headers: Headers = (), denial: bool = True, **more: Any) -> Scope:
    """The scope of a WebSocket; `denial`: whether the server knows `websocket.http.response`."""
    scope = http_scope(path, headers=headers)
    del scope["method"]
    extensions: dict[str, Any] = {"websocket.http.response": {}} if denial else {}
    return {**scope, "type": "websocket", "scheme": "ws", "subprotocols": [], "extensions": extensions, **more}


def bearer_challenge(value: str) -> str:
    """The challenge of the scheme `Bearer` in the header `WWW-Authenticate`: the first of two."""
    first, _, second = value.partition(", DPoP ")
    assert second.endswith('RS512"') or first == value == "Bearer"
    return first


class Answer(NamedTuple):
    """The messages that an app has sent."""

    messages: list[Message]

    @property
    def status(self) -> int:
        status: int = self.messages[0]["status"]
        return status

    @property
    def accepted(self) -> bool:
        return bool(self.messages[0]["type"] == "websocket.accept")

    @property
    def raw_headers(self) -> list[tuple[str, str]]:
        return [(name.decode().lower(), value.decode("latin-1")) for name, value in self.messages[0]["headers"]]

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.raw_headers)

    @property
    def challenge(self) -> str | None:
        """The challenge of the scheme `Bearer`."""
        whole = self.headers.get("www-authenticate")
        return None if whole is None else bearer_challenge(whole)

    @property
    def set_cookies(self) -> list[str]:
        return [value for name, value in self.raw_headers if name == "set-cookie"]

    def cookie(self, name: str = COOKIE) -> str:
        """The value that the one `Set-Cookie` of this name gives."""
        (found,) = [each for each in self.set_cookies if each.startswith(f"{name}=")]
        return found.partition(";")[0].partition("=")[2]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str | None]:
        """The status, and the error code of the body."""
        return self.status, self.json().get("error")


async def exchange(app: ASGIApp, scope: Scope, *incoming: Message) -> Answer:
    """Call `app` and give it `incoming`, by default an empty body or the connection of a WebSocket.

    After them an HTTP client hangs up.
    """
    default: Message = {"type": "http.request", "body": b"", "more_body": False}
    waiting = list(incoming) or [CONNECT if scope["type"] == "websocket" else default]
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0) if waiting or scope["type"] == "websocket" else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"].endswith((".close", ".response.start", ".accept")):
            # RFC 6455 section 4.2: the server has not yet read the connection that it would answer.
            assert CONNECT not in waiting
        sent.append(message)

    await app(scope, receive, send)
    return Answer(sent)


async def ask(
    app: ASGIApp, method: str, path: str, *, headers: Headers = (), chunks: Iterable[bytes] = (b"",), **more: Any
) -> Answer:
    """One request, its body in `chunks`. A body without an end is one whose client hangs up."""
    given = raw(headers)
    if all(name != b"host" for name, _ in given):
        given.insert(0, (b"host", HOST.encode()))
    parts = list(chunks)
    incoming: list[Message] = [
        {"type": "http.request", "body": part, "more_body": position < len(parts)}
        for position, part in enumerate(parts, start=1)
    ] or [{"type": "http.disconnect"}]
    return await exchange(app, {**http_scope(path, method=method), "headers": given, **more}, *incoming)


def json_body(fields: object) -> dict[str, Any]:
    """The keywords of `ask` for a body of JSON."""
    return {"headers": [("content-type", "application/json")], "chunks": [json.dumps(fields).encode()]}


def form_body(fields: Mapping[str, str]) -> dict[str, Any]:
    """The keywords of `ask` for a form."""
    content_type = "application/x-www-form-urlencoded;charset=UTF-8"
    return {"headers": [("content-type", content_type)], "chunks": [urlencode(fields).encode()]}


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
        """The subject of the last call's claims."""
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


class WatchedStore:
    """Passes all on to `inner`, and counts; the methods named in `down`, and the calls in `down_at` (a method, and
    which of its calls), raise StoreUnavailable instead.
    """

    def __init__(self, inner: SessionStore | None = None) -> None:
        self.inner = inner or MemoryStore()
        self.calls: Counter[str] = Counter()
        self.writes = 0
        self.down: set[str] = set()
        self.down_at: set[tuple[str, int]] = set()

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if name in self.down or (name, self.calls[name]) in self.down_at:
            raise StoreUnavailable("the store is down")

    async def get(self, key: SessionKey) -> Session | None:
        self._called("get")
        return await self.inner.get(key)

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        self._called("update")
        wrote = False

        def watched(stored: Session | None) -> tuple[Session | None, T, Sequence[Revocation]]:
            nonlocal wrote
            changed, result, entries = outcome(change(stored))
            wrote = changed is not stored
            return changed, result, entries

        result = await self.inner.update(key, watched)
        self.writes += wrote
        return result

    async def list(self, subject: str, now: int) -> Sequence[Session]:
        self._called("list")
        return await self.inner.list(subject, Millis(now))

    async def sweep(self, now: int) -> int:
        self._called("sweep")
        return await self.inner.sweep(Millis(now))

    async def append_revocations(self, revocations: Sequence[Revocation], now: int) -> None:
        self._called("append_revocations")
        await self.inner.append_revocations(revocations, Millis(now))

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        self._called("read_revocations")
        return await self.inner.read_revocations(cursor)

    async def aclose(self) -> None:
        await self.inner.aclose()


def credentials(name: str = "alice", **more: Any) -> dict[str, Any]:
    return {"username": name, "password": PASSWORDS[name], **more}


def authenticate(given: Credentials, request: Request) -> Identity | None:
    """Alice and Bob, with their passwords."""
    name = given["username"]
    if given["password"] != PASSWORDS.get(name):
        return None
    return Identity(name, scopes=["read", "write"], roles=["user"], claims={"email": f"{name}@example"})


class Device(NamedTuple):
    """A login and its two tokens."""

    refresh: str
    access: str
    sid: str


@dataclass
class Service:
    """One worker: an AuthApp mounted at `/auth`, on a store that others may share."""

    store: WatchedStore = field(default_factory=WatchedStore)
    clock: Clock = field(default_factory=lambda: Clock(NOW))
    settings: dict[str, Any] = field(default_factory=dict)
    authenticate: Callable[[Credentials, Request], Any] = authenticate
    load_identity: Callable[[str, Session], Any] | None = None
    mount: str = "/auth"
    issuers: Any = ()
    verifiers: Sequence[OpaqueVerifier] = ()
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        given = {"issuer": ISSUER, "audience": AUDIENCE, "secret": SECRET, "refresh_secret": REFRESH_SECRET}
        settings = Settings(**{**given, **self.settings})
        trusted = {"issuers": self.issuers, "verifiers": self.verifiers}
        self.auth = Auth(settings, **trusted, store=self.store, on_event=self.events.append, clock=self.clock)
        self.app = AuthApp(self.auth, self.authenticate, load_identity=self.load_identity)

    @property
    def verdicts(self) -> list[str]:
        """What became of each refresh so far."""
        return [event.verdict for event in self.events if isinstance(event, Refreshed)]

    async def ask(self, method: str, path: str, *, headers: Iterable[Header] = (), **more: Any) -> Answer:
        return await ask(self.app, method, self.mount + path, headers=headers, **{"root_path": self.mount, **more})

    async def get(self, path: str, *headers: Header) -> Answer:
        return await self.ask("GET", path, headers=headers)

    async def delete(self, sid: str, *headers: Header) -> Answer:
        """End one session."""
        return await self.ask("DELETE", f"/sessions/{sid}", headers=headers)

    async def post(self, path: str, body: dict[str, Any] | None = None, *headers: Header) -> Answer:
        body = body or {}
        return await self.ask("POST", path, **{**body, "headers": [*body.get("headers", ()), *headers]})

    async def login(self, name: str = "alice", *headers: Header, **more: Any) -> Answer:
        return await self.post("/login", json_body(credentials(name, **more)), *headers)

    async def device(self, name: str = "alice", *headers: Header) -> Device:
        login = await self.login(name, *headers)
        access = login.json()["access_token"]
        return Device(login.cookie(), access, payload(access)["sid"])

    async def refresh(self, token: str, *headers: Header) -> Answer:
        return await self.post("/refresh", None, cookie(token), *headers)

    async def token(self, token: str, *headers: Header, **more: str) -> Answer:
        fields = {"grant_type": "refresh_token", "refresh_token": token, **more}
        return await self.post("/token", form_body(fields), *headers)

    async def revoke(self, token: str) -> Answer:
        return await self.post("/revoke", form_body({"token": token}))

    async def session(self, token: str) -> Session | None:
        """What is stored of the session that a token of either kind belongs to."""
        said = payload(token)
        return await self.store.inner.get(SessionKey(said["sub"], said["sid"]))

    async def kept(self, token: str) -> Session:
        """The same, where there has to be one."""
        session = await self.session(token)
        assert session is not None
        return session

    async def alive(self, *devices: Device) -> list[bool]:
        """Which of the devices can still refresh."""
        return [(await self.refresh(each.refresh)).status == 200 for each in devices]


class Browser:
    """A cookie jar: it keeps what the service sets, and sends it along."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.jar: dict[str, str] = {}

    async def post(self, path: str, body: dict[str, Any] | None = None, *headers: Header) -> Answer:
        jar = [("cookie", "; ".join(f"{name}={value}" for name, value in self.jar.items()))] if self.jar else []
        answer = await self.service.post(path, body, *headers, *jar)
        for line in answer.set_cookies:
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.jar.pop(name, None)
                else:
                    self.jar[name] = morsel.value
        return answer

    async def login(self, name: str = "alice") -> Answer:
        return await self.post("/login", json_body(credentials(name)))
