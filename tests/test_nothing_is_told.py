"""What happens is told to logs, metrics and the host, and with it no token, no cookie, no secret and no user."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from support.app import NOW, Service, WatchedStore, bearer, cookie, form_body, json_body, payload, websocket_scope
from support.issuers import JWKS, IssuerServer
from support.metering import scraped
from support.sockets import Echo, Server
from support.tokens import ec_key, jwk_of, token_by
from support.waiting import until

from asgi_jwt import Auth, Identity, JWTMiddleware, MemoryStore, RedisStore, Settings, events
from asgi_jwt.errors import AuthError, StoreUnavailable
from asgi_jwt.events import Event, StoreFailed
from asgi_jwt.http import sockets
from asgi_jwt.stores.base import LogPage
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

MARK = "hunter2"
"""In every secret, subject, path, query and header of these tests."""

EVERY_EVENT = {
    kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
}


class ForgetfulStore(WatchedStore):
    """Its log may have been flushed since it was read last."""

    flushed = False

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        page = await super().read_revocations(cursor)
        return page._replace(continues=page.continues and not self.flushed)


class Told:
    """Whatever was told, and what must not be in it."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "asgi_jwt")
        self._caplog = caplog
        self.events: list[Event] = []
        self.unspeakable = {MARK}

    def hides(self, *tokens: str) -> None:
        """These tokens, each part of them, and the names in them."""
        for token in tokens:
            claims = payload(token)
            self.unspeakable |= {*token.split("."), *(claims[name] for name in ("jti", "sid", "sub") if name in claims)}

    def lines(self) -> Iterator[str]:
        yield from (repr(event) for event in self.events)
        for record in self._caplog.records:
            yield record.getMessage()
            yield from (f"{name}={value!r}" for name, value in vars(record).items() if name.startswith("event"))

    def check(self, scrape: str) -> None:
        assert self._caplog.records
        for line in [*self.lines(), *scrape.splitlines()]:
            assert not [word for word in self.unspeakable if word in line], line


async def test_nothing_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """P26: Every kind of event is driven here, and neither it, nor a log record, nor a metric, nor a label has a token,
    a cookie, a secret, a subject, a `jti`, a `sid`, a path, a header or a query."""
    monkeypatch.setattr(sockets, "LONGEST_WAIT", 0.01)
    told = Told(caplog)
    store = ForgetfulStore(MemoryStore())
    service = Service(
        store,
        Clock(NOW),
        {
            "secret": f"{MARK} signs access tokens and is long enough",
            "refresh_secret": f"{MARK} signs refresh tokens and is long enough",
            "shared_clients": MARK,
        },
        authenticate=lambda given, request: Identity(given["username"]) if given["password"] == MARK else None,
    )
    service.auth.events.add_listener(told.events.append)
    user, password = f"{MARK}@example.com", {"password": MARK}
    with IssuerServer() as issuer, scraped(service.auth, remote := remote_auth(issuer, told)) as scrape:
        # Logins, refreshes, a theft, a logout.
        agent = ("user-agent", MARK)
        login = await service.post("/login", json_body({"username": user, **password}), agent)
        await service.post("/login", form_body({"username": user, "password": f"{MARK}?"}), agent)
        first, access = login.cookie(), login.json()["access_token"]
        second = (await service.refresh(first)).cookie()
        service.clock.turn(61)
        await service.refresh(second)
        await service.refresh(first)
        again = (await service.post("/login", json_body({"username": user, **password}))).json()["access_token"]
        await service.post("/logout", None, bearer(again))
        told.hides(first, second, access, again)

        # An old token of a client that several processes share.
        sessions = service.auth.sessions
        old = token = (await sessions.open(Identity(user, client_id=MARK))).refresh_token
        for _ in range(2):
            service.clock.turn(61)
            token = (await sessions.refresh(token)).refresh_token
        told.hides(old, token, (await sessions.refresh(old)).refresh_token)

        # Requests and WebSockets: tampered with, lacking, expired.
        middleware = JWTMiddleware(Echo(), service.auth)
        token = service.auth.issuer.access_token(Identity(user))
        told.hides(token)
        for refused in (f"{token}x", f"{MARK}.{MARK}.{MARK}", ""):
            scope = websocket_scope(f"/{MARK}", headers=[bearer(refused), cookie(MARK)], query_string=MARK.encode())
            await middleware(scope, (server := Server()).receive, server.send)
        server = Server()
        server.arrive(MARK)

        async def expire() -> None:
            await until(lambda: server.texts)
            service.clock.turn(3600)

        scope = websocket_scope(f"/{MARK}", headers=[bearer(token)])
        async with anyio.create_task_group() as group:
            group.start_soon(middleware, scope, server.receive, server.send)
            group.start_soon(expire)

        # Revocations, by hand; then the store is out of reach, comes back, and has forgotten its log.
        token = service.auth.issuer.access_token(Identity(user))
        told.hides(token)
        await service.auth.revoke_token(token)
        await service.auth.revoke_subject(user)
        store.down = {"update", "read_revocations"}
        service.clock.turn(60)
        await service.post("/login", json_body({"username": user, **password}))
        for _ in range(2):
            with pytest.raises(AuthError):
                await service.auth.verify(service.auth.issuer.access_token(Identity(f"another {MARK}")))
            await wait_all_tasks_blocked()
            service.clock.turn(60)
        store.down = set()
        await service.auth.revocations.current()
        store.flushed = True
        service.clock.turn(60)
        await service.auth.revocations.current()

        # Keys that come from elsewhere.
        await remote.verify(token_by(ec_key(), "a", sub=MARK))
        issuer.fail()
        clock: Any = remote.clock
        clock.turn(600)
        await remote.verify(token_by(ec_key(), "a", sub=MARK, jti=MARK))
        for token in (f"opaque-{MARK}", f"leaky-{MARK}"):
            with pytest.raises(AuthError):
                await remote.verify(token)

        await change_key_file(anyio.Path(tmp_path) / f"{MARK}.txt", told)

        await until(lambda: {type(event) for event in told.events} == EVERY_EVENT)
        told.check(scrape.text())


