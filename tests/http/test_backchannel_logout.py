"""A logout at the issuer ends its tokens here: OpenID Connect Back-Channel Logout 1.0."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from support.app import Answer, Guarded, Service, ask, form_body, http_scope, json_body, make_auth
from support.issuers import JWKS, OPENID, IssuerServer
from support.issuers import Answer as IssuerAnswer
from support.oidc_provider import OidcProvider
from support.serving import process_serving
from support.tokens import AUDIENCE, LOGOUT_EVENT, NOW, claims, ec_key, genuine, head, jwk_of, jwks, jws, thief_key
from support.waiting import PATIENCE, wait_until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from asgi_jwt import Auth, AuthApp, BackchannelLogout, Claims, ConfigurationError, MemoryStore, Settings
from asgi_jwt.events import TokenRefused, TokensRevoked
from asgi_jwt.sessions.gate import AdmissionGate
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.found_issuers import HELD

pytestmark = pytest.mark.anyio

OP = "https://op.example"
CLIENT = "shop"
_LEFT_OUT = "left out"


def logout_token(header: dict[str, Any] | None = None, sign: Any = genuine, **changes: Any) -> str:
    """A logout token as most issuers make it, with `changes`."""
    members = {
        "iss": OP,
        "aud": CLIENT,
        "iat": NOW,
        "exp": NOW + 120,
        "jti": "1",
        "events": {LOGOUT_EVENT: {}},
        "sub": "alice",
        "sid": "s1",
        **changes,
    }
    kept = {name: value for name, value in members.items() if value is not _LEFT_OUT}
    return jws({"alg": "ES256", "kid": "p256", "typ": "logout+jwt"} if header is None else header, kept, sign)


def access_token(sub: str = "alice", **changes: Any) -> str:
    """An access token of the issuer."""
    return jws(head(), claims(iss=OP, sub=sub, jti=repr((sub, changes)), **changes), genuine)


def a_service(**more: Any) -> Service:
    """A service with sessions of its own that trusts the issuer, too."""
    issuer = Settings(issuer=OP, audience=AUDIENCE, keys=jwks(), type="*", required_claims="of_access_tokens")
    return Service(issuers=[issuer], settings={"logout_audience": CLIENT}, **more)


def trusting(**settings: Any) -> Auth:
    given = {"issuer": OP, "audience": AUDIENCE, "type": "*", "logout_audience": CLIENT}
    keys = {} if "jwks_url" in settings else {"keys": jwks()}
    return Auth(Settings(**{**given, **keys, **settings}), store=MemoryStore(), clock=Clock(NOW))


async def send(auth: Auth, token: str, **options: Any) -> Answer:
    return await ask(BackchannelLogout(auth, **options), "POST", "/", **form_body({"logout_token": token}))


async def let_in(auth: Auth, *tokens: str) -> list[bool]:
    guarded = Guarded(auth)
    return [(await guarded.request(headers={"authorization": f"Bearer {token}"})).status == 200 for token in tokens]


SID, OTHER, BARE = access_token(sid="s1"), access_token(sid="s2"), access_token()
OLD, NEW, BOB = access_token(iat=NOW - 60), access_token(iat=NOW + 5), access_token("bob", sid="s2")
TOKENS = (SID, OTHER, BARE, OLD, NEW, BOB)

# By whom made, the token, and which of `TOKENS` pass afterwards.
ENDS: dict[str, tuple[str, list[bool]]] = {
    "sid and sub": (logout_token(), [False, True, True, True, True, True]),
    "sid alone": (logout_token(sub=_LEFT_OUT), [False, True, True, True, True, True]),
    "sub alone": (logout_token(sid=_LEFT_OUT), [False, False, False, False, True, True]),
    # Keycloak: typ JWT, exp, a uuid as sid. Auth0: typ logout+jwt, no exp in older ones.
    "Keycloak": (
        logout_token({"alg": "ES256", "kid": "p256", "typ": "JWT"}, typ="Logout", aud=CLIENT, auth_time=NOW),
        [False, True, True, True, True, True],
    ),
    "Auth0": (logout_token(exp=_LEFT_OUT, aud=[CLIENT, "other"]), [False, True, True, True, True, True]),
    "no typ, no jti": (
        logout_token({"alg": "ES256", "kid": "p256"}, jti=_LEFT_OUT),
        [False, True, True, True, True, True],
    ),
    "old": (logout_token(sid=_LEFT_OUT, iat=NOW - 329), [True, True, True, True, True, True]),
    "more in events": (logout_token(events={LOGOUT_EVENT: {"x": 1}, "y": 2}), [False, True, True, True, True, True]),
}


@pytest.mark.parametrize(("token", "pass_on"), ENDS.values(), ids=ENDS)
async def test_what_a_logout_ends(token: str, pass_on: list[bool]) -> None:
    """A `sid` ends the tokens that bear it, a `sub` alone all that were issued to that user until then."""
    auth = trusting()
    assert all(await let_in(auth, *TOKENS))
    answer = await send(auth, token)
    assert (answer.status, answer.body, answer.headers["cache-control"]) == (200, b"", "no-store")
    assert await let_in(auth, *TOKENS) == pass_on


NO_EVENTS: tuple[Any, ...] = (_LEFT_OUT, {}, {"x": {}}, [LOGOUT_EVENT], None)
REFUSED: dict[str, str] = {
    **{f"events {events!r}": logout_token(events=events) for events in NO_EVENTS},
    **{f"event {event!r}": logout_token(events={LOGOUT_EVENT: event}) for event in (None, True, 1, "x")},
    **{f"nonce {value!r}": logout_token(nonce=value) for value in ("n", None)},
    **{f"typ {typ!r}": logout_token({"alg": "ES256", "kid": "p256", "typ": typ}) for typ in ("at+jwt", "rt+jwt", None)},
    **{f"aud {aud!r}": logout_token(aud=aud) for aud in (AUDIENCE, "shop2", [], None, _LEFT_OUT, [CLIENT, 1])},
    **{f"iat {iat!r}": logout_token(iat=iat) for iat in (_LEFT_OUT, NOW - 330, NOW + 31, True, "1", None)},
    **{f"exp {exp!r}": logout_token(exp=exp) for exp in (NOW - 30, None, "x")},
    **{f"sid {sid!r}": logout_token(sid=sid) for sid in ("", 1, None, ["s1"])},
    **{f"sub {sub!r}": logout_token(sub=sub) for sub in ("", 1, None)},
    "neither sid nor sub": logout_token(sid=_LEFT_OUT, sub=_LEFT_OUT),
    "jti": logout_token(jti=1),
    "another issuer": logout_token(iss="https://issuer2.example"),
    "no issuer": logout_token(iss=_LEFT_OUT),
    "alg none": logout_token({"alg": "none"}, lambda _: b""),
    "a wrong signature": logout_token(sign=lambda _: bytes(64)),
    "an access token": SID,
    "rubbish": "x.y.z",
    "no ASCII": "é",
    "too large": "x" * 9000,
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
async def test_refused(token: str, caplog: pytest.LogCaptureFixture) -> None:
    """Any other token is 400 `invalid_request`, and ends nothing."""
    caplog.set_level("INFO")
    auth = trusting()
    assert all(await let_in(auth, *TOKENS))
    assert (await send(auth, token)).error == (400, "invalid_request")
    assert all(await let_in(auth, *TOKENS))
    assert all(len(part) < 8 or part not in caplog.text for part in token.split("."))


async def test_rules_of_access_tokens() -> None:
    """A logout token has none of the marks that access tokens need, and is taken all the same."""
    marks = {"type": "token_use=access", "typ": "at+jwt", "require_typ": True, "required_claims": "email_verified"}
    auth = trusting(**marks, audience_claim="azp")
    assert (await send(auth, logout_token({"alg": "ES256", "kid": "p256"}))).status == 200


async def test_overload(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all places of logouts taken it is a 503 before any signature."""
    auth, gate = trusting(), AdmissionGate(places=1, max_wait=0.05)
    monkeypatch.setattr(auth.revoker, "_gate", gate)
    entered = await gate.enter()
    refused = await send(auth, logout_token())
    assert (refused.status, auth.verifier.signature_checks) == (503, 0)
    gate.leave(entered)
    assert (await send(auth, logout_token())).status == 200


