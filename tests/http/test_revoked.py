"""Revoked tokens at the middleware and at the endpoints: refused with a 401, out of reach with a 503."""

from collections.abc import Sequence
from typing import Any, TypeVar

import pytest
from support.app import (
    Device,
    Guarded,
    Service,
    WatchedStore,
    bearer,
    cookie,
    every_store,
    http_scope,
)

from asgi_jwt import Identity, JWTMiddleware
from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.events import SessionEnded, TokensRevoked
from asgi_jwt.stores.base import Change, outcome
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Revocation, SessionKey

T = TypeVar("T")

pytestmark = pytest.mark.anyio


async def let_in(service: Service, *tokens: str) -> list[bool]:
    """Which access tokens the app behind the middleware sees."""
    guarded = Guarded(service.auth)
    answers = [await guarded.request(headers=[bearer(token)]) for token in tokens]
    assert {answer.status for answer in answers} <= {200, 401}
    return [answer.status == 200 for answer in answers]


async def test_the_middlewares_answers() -> None:
    """A revoked token is `invalid_token`, in HTTP and before a WebSocket is accepted; out of reach is a 503 without a
    challenge."""
    service = Service()
    store = service.store
    guarded = Guarded(service.auth)
    one, other = await service.device(), await service.device()
    headers = [bearer(one.access)]
    assert (await guarded.request(headers=headers)).status == 200
    await service.auth.revoke_token(one.access)
    for answer in (await guarded.request(headers=headers), await guarded.connect(headers=headers)):
        assert answer.status == 401
        assert answer.json() == {"error": "invalid_token", "error_description": "The access token was revoked"}
        assert answer.challenge is not None
        assert 'error="invalid_token"' in answer.challenge
    store.down = {"read_revocations"}
    service.clock.turn(6)
    headers = [bearer(other.access)]
    for answer in (await guarded.request(headers=headers), await guarded.connect(headers=headers)):
        assert (answer.status, answer.challenge, answer.headers["retry-after"]) == (503, None, "1")
        assert answer.json()["error"] == "temporarily_unavailable"
    store.down = set()
    service.clock.turn(1)
    assert (await guarded.request(headers=headers)).status == 200


async def test_public_paths_read_no_log() -> None:
    """Where no token is read, no revocation is; nor for a request without one."""
    service = Service()
    store = service.store
    guarded = Guarded(service.auth, public=["/health"])
    assert (await guarded.request("/health", headers=[bearer("rubbish")])).status == 200
    assert (await guarded.request("/")).status == 401
    assert store.calls.total() == 0


@every_store
@pytest.mark.parametrize("way", ["cookie", "bearer", "all", "all by cookie", "delete", "revoke", "revoke access"])
async def test_every_way_ends_its_tokens(service: Service, way: str) -> None:
    """However a session ends, its refresh token ends, and its access token, at once here. The user's other device and
    another user are left alone, but where all are meant; a login right after stays."""
    one, other, bob = await service.device(), await service.device(), await service.device("bob")
    tokens = [each.access for each in (one, other, bob)]
    assert await let_in(service, *tokens) == [True, True, True]
    everywhere = way.startswith("all")
    if way == "delete":
        answer = await service.delete(one.sid, bearer(other.access))
    elif way.startswith("revoke"):
        answer = await service.revoke(one.access if way == "revoke access" else one.refresh)
    else:
        by = cookie(one.refresh) if way.endswith("cookie") else bearer(one.access)
        answer = await service.post("/logout-all" if everywhere else "/logout", None, by)
        assert (answer.status, answer.cookie(), answer.headers["cache-control"]) == (204, "", "no-store")
    assert answer.status in (200, 204)
    assert await let_in(service, *tokens) == [False, not everywhere, True]
    again = await service.device()
    assert await service.alive(one, other, bob, again) == [way == "revoke access", not everywhere, True, True]
    assert await let_in(service, again.access) == [True]
    if way in ("cookie", "bearer"):
        assert service.events.count(SessionEnded("ended")) == 1


async def test_logging_out_once_more_after_a_503(service: Service) -> None:
    """P19: A logout that failed is finished when it is tried again, also by the Bearer token which is refused by
    then."""
    one = await service.device()
    service.store.down_at = {("update", service.store.calls["update"] + 1)}
    assert (await service.post("/logout", None, bearer(one.access))).status == 503
    assert await let_in(service, one.access) == [True]
    for _ in range(2):
        assert (await service.post("/logout", None, bearer(one.access))).status == 204
        assert await let_in(service, one.access) == [False]
    assert (await service.kept(one.refresh)).ended_at is not None


