"""Issuers for which the host is asked: how long an answer is held, and what follows from it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from support.issuers import JWKS, OPENID, IssuerServer
from support.sockets import ACCEPT, Echo, Server, Sockets
from support.tokens import AUDIENCE, NOW, SECRET, ec_key, jwk_of, reason, secret_token, thief_key, token_by
from support.waiting import until

from asgi_jwt import errors
from asgi_jwt.auth import Auth
from asgi_jwt.http import sockets
from asgi_jwt.settings import Settings
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.testing import Clock, fake_issuer
from asgi_jwt.tokens import found_issuers, resolved_issuers

pytestmark = pytest.mark.anyio

Work = Callable[[], Coroutine[Any, Any, None]]
OWN, TENANT = "https://own.example", "https://tenant.example"


class Host:
    """A host with a table of issuers, which counts how often it is asked for each."""

    def __init__(self, **settings: Any) -> None:
        self.table: dict[str, Any] = {}
        self.asked: list[str] = []
        self.clock = Clock(NOW)
        self.held: anyio.Event | None = None
        own = Settings(issuer=OWN, audience=AUDIENCE, secret=SECRET)
        self.auth = Auth(own, issuers=self.resolve, clock=self.clock, **settings)

    async def resolve(self, iss: str) -> Settings | None:
        self.asked.append(iss)
        answer = self.table.get(iss)
        if self.held is not None:
            await self.held.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    def trust(self, issuer: str = TENANT, **settings: Any) -> None:
        """From now on the issuer is trusted. Each answer is made anew."""
        given = {"audience": AUDIENCE, "keys": {"keys": [jwk_of(ec_key(), "a")]}, "type": "*", **settings}
        self.table[issuer] = lambda: Settings(issuer=issuer, **given)

    def token(self, issuer: str = TENANT, key: Any = None, **changes: Any) -> bytes:
        return token_by(key or ec_key(), "a", iss=issuer, **changes)

    async def reason(self, token: bytes) -> str | None:
        return await reason(self.auth, token)


async def test_an_answer_is_held_for_a_minute() -> None:
    """The host is asked once in 60 seconds for an issuer, trusted or not, and never for one of the settings."""
    host = Host()
    host.trust()
    token, other = host.token(), host.token("https://other.example")
    assert await host.reason(secret_token(iss=OWN).encode()) is None
    for _ in range(3):
        assert [await host.reason(each) for each in (token, other)] == [None, "issuer_invalid"]
        host.clock.turn(19.9)
    assert host.asked == [TENANT, "https://other.example"]
    host.clock.turn(1)
    assert host.auth.verify_cached(token) is None
    assert [await host.reason(each) for each in (token, other)] == [None, "issuer_invalid"]
    assert host.asked == [TENANT, "https://other.example"] * 2
    assert host.auth.verify_cached(token) is not None
    assert host.auth.verifier.verified == 2, "an equal answer keeps the cached tokens"
    host.clock.turn(-30)
    assert await host.reason(host.token(jti="2")) is None, "the clock was set back, so the host is asked again"
    assert host.asked.count(TENANT) == 3


async def test_a_dropped_issuer_is_refused_within_a_minute() -> None:
    """When the host trusts an issuer no longer, its cached tokens are refused with the next answer."""
    host = Host()
    host.trust()
    token = host.token()
    assert await host.reason(token) is None
    del host.table[TENANT]
    host.clock.turn(60)
    assert await host.reason(token) == "issuer_invalid"
    host.trust()
    host.clock.turn(60)
    assert await host.reason(token) is None


async def test_an_exception_of_the_host(caplog: pytest.LogCaptureFixture) -> None:
    """An exception is a 503 and a line in the log. It is not held, and the last answer does not stand in for it."""
    host = Host()
    host.trust()
    token = host.token()
    assert await host.reason(token) is None
    for answer in (OSError("the database is away"), errors.WrongAudience(), "https://tenant.example"):
        host.clock.turn(60)
        host.table[TENANT] = answer
        assert await host.reason(token) == "keys_unavailable"
        assert caplog.records.pop().message == "issuers= failed"
    host.trust()
    assert await host.reason(token) is None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancelled_task_of_the_host() -> None:
    """A question that ends with a cancellation of the host's own is a 503, never a refusal."""

    async def resolve(iss: str) -> Settings | None:
        raise asyncio.CancelledError

    own = Settings(issuer=OWN, audience=AUDIENCE, secret=SECRET)
    with pytest.raises(errors.KeysUnavailable):
        await Auth(own, issuers=resolve, clock=Clock(NOW)).verify(Host().token())


