"""AuthApp as its clients meet it: a store that is watched, requests as a server hands them in, and a browser's jar."""

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

import pytest
from driver import http_scope
from starlette.requests import Request
from starlette.types import ASGIApp, Message

from asgi_jwt import Auth, AuthApp, Credentials, Identity, Settings
from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.events import Event, Refreshed
from asgi_jwt.stores.base import Change, LogPage, SessionStore, outcome
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.records import Revocation, Session, SessionKey
from asgi_jwt.testing import Clock

T = TypeVar("T")

ISSUER = "https://issuer.example"
AUDIENCE = "https://api.example"
SECRET = "the secret of access tokens: thirty-two bytes and more"
REFRESH_SECRET = "the secret of refresh tokens: thirty-two bytes and more"
PASSWORDS = {"alice": "alice's Wonderland", "bob": "bob's Burgers"}
COOKIE = "__Secure-refresh_token"
HOST = "api.example"
NOW = 1_800_000_000

every_store = pytest.mark.parametrize(
    ("anyio_backend", "store_kind"),
    [("asyncio", "memory"), ("trio", "memory"), ("asyncio", "sqlite"), ("trio", "sqlite"), ("asyncio", "redis")],
)


class WatchedStore:
    """Passes all on to `inner`, and counts; the methods named in `down`, and the calls in `down_at` (a method, and
    which of its calls), raise StoreUnavailable instead.
    """

    def __init__(self, inner: SessionStore) -> None:
        self.inner = inner
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
        return await self.inner.list(subject, now)

    async def sweep(self, now: int) -> int:
        self._called("sweep")
        return await self.inner.sweep(now)

    async def append_revocations(self, revocations: Sequence[Revocation], now: int) -> None:
        self._called("append_revocations")
        await self.inner.append_revocations(revocations, now)

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        self._called("read_revocations")
        return await self.inner.read_revocations(cursor)

    async def aclose(self) -> None:
        await self.inner.aclose()


class Answer(NamedTuple):
    """What was sent back."""

    status: int
    raw_headers: list[tuple[str, str]]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.raw_headers)

    @property
    def set_cookies(self) -> list[str]:
        return [value for name, value in self.raw_headers if name == "set-cookie"]

    def cookie(self, name: str = COOKIE) -> str:
        """The value that the one `Set-Cookie` of this name gives."""
        (found,) = [cookie for cookie in self.set_cookies if cookie.startswith(f"{name}=")]
        return found.partition(";")[0].partition("=")[2]

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: ASGIApp,
    method: str,
    path: str,
    *,
    headers: Iterable[tuple[str, str | bytes]] = (),
    chunks: Iterable[bytes] = (b"",),
    **more: Any,
) -> Answer:
    """One request, its body in `chunks`; after them the client hangs up."""
    given = [(name, value if isinstance(value, bytes) else value.encode("latin-1")) for name, value in headers]
    if all(name != "host" for name, _ in given):
        given.insert(0, ("host", HOST.encode()))
    scope = http_scope(path, method=method, headers=given, **{"client": ("192.0.2.1", 50000), **more})
    parts = list(chunks)
    incoming: list[Message] = [
        {"type": "http.request", "body": part, "more_body": position < len(parts)}
        for position, part in enumerate(parts, start=1)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers_sent = [(name.decode().lower(), value.decode("latin-1")) for name, value in sent[0]["headers"]]
    return Answer(sent[0]["status"], headers_sent, b"".join(message.get("body", b"") for message in sent[1:]))


def json_body(fields: object) -> dict[str, Any]:
    """The keywords of `ask` for a body of JSON."""
    return {"headers": [("content-type", "application/json")], "chunks": [json.dumps(fields).encode()]}


def form_body(fields: Mapping[str, str]) -> dict[str, Any]:
    """The keywords of `ask` for a form."""
    content_type = "application/x-www-form-urlencoded;charset=UTF-8"
    return {"headers": [("content-type", content_type)], "chunks": [urlencode(fields).encode()]}


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


def cookie(token: str, name: str = COOKIE) -> tuple[str, str]:
    return "cookie", f"{name}={token}"


def credentials(name: str = "alice", **more: Any) -> dict[str, Any]:
    return {"username": name, "password": PASSWORDS[name], **more}


def payload(token: str) -> dict[str, Any]:
    """What a token says, unverified."""
    segment = token.split(".")[1]
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return said


def authenticate(given: Credentials, request: Request) -> Identity | None:
    """Alice and Bob, with their passwords."""
    name = given["username"]
    if given["password"] != PASSWORDS.get(name):
        return None
    return Identity(name, scopes=["read", "write"], roles=["user"], claims={"email": f"{name}@example"})


@dataclass
class Service:
    """One worker: an AuthApp mounted at `/auth`, on a store that others may share."""

    store: WatchedStore = field(default_factory=lambda: WatchedStore(MemoryStore()))
    clock: Clock = field(default_factory=lambda: Clock(NOW))
    settings: dict[str, Any] = field(default_factory=dict)
    authenticate: Callable[[Credentials, Request], Any] = authenticate
    load_identity: Callable[[str, Session], Any] | None = None
    mount: str = "/auth"
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        given = {"issuer": ISSUER, "audience": AUDIENCE, "secret": SECRET, "refresh_secret": REFRESH_SECRET}
        self.auth = Auth(
            Settings(**{**given, **self.settings}), store=self.store, on_event=self.events.append, clock=self.clock
        )
        self.app = AuthApp(self.auth, self.authenticate, load_identity=self.load_identity)

    @property
    def verdicts(self) -> list[str]:
        """What became of each refresh so far."""
        return [event.verdict for event in self.events if isinstance(event, Refreshed)]

    async def ask(self, method: str, path: str, *, headers: Sequence[tuple[str, Any]] = (), **more: Any) -> Answer:
        return await ask(self.app, method, self.mount + path, headers=headers, **{"root_path": self.mount, **more})

    async def post(self, path: str, body: dict[str, Any] | None = None, *headers: tuple[str, Any]) -> Answer:
        body = body or {}
        return await self.ask("POST", path, **{**body, "headers": [*body.get("headers", ()), *headers]})

    async def login(self, name: str = "alice", *headers: tuple[str, Any], **more: Any) -> Answer:
        return await self.post("/login", json_body(credentials(name, **more)), *headers)

    async def refresh(self, token: str, *headers: tuple[str, Any]) -> Answer:
        return await self.post("/refresh", None, cookie(token), *headers)

    async def token(self, token: str, *headers: tuple[str, Any], **more: str) -> Answer:
        fields = {"grant_type": "refresh_token", "refresh_token": token, **more}
        return await self.post("/token", form_body(fields), *headers)

    async def session(self, token: str) -> Session | None:
        """What is stored of the session that a token of either kind is of."""
        said = payload(token)
        return await self.store.inner.get(SessionKey(said["sub"], said["sid"]))


class Browser:
    """A cookie jar: it keeps what the service sets, and sends it along."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.jar: dict[str, str] = {}

    async def post(self, path: str, body: dict[str, Any] | None = None, *headers: tuple[str, Any]) -> Answer:
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