class Late(IssuerServer):
    """Its answers are those of the time when the request came, however long it holds them back."""

    def answer_to(self, path: str, headers: Iterable[tuple[str, str]]) -> IssuerAnswer:
        answer = self._answers[path]
        super().answer_to(path, headers)
        return answer


async def test_a_key_of_a_forgotten_issuer() -> None:
    """A logout token is not verified with keys whose fetch was under way when the issuer was forgotten."""
    with Late() as server:
        server.publish(jwk_of(ec_key(), "p256"))
        auth = trusting(jwks_url=server.jwks_url)
        answers: list[Answer] = []

        async def log_out() -> None:
            answers.append(await send(auth, logout_token()))

        async with anyio.create_task_group() as tasks:
            with server.holding():
                tasks.start_soon(log_out)
                await server.request()
                auth.forget_issuer(OP)
                server.publish(jwk_of(thief_key(), "p256"))
        assert [answer.status for answer in answers] == [400]
        assert server.count() == 2


async def test_replayed() -> None:
    """A logout token that comes again is 200, and ends nothing newer. It adds no entry to the log."""
    auth, token = trusting(), logout_token(sid=_LEFT_OUT, exp=_LEFT_OUT)
    clock: Any = auth.clock
    for _ in range(3):
        assert (await send(auth, token)).status == 200
        clock.turn(100)
    newer = access_token(iat=NOW + 100)
    assert await let_in(auth, BARE, newer) == [False, True]
    assert len((await auth.store.read_revocations()).revocations) == 1