@pytest.mark.parametrize("other", [f"{TENANT}/", "https://TENANT.example", OWN])
async def test_settings_of_another_issuer(other: str) -> None:
    """Settings that name another issuer than the token are none for it, and the answer is held."""
    host = Host()
    host.trust()
    host.table[other] = host.table[TENANT]
    if other == OWN:
        host.table["https://else.example"], other = host.table[TENANT], "https://else.example"
    for _ in range(2):
        assert await host.reason(host.token(other)) == "issuer_invalid"
    assert host.asked == [other]


async def test_settings_with_a_placeholder() -> None:
    """Settings for many tenants are no answer about one issuer."""
    host, pattern = Host(), f"{TENANT}/{{realm}}"
    host.trust(pattern, keys=None, discovery=True, tenants="*")
    assert await host.reason(host.token(pattern)) == "issuer_invalid"


async def test_remote_keys_stay_while_their_source_does(server: IssuerServer) -> None:
    """An equal answer fetches nothing. Another audience is a new rule for the same keys; another URL is a fetch."""
    server.publish(jwk_of(ec_key(), "a"))
    host = Host()
    host.trust(keys=None, jwks_url=server.jwks_url)
    token = host.token()
    for _ in range(2):
        assert await host.reason(token) is None
        host.clock.turn(60)
    host.trust(keys=None, jwks_url=server.jwks_url, audience="other")
    assert await host.reason(token) == "audience_invalid"
    assert await host.reason(host.token(aud="other")) is None
    assert server.requests == [JWKS]
    server.answer("/moved", {"keys": [jwk_of(thief_key(), "a")]})
    host.clock.turn(60)
    host.trust(keys=None, jwks_url=f"{server.issuer}/moved")
    assert await host.reason(token) == "signature_invalid"
    assert await host.reason(host.token(key=thief_key())) is None
    assert server.requests == [JWKS, "/moved"]


async def test_keys_that_leave_a_remote_issuer(server: IssuerServer) -> None:
    """A withdrawn key takes its cached tokens along, also after an answer that changed the rules."""
    server.publish(jwk_of(ec_key(), "a"))
    host = Host()
    host.trust(keys=None, jwks_url=server.jwks_url)
    assert await host.reason(host.token()) is None
    host.trust(keys=None, jwks_url=server.jwks_url, leeway=60)
    host.clock.turn(60)
    token = host.token()
    assert await host.reason(token) is None
    server.publish(jwk_of(thief_key(), "b"))
    host.clock.turn(500)
    await host.reason(token)
    with anyio.fail_after(30):
        while server.count() < 2:
            await server.request()
        await until(lambda: host.auth.verify_cached(token) is None)
    assert await host.reason(token) == "key_unknown"


async def test_an_issuer_with_discovery(server: IssuerServer) -> None:
    """The host's settings may name the keys as all settings do."""
    server.publish(jwk_of(ec_key(), "a"))
    server.describe()
    host = Host()
    host.trust(server.issuer, keys=None, discovery=True)
    claims = await host.auth.verify(host.token(server.issuer))
    assert (claims.issuer, claims.tenant, server.requests) == (server.issuer, None, [OPENID, JWKS])
    assert host.auth.verifier.key_ages() == {server.issuer: 0}
    host.auth.warm_up()
    (await host.auth.verifier.trust_in(server.issuer)).keys.warm_up()
    assert len(server.requests) == 2, "fresh keys need no warm-up"