class Silent(MemoryStore):
    """Writes as a store without transactions does; the writes numbered in `silent` happen, and the caller hears of a
    failure."""

    def __init__(self, *silent: int) -> None:
        super().__init__()
        self.silent = set[int]()
        self.writes = 0

    def wrote(self) -> None:
        self.writes += 1
        if self.writes in self.silent:
            raise StoreUnavailable("no answer")

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        session, result, entries = outcome(change(await self.get(key)))
        if entries and session is not None:
            await super().update(key, lambda stored: (stored and stored.marked(Millis(0)), None))
            self.wrote()
            await self.append_revocations(entries, 0)
        await super().update(key, lambda stored: (session and session.changed(), None))
        self.wrote()
        return result

    async def append_revocations(self, revocations: Sequence[Revocation], now: int) -> None:
        await super().append_revocations(revocations, Millis(now))
        self.wrote()


@pytest.mark.parametrize("by", ["bearer", "cookie", "bare", "delete"])
@pytest.mark.parametrize("write", range(1, 8))
async def test_logging_out_everywhere_once_more_after_a_503(by: str, write: int) -> None:
    """After a 503 the same request finishes the logout: 204, whichever write was not answered, in any process."""
    store = Silent()
    service = Service(WatchedStore(store))
    other, one = await service.device(), await service.device()
    bare = service.auth.issuer.access_token(Identity("alice"))
    store.writes, store.silent = 0, {write}
    headers = [cookie(one.refresh) if by == "cookie" else bearer(bare if by == "bare" else one.access)]
    method, path = ("DELETE", f"/sessions/{one.sid}") if by == "delete" else ("POST", "/logout-all")
    first = await service.ask(method, path, headers=headers)
    assert first.status == (503 if write <= store.writes else 204)
    again = Service(service.store)
    if first.status == 503:
        assert (await again.ask(method, path, headers=headers)).status == 204
    assert await let_in(again, one.access, other.access) == [False, by == "delete"]
    for each in (one, other):
        ended = (await service.kept(each.refresh)).ended_at is not None
        assert ended is not (by == "delete" and each is other)


async def lost_device(service: Service) -> Device:
    """A device whose session the store has lost."""
    one = await service.device()
    await service.store.inner.update(SessionKey("alice", one.sid), lambda _: (None, None))
    return one


async def test_token_without_a_session_logs_out(service: Service) -> None:
    """A token of no session, and one whose session the store has lost, are refused once they were shown to log out."""
    one = await lost_device(service)
    bare = service.auth.issuer.access_token(Identity("alice"))
    assert await let_in(service, one.access, bare) == [True, True]
    for _ in range(2):
        for token in (one.access, bare):
            assert (await service.post("/logout", None, bearer(token))).status == 204
    assert await let_in(service, one.access, bare) == [False, False]
    assert service.store.calls["append_revocations"] == 2


@pytest.mark.parametrize("way", ["/logout", "/revoke"])
async def test_refresh_token_of_a_lost_session_ends_its_access_tokens(service: Service, way: str) -> None:
    """A refresh token whose session the store has lost has the session's access tokens refused, with one entry."""
    one = await lost_device(service)
    for _ in range(2):
        if way == "/logout":
            assert (await service.post(way, None, cookie(one.refresh))).status == 204
        else:
            assert (await service.revoke(one.refresh)).status == 200
    assert await let_in(service, one.access) == [False]
    assert service.store.calls["append_revocations"] == 1
    assert service.events.count(TokensRevoked("sid")) == 1


async def test_token_of_a_lost_session_logs_out_everywhere_once(service: Service) -> None:
    """A token whose session the store has lost is refused once it was shown to log out everywhere, and adds nothing
    more to the log."""
    one = await lost_device(service)
    answers = [await service.post("/logout-all", None, bearer(one.access)) for _ in range(3)]
    assert [answer.status for answer in answers] == [204, 401, 401]
    assert await let_in(service, one.access) == [False]
    assert service.store.calls["append_revocations"] == 2


async def test_revoked_tokens_do_nothing_else(service: Service) -> None:
    """A revoked token neither lists nor ends sessions, and none of it reaches another user."""
    one, other = await service.device(), await service.device()
    await service.revoke(one.access)
    asked = [
        await service.get("/sessions", bearer(one.access)),
        await service.delete(other.sid, bearer(one.access)),
        await service.post("/logout-all", None, bearer(one.access)),
    ]
    assert [answer.error for answer in asked] == [(401, "invalid_token")] * 3
    assert await let_in(service, other.access) == [True]


async def test_revoking_while_the_store_is_down(service: Service) -> None:
    """RFC 7009 section 2.2.1: a 503 says that the token still exists."""
    one = await service.device()
    service.store.down = {"append_revocations", "update"}
    for token in (one.access, one.refresh):
        answer = await service.revoke(token)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    service.store.down = set()
    assert await let_in(service, one.access) == [True]


async def test_handed_claims() -> None:
    """A handler revokes the token of its own request by `request.user`."""
    service = Service()
    one = await service.device()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await service.auth.revoke_token(scope["user"])

    middleware = JWTMiddleware(app, service.auth)
    await middleware(http_scope(headers=[bearer(one.access)]), None, None)
    assert await let_in(service, one.access) == [False]