@pytest.mark.parametrize("late", [0, 200])
async def test_life_of_an_entry(late: int) -> None:
    """The life of the entry counts from the `iat`, however late the logout token comes."""
    auth = trusting(revocation_ttl="2h")
    clock: Any = auth.clock
    clock.turn(late)
    assert (await send(auth, logout_token(exp=_LEFT_OUT))).status == 200
    (entry,) = (await auth.store.read_revocations()).revocations
    assert (entry.time, entry.until - entry.time) == (NOW * 1000, (7200 + 365 - late) * 1000)


async def test_a_tenant() -> None:
    """`on_logout` hears of the tenant. A tenant's logout token keeps its keys, and another tenant's is refused."""
    heard: list[str | None] = []
    with IssuerServer() as server:
        clock = Clock(NOW)
        given: Any = {"audience": AUDIENCE, "logout_audience": CLIENT, "discovery": True, "tenants": "a,b"}
        auth = Auth(Settings(issuer=server.issuer + "/{realm}", **given), store=MemoryStore(), clock=clock)
        for realm in "ab":
            iss = f"{server.issuer}/{realm}"
            server.describe(f"/{realm}{OPENID}", issuer=iss, jwks_uri=iss + JWKS)
            server.answer(f"/{realm}{JWKS}", {"keys": [jwk_of(ec_key(), "p256", issuer=server.issuer + "/{tenantid}")]})
        for tid, status in (("a", 200), ("b", 400), ("a", 200)):
            token = logout_token(iss=f"{server.issuer}/a", tid=tid, iat=clock())
            answer = await send(auth, token, on_logout=lambda told: heard.append(told.tenant))
            assert answer.status == status
            clock.turn(HELD / 2)
        assert (heard, server.count(f"/a{JWKS}")) == (["a", "a"], 1)


async def test_never_an_access_token() -> None:
    """A logout token shown as an access token is refused, whatever its audience and type."""
    token = logout_token({"alg": "ES256", "kid": "p256", "typ": "JWT"}, aud=AUDIENCE, type="access")
    assert await let_in(trusting(), token) == [False]


async def test_on_logout() -> None:
    """The host's function, sync or async, gets the claims after the entry is written; its failure is the request's."""
    heard: list[Any] = []

    def sync(told: Claims) -> None:
        heard.append((told.get("sub"), told["sid"]))

    async def asynchronous(told: Claims) -> None:
        heard.append(told.issuer)
        raise OSError("the host's database is down")

    auth = trusting()
    assert (await send(auth, logout_token(sub=_LEFT_OUT), on_logout=sync)).status == 200
    with pytest.raises(OSError, match="database is down"):
        await send(auth, logout_token(sid="s2"), on_logout=asynchronous)
    assert heard == [(None, "s1"), OP]
    assert await let_in(auth, SID, OTHER) == [False, False]