async def together(number: int, one: Work, then: Work) -> None:
    """Run `one` so many times at once, and `then` when all of them wait."""
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for _ in range(number):
                group.start_soon(one)
            await anyio.wait_all_tasks_blocked()
            await then()


async def test_one_question_for_all_tokens_of_an_issuer() -> None:
    """100 tokens at once ask once. A caller who leaves takes the answer from nobody."""
    host = Host()
    host.trust()
    host.held = anyio.Event()
    reasons: list[str | None] = []
    scopes: list[anyio.CancelScope] = []

    async def one() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            reasons.append(await host.reason(host.token()))

    async def answer() -> None:
        assert host.held is not None
        scopes[0].cancel()
        host.held.set()

    await together(100, one, answer)
    assert (reasons, host.asked) == ([None] * 99, [TENANT])


async def test_made_up_issuers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is asked few questions at once, the rest is a 503. A known issuer is asked for all the same."""
    monkeypatch.setattr(resolved_issuers, "MAX_ASKED", 3)
    host = Host()
    host.trust()
    token = host.token()
    assert await host.reason(token) is None
    host.clock.turn(60)
    host.held = anyio.Event()
    reasons: list[str | None] = []
    numbers = iter(range(10))

    async def one() -> None:
        reasons.append(await host.reason(host.token(f"https://t{next(numbers)}.example")))

    async def known() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(host.auth.verify, token)
            await anyio.wait_all_tasks_blocked()
            assert host.held is not None
            host.held.set()

    await together(10, one, known)
    assert sorted(map(str, reasons)) == ["issuer_invalid"] * 3 + ["keys_unavailable"] * 7
    assert host.asked.count(TENANT) == 2


async def test_a_host_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 5 seconds without an answer, the tokens that wait for it get a 503."""
    monkeypatch.setattr("asgi_jwt.tokens.discovery.FETCH_TIMEOUT", 0.05)
    host = Host()
    host.held = anyio.Event()
    assert await host.reason(host.token()) == "keys_unavailable"