async def change_key_file(path: anyio.Path, told: Told) -> None:
    """A file with a secret, then another one, then one that is too short."""
    await path.write_text(f"{MARK} signs refresh tokens and is long enough")
    settings = Settings(issuer="i", audience="a", secret="s" * 32, refresh_secret_file=str(path))
    auth = Auth(settings, store=MemoryStore(), on_event=told.events.append, clock=(clock := Clock(NOW)))
    await auth.published_keys()
    for secret in (f"{MARK} signs them from now on and is long enough", MARK):
        await path.write_text(secret)
        clock.turn(60)
        await auth.published_keys()
        await wait_all_tasks_blocked()


class Leaky:
    """A verifier whose exceptions have the token in their text."""

    async def verify(self, token: str) -> None:
        if token.startswith("leaky"):
            raise RuntimeError(token)


def remote_auth(issuer: IssuerServer, told: Told) -> Auth:
    """One whose keys are fetched from a URL with a secret in it, and are odd in part, and which asks others."""
    odd = {"kty": "oct", "k": MARK, "kid": "odd"}
    issuer.answer(f"{JWKS}?code={MARK}", {"keys": [jwk_of(ec_key(), "a"), odd, {"kty": MARK}, MARK]})
    settings = Settings(
        issuer="https://issuer.example",
        audience="https://api.example",
        jwks_url=f"{issuer.jwks_url}?code={MARK}",
        introspection_url=f"{issuer.issuer}/introspect?code={MARK}",
        introspection_client_id=MARK,
        introspection_client_secret=MARK,
    )
    return Auth(settings, verifiers=[Leaky()], on_event=told.events.append, clock=Clock(NOW))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_store_with_a_password(caplog: pytest.LogCaptureFixture) -> None:
    """What is told of a server out of reach has neither the user nor the password of its URL."""
    told = Told(caplog)
    auth = Auth(
        Settings(issuer="i", audience="a", secret="s" * 32, refresh_secret="r" * 32),
        store=RedisStore.from_url(f"redis://{MARK}:{MARK}@127.0.0.1:1/0?timeout=0.2"),
        on_event=told.events.append,
    )
    with pytest.raises(StoreUnavailable):
        await auth.sessions.open(Identity(MARK))
    await auth.store.aclose()
    assert [type(event) for event in told.events] == [StoreFailed]
    told.check("")