async def test_route_of_auth_app() -> None:
    """`POST /backchannel-logout` of `AuthApp` does the same, and says so by events; own sessions are not touched."""
    heard: list[str] = []
    service = a_service()
    service.app = AuthApp(service.auth, service.authenticate, on_logout=lambda told: heard.append(told.subject))
    device = await service.device()
    answer = await service.post("/backchannel-logout", form_body({"logout_token": logout_token()}))
    refused = await service.post("/backchannel-logout", form_body({"logout_token": "x"}))
    assert (answer.status, refused.error, heard) == (200, (400, "invalid_request"), ["alice"])
    assert refused.challenge is None
    assert service.events[-2:] == [TokensRevoked("sid"), TokenRefused("logout_token_invalid", 400, "http")]
    assert await service.alive(device) == [True]
    assert (await Service().post("/backchannel-logout")).status == 404


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        ("GET", {}, 405),
        ("POST", {}, 415),
        ("POST", form_body({}), 400),
        ("POST", json_body({"logout_token": "x"}), 400),
    ],
)
async def test_other_requests(method: str, body: dict[str, Any], status: int) -> None:
    """Another method is 405, a body without the token 400."""
    assert (await ask(BackchannelLogout(trusting()), method, "/", **body)).status == status


@pytest.mark.parametrize("down", ["store", "keys"])
async def test_out_of_reach(down: str) -> None:
    """While the store or the keys are out of reach it is a 503, and the issuer tries again."""
    service = a_service()
    auth = service.auth
    if down == "store":
        service.store.down = {"append_revocations"}
    else:
        auth = trusting(jwks_url="http://127.0.0.1:9/jwks")
    answer = await send(auth, logout_token())
    assert (answer.status, answer.json()["error"]) == (503, "temporarily_unavailable")


@pytest.mark.parametrize(
    ("settings", "why"),
    [({"logout_audience": ()}, "ASGI_JWT_LOGOUT_AUDIENCE is missing"), ({}, "ASGI_JWT_STORE is missing")],
)
def test_what_it_needs(settings: dict[str, Any], why: str) -> None:
    """Without a client id, or a store, it says so where it is built."""
    with pytest.raises(ConfigurationError, match=why):
        BackchannelLogout(make_auth(**{"logout_audience": CLIENT, **settings}))


async def test_other_scopes() -> None:
    """A WebSocket is denied, and the lifespan is the host's."""
    app = BackchannelLogout(trusting())
    sent: list[Any] = []

    async def keep(message: Any = None) -> Any:
        sent.append(message)
        return {"type": "websocket.connect"}

    await app({"type": "lifespan"}, keep, keep)
    assert sent == []
    await app({**http_scope(), "type": "websocket"}, keep, keep)
    assert sent[-1] == {"type": "websocket.close", "code": 3000, "reason": ""}


@pytest.mark.outside
def test_oidc_provider(tmp_path: Path) -> None:
    """oidc-provider's own logout ends HTTP and WebSockets in every process that shares the store, within a second."""
    provider = OidcProvider()
    try:
        provider.publish(("1", "RS256"))
        given = {"ISSUER": provider.issuer, "AUDIENCE": provider.RESOURCE, "DISCOVERY": "true"}
        given |= {"LOGOUT_AUDIENCE": "machine", "STORE": f"sqlite:///{tmp_path / 'shared.db'}"}
        variables = {f"ASGI_JWT_{name}": value for name, value in given.items()}
        with (
            process_serving("servers.logouts:app", "uvicorn", tmp_path / "told", **variables) as told,
            process_serving("servers.logouts:app", "uvicorn", tmp_path / "other", **variables) as other,
        ):
            headers = {"Authorization": f"Bearer {provider.token()}"}

            def status(address: str) -> int:
                return httpx2.get(f"http://{address}/orders", headers=headers, trust_env=False).status_code

            assert (status(told), status(other)) == (200, 200)
            with connect(
                f"ws://{other}/socket", additional_headers=headers, proxy=None, open_timeout=PATIENCE
            ) as open_:
                provider.log_out("machine", f"http://{told}/oidc/backchannel-logout")
                assert status(told) == 401
                wait_until(lambda: status(other) == 401)
                with pytest.raises(ConnectionClosed) as closed:
                    open_.recv(PATIENCE)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 3000
    finally:
        provider.close()