async def test_made_up_issuers_push_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals are bounded, and neither they nor forged tokens push out an issuer with a verified token."""
    monkeypatch.setattr(resolved_issuers, "MAX_KEPT", 5)
    monkeypatch.setattr(found_issuers, "MAX_KEPT", 5)
    host = Host()
    host.trust()
    assert await host.reason(host.token()) is None
    for number in range(20):
        assert await host.reason(host.token(f"https://made-up-{number}.example")) == "issuer_invalid"
        host.trust(f"https://t{number}.example")
        assert await host.reason(host.token(f"https://t{number}.example", thief_key())) == "signature_invalid"
    assert await host.reason(host.token(jti="2")) is None
    assert host.asked.count(TENANT) == 1
    assert await host.reason(host.token("https://made-up-19.example")) == "issuer_invalid"
    assert await host.reason(host.token("https://made-up-1.example")) == "issuer_invalid"
    assert await host.reason(host.token("https://t19.example")) is None
    assert len(vars(host.auth.verifier._finders[0])["_unverified"]) <= 5
    asked = [host.asked.count(f"https://{name}.example") for name in ("made-up-19", "made-up-1", "t19")]
    assert asked == [1, 2, 1]


async def test_forgetting(server: IssuerServer) -> None:
    """`forget_issuer` drops the answer, the keys and the cached tokens of one issuer, also a refusal."""
    server.publish(jwk_of(ec_key(), "a"))
    host = Host()
    host.trust(keys=None, jwks_url=server.jwks_url)
    token = host.token()
    for _ in range(2):
        assert await host.reason(token) is None
        host.auth.forget_issuer(TENANT)
        assert host.auth.verify_cached(token) is None
    assert (host.asked, server.count()) == ([TENANT] * 2, 2)
    other = "https://other.example"
    assert await host.reason(host.token(other)) == "issuer_invalid"
    host.trust(other)
    host.auth.forget_issuer(other)
    assert await host.reason(host.token(other)) is None


async def test_forgetting_an_answer_under_way() -> None:
    """An answer that was under way when its issuer was forgotten is not used: the host is asked again."""
    host = Host()
    host.trust()
    host.held = anyio.Event()
    reasons: list[str | None] = []

    async def one() -> None:
        reasons.append(await host.reason(host.token()))

    async def forget() -> None:
        del host.table[TENANT]
        host.auth.forget_issuer(TENANT)
        assert host.held is not None
        host.held.set()

    await together(3, one, forget)
    assert (reasons, host.asked) == (["issuer_invalid"] * 3, [TENANT] * 2)


@pytest.mark.parametrize("source", ["jwks_url", "secret"])
async def test_forgetting_an_issuer_of_the_settings(server: IssuerServer, source: str) -> None:
    """An issuer of the settings is verified anew: its keys are fetched again, and an unknown one changes nothing."""
    server.publish(jwk_of(ec_key(), "a"))
    given = SECRET if source == "secret" else server.jwks_url
    auth = Auth(Settings(issuer=TENANT, audience=AUDIENCE, **{source: given}), clock=Clock(NOW))
    token = secret_token(iss=TENANT).encode() if source == "secret" else token_by(ec_key(), "a", iss=TENANT)
    await auth.verify(token)
    auth.forget_issuer("https://unknown.example")
    assert auth.verify_cached(token) is not None
    auth.forget_issuer(TENANT)
    assert auth.verify_cached(token) is None
    assert (await auth.verify(token)).subject == "alice"
    assert server.count() == (2 if source == "jwks_url" else 0)


ENDS: dict[str, tuple[str, tuple[int, str]]] = {
    "forgotten": ("forget", (3000, "The access token is from another issuer")),
    "dropped": ("drop", (3000, "The access token is from another issuer")),
    "away": ("fail", (1013, "Authentication is temporarily unavailable")),
}


@pytest.mark.parametrize("end", ENDS)
async def test_open_sockets(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The WebSockets of an issuer end within a second when it is forgotten, and with the answer when it is dropped.

    While the host gives no answer, they are closed with 1013. Those of other issuers stay open.
    """
    monkeypatch.setattr(sockets, "LONGEST_WAIT", 0.01)
    host = Host()
    host.trust()
    open_, theirs, own = Sockets(Echo(), host.auth), Server(), Server()
    named = [{"authorization": f"Bearer {token}"} for token in (host.token().decode(), secret_token(iss=OWN))]
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(open_.call, theirs, named[0])
            group.start_soon(open_.call, own, named[1])
            await until(lambda: ACCEPT in theirs.sent and ACCEPT in own.sent)
            way, closed = ENDS[end]
            if way == "forget":
                host.auth.forget_issuer(TENANT)
            else:
                host.table[TENANT] = OSError() if way == "fail" else None
                host.clock.turn(60)
            await until(lambda: bool(theirs.closes))
            own.leave()
    assert (theirs.closes, own.closes[0][0]) == ([closed], 1000), "the app closes the other one in its turn"


async def test_a_fake_issuer() -> None:
    """Within a fake issuer the host is asked as ever, and the keys of its answer are thrown away."""
    host = Host()
    host.trust(keys=None, secret="the tenant's secret" * 2)
    with fake_issuer(host.auth) as issue:
        assert (await host.auth.verify(issue.token(claims={"iss": TENANT}))).issuer == TENANT
        with pytest.raises(errors.WrongIssuer):
            await host.auth.verify(issue.token(claims={"iss": "https://other.example"}))
        with pytest.raises(ValueError, match="no placeholder"):
            issue.token(tenant="a")
    assert await host.reason(issue.token().encode()) == "signature_invalid"


async def test_revoking_a_subject() -> None:
    """`revoke_subject` takes an issuer that the host trusts, and no other."""
    host = Host(store=MemoryStore())
    host.trust()
    await host.auth.revoke_subject("alice", issuer=TENANT)
    assert await host.reason(host.token()) == "token_revoked"
    with pytest.raises(ValueError, match="the issuer is none of those"):
        await host.auth.revoke_subject("alice", issuer="https://other.example")
