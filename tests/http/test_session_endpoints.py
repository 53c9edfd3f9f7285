"""Sessions shown and ended: /logout, /logout-all, /sessions and /revoke."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from support.app import (
    AUDIENCE,
    COOKIE,
    ISSUER,
    NO_TOKEN,
    NOW,
    SECRET,
    Answer,
    Header,
    Service,
    WatchedStore,
    bearer,
    cookie,
    every_store,
    form_body,
    json_body,
)
from support.issuers import IssuerServer
from support.tokens import claims, jws, private_pem

from asgi_jwt import Auth, Identity, Settings
from asgi_jwt.errors import RevokedToken
from asgi_jwt.events import SessionEnded, TokensRevoked
from asgi_jwt.http import session_endpoints
from asgi_jwt.sessions.gate import AdmissionGate
from asgi_jwt.tokens.issuer import Signer
from asgi_jwt.tokens.key import Key

pytestmark = pytest.mark.anyio

PARTNER = Settings(issuer="https://partner.example", audience=AUDIENCE, secret="the partner's secret" * 2)
WAYS = ["/logout", "/logout-all", "delete"]
logout_or_revoke = pytest.mark.parametrize("way", ["/logout", "/revoke"])


def foreign(secret: str = SECRET, **said: object) -> str:
    """An access token that another signer makes with the same keys: without a `jti`, but for what `said` adds."""
    members = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "type": "access", "iat": NOW, "exp": NOW + 7200}
    return Signer(Key.from_secret(secret), "HS256", "at+jwt").sign({**members, **said})


async def end(service: Service, way: str, sid: str, *headers: Header) -> Answer:
    """Log out, here or everywhere, or DELETE the session `sid`."""
    return await (service.delete(sid, *headers) if way == "delete" else service.post(way, None, *headers))


def spied(calls: list[object], method: Callable[..., Any]) -> Callable[..., Any]:
    """`method`, which adds the arguments of each call to `calls`."""

    def called(*arguments: object) -> Any:
        calls.append(arguments)
        return method(*arguments)

    return called


async def show(service: Service, way: str, token: str) -> None:
    """Log out by an access token, or revoke it."""
    if way == "/logout":
        assert_cleared(await service.post("/logout", None, bearer(token)))
    else:
        assert (await service.revoke(token)).status == 200


def assert_cleared(answer: Answer) -> None:
    assert (answer.status, answer.body, answer.cookie()) == (204, b"", "")
    assert answer.headers["cache-control"] == "no-store"


@every_store
@pytest.mark.parametrize("name", ["alice", "bob"])
async def test_bearer_and_cookie_of_two_sessions(service: Service, name: str) -> None:
    """Where the Bearer token is of another session than the cookie, of whichever subject, both sessions end."""
    one, other, third = [await service.device(each) for each in ("alice", name, name)]
    assert_cleared(await service.post("/logout", None, bearer(one.access), cookie(other.refresh)))
    assert await service.alive(one, other, third) == [False, False, True]
    assert service.events.count(SessionEnded("ended")) == 2


@pytest.mark.parametrize("way", ["/logout-all", "delete"])
async def test_a_cookie_is_cleared_with_its_session(service: Service, way: str) -> None:
    """Wherever the cookie leaves the jar, its session ends: another user's too, and no other session of that user."""
    one, bobs, bobs_other = [await service.device(name) for name in ("alice", "bob", "bob")]
    assert_cleared(await end(service, way, one.sid, bearer(one.access), cookie(bobs.refresh)))
    assert await service.alive(one, bobs, bobs_other) == [False, False, True]


@pytest.mark.parametrize("tossed", ["a second one", "a thousand"])
@pytest.mark.parametrize("way", WAYS)
async def test_tossed_cookies_beside_a_bearer_token(service: Service, way: str, tossed: str) -> None:
    """Tossed cookies keep nobody from logging out by the Bearer token; no cookie is used, all are cleared."""
    one, other, third = [await service.device(name) for name in ("alice", "bob", "bob")]
    second = cookie(third.refresh) if tossed == "a second one" else ("cookie", f"{COOKIE}=tossed; " * 1001)
    assert_cleared(await end(service, way, one.sid, bearer(one.access), cookie(other.refresh), second))
    assert await service.alive(one, other, third) == [False, True, True]


@pytest.mark.parametrize("path", ["POST /logout", "POST /logout-all", "GET /sessions", "DELETE /sessions/x", "/revoke"])
async def test_a_forged_token_costs_four_signature_checks(path: str) -> None:
    """No endpoint tries a forged token a second time: four keys without a `kid` make four checks a request."""
    keys = [private_pem(ec.generate_private_key(ec.SECP256R1())).decode() for _ in range(4)]
    service = Service(settings={"secret": None, "keys": "".join(keys)})
    forged = jws({"alg": "ES256", "typ": "at+jwt"}, claims(), lambda _: b"x" * 64)
    if path == "/revoke":
        await service.revoke(forged)
    else:
        await service.ask(*path.split(), headers=[bearer(forged)])
    assert service.auth.verifier.signature_checks == 4


@pytest.mark.parametrize("way", [*WAYS, "/revoke"])
async def test_overload_costs_no_signature(service: Service, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """With all places taken, an end is a 503 before any signature, which clears no cookie; one place is enough."""
    one = await service.device()
    gate = AdmissionGate(places=1, max_wait=0.05)
    monkeypatch.setattr(service.auth.revoker, "_gate", gate)
    entered = await gate.enter()
    checks: list[object] = []
    for verifier in (service.auth.verifier, service.auth.sessions._refresh_verifier):
        monkeypatch.setattr(verifier, "verify_once", spied(checks, verifier.verify_once))
        monkeypatch.setattr(verifier, "verify", spied(checks, verifier.verify))

    async def ended() -> Answer:
        if way == "/revoke":
            return await service.revoke(one.refresh)
        return await end(service, way, one.sid, bearer(one.access), cookie(one.refresh))

    refused = await ended()
    assert (refused.status, refused.set_cookies, "retry-after" in refused.headers) == (503, [], True)
    assert checks == []
    gate.leave(entered)
    assert (await ended()).status < 300
    assert checks
    assert await service.alive(one) == [False]


class Slow:
    """A server outside that is asked about a token, as a verifier or about its issuer, and answers when it may."""

    def __init__(self) -> None:
        self.asked, self.may_answer = anyio.Event(), anyio.Event()

    async def verify(self, token: str) -> None:
        self.asked.set()
        await self.may_answer.wait()


SLOW_TOKEN = jws({"alg": "ES256"}, claims(iss="https://slow.example"), lambda _: b"x" * 64)
ENDS = ["POST /logout", "POST /logout-all", "DELETE /sessions/x", "POST /revoke", "POST /backchannel-logout"]


@pytest.mark.parametrize("path", ENDS)
@pytest.mark.parametrize("token", ["sk_unknown", SLOW_TOKEN], ids=["of a verifier", "of an issuer"])
async def test_a_slow_verification_takes_no_place(monkeypatch: pytest.MonkeyPatch, path: str, token: str) -> None:
    """While a verifier or an issuer is slow with a stranger's token, own users log out, with one place for all."""
    slow = Slow()
    service = Service(issuers=slow.verify, verifiers=[slow], settings={"logout_audience": "shop"})
    one = await service.device()
    monkeypatch.setattr(service.auth.revoker, "_gate", AdmissionGate(places=1, max_wait=0))
    field = {"/revoke": "token", "/backchannel-logout": "logout_token"}.get(path.split()[1])
    body = {} if field is None else form_body({field: token})
    headers = [*body.pop("headers", ()), bearer(token)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: service.ask(*path.split(), headers=headers, **body))
        if token != "sk_unknown" or field != "logout_token":
            await slow.asked.wait()
        assert_cleared(await service.post("/logout", None, bearer(one.access)))
        slow.may_answer.set()
    assert await service.alive(one) == [False]


async def test_a_slow_issuer_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same while the keys of an issuer are fetched; the stranger's logout is a 503 when the fetch fails."""
    with IssuerServer() as issuer:
        service = Service(issuers=[Settings(issuer=issuer.issuer, audience=AUDIENCE, jwks_url=issuer.jwks_url)])
        one = await service.device()
        monkeypatch.setattr(service.auth.revoker, "_gate", AdmissionGate(places=1, max_wait=0))
        token = jws({"alg": "ES256", "typ": "at+jwt"}, claims(iss=issuer.issuer), lambda _: b"x" * 64)
        answers: list[Answer] = []

        async def log_out(token: str) -> None:
            answers.append(await service.post("/logout", None, bearer(token)))

        async with anyio.create_task_group() as tasks:
            with issuer.holding():
                tasks.start_soon(log_out, token)
                await issuer.request()
                await log_out(one.access)
        assert [answer.status for answer in answers] == [204, 503]


async def test_a_logout_that_ends_the_first_session_alone(service: Service) -> None:
    """Where the store fails between the two sessions, it is a 503, and the same logout once more ends the other."""
    one, other = await service.device(), await service.device()
    service.store.down_at = {("update", service.store.calls["update"] + 2)}
    headers = [bearer(one.access), cookie(other.refresh)]
    failed = await service.post("/logout", None, *headers)
    assert (failed.status, failed.set_cookies) == (503, [])
    assert_cleared(await service.post("/logout", None, *headers))
    assert await service.alive(one, other) == [False, False]


@pytest.mark.parametrize("kind", ["expired", "forged", "refresh", "scheme", None, 7, ["a"]], ids=str)
async def test_bearer_that_does_not_hold(service: Service, kind: Any) -> None:
    """After a night in a sleeping tab the access token has expired, and the cookie still logs out; so it does beside
    a token that is no good, of another scheme, or of no session of ours."""
    one = await service.device()
    if kind == "expired":
        service.clock.turn(3600)
    tokens = {"expired": one.access, "forged": one.access[:-6] + "AAAAAA", "refresh": one.refresh, "scheme": ""}
    if kind not in [*tokens]:
        tokens = {str(kind): service.auth.issuer.access_token(Identity("alice"), session_id=kind)}
    header = ("authorization", "Basic YTpi") if kind == "scheme" else bearer(tokens[str(kind)])
    assert_cleared(await service.post("/logout", None, header, cookie(one.refresh)))
    assert await service.alive(one) == [False]


async def test_nothing_to_log_out(service: Service) -> None:
    """A logout of nobody, or of a session that is over, is a 204 all the same."""
    one = await service.device()
    for headers in ([], [cookie(one.refresh)], [cookie(one.refresh)]):
        assert_cleared(await service.post("/logout", None, *headers))
    assert service.events.count(SessionEnded("ended")) == 1


@pytest.mark.parametrize("value", ["Bearer", "Bearer a b"])
async def test_malformed_authorization(service: Service, value: str) -> None:
    """A malformed Authorization header is a 400, and the cookie is not used in its place."""
    one = await service.device()
    for path in ("/logout", "/logout-all"):
        answer = await service.post(path, None, ("authorization", value), cookie(one.refresh))
        assert (answer.error, answer.set_cookies) == ((400, "invalid_request"), [])
    assert await service.alive(one) == [True]


@pytest.mark.parametrize(("path", "alive"), [("/refresh", True), ("/logout", False), ("/logout-all", False)])
async def test_another_scheme_beside_the_cookie(service: Service, path: str, alive: bool) -> None:
    """The credentials of a proxy in the Authorization header leave the cookie in force."""
    one = await service.device()
    answer = await service.post(path, None, cookie(one.refresh), ("authorization", "Basic dTpw"))
    assert answer.status in (200, 204)
    assert ((await service.kept(one.refresh)).ended_at is None) is alive


async def test_logout_all_that_speaks_for_nobody(service: Service) -> None:
    """Without a token and a cookie it is a 401 whose challenge has no error code. An expired Bearer token is named as
    the fault, and the cookie of a session that is over speaks for nobody: nothing ends by either."""
    nobody = await service.post("/logout-all")
    assert (nobody.status, nobody.json(), nobody.set_cookies) == (401, NO_TOKEN, [])
    assert nobody.challenge == 'Bearer realm="api"'
    one, other, dead = [await service.device() for _ in range(3)]
    await service.post("/logout", None, cookie(dead.refresh))
    by_the_dead = await service.post("/logout-all", None, cookie(dead.refresh))
    assert (by_the_dead.error, by_the_dead.cookie()) == ((401, "invalid_grant"), "")
    service.clock.turn(3600)
    assert (await service.post("/logout-all", None, bearer(one.access))).error == (401, "invalid_token")
    assert await service.alive(one, other) == [True, True]
    assert_cleared(await service.post("/logout-all", None, bearer(one.access), cookie(other.refresh)))
    assert await service.alive(one, other) == [False, False]


@every_store
async def test_sessions(service: Service) -> None:
    """The subject's devices, oldest first, times in seconds, and which of them asks."""
    phone, _ = await service.device("alice", ("user-agent", "phone")), await service.device("bob")
    service.clock.turn(60)
    laptop = await service.device()
    service.clock.turn(60)
    await service.refresh(phone.refresh)
    answer = await service.get("/sessions", bearer(laptop.access))
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    shown = [
        (phone.sid, {"user_agent": "phone", "address": "192.0.2.1"}, NOW, NOW + 120, False),
        (laptop.sid, {"user_agent": None, "address": "192.0.2.1"}, NOW + 60, NOW + 60, True),
    ]
    members = ("sid", "client", "created_at", "used_at", "current")
    assert answer.json() == {"sessions": [dict(zip(members, each, strict=True)) for each in shown]}


@pytest.mark.parametrize("devices", [2, 3, 5])
async def test_many_devices_are_shown_in_slices(
    service: Service, devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions that are written in several slices are one JSON array."""
    monkeypatch.setattr(session_endpoints, "_SHOWN_AT_ONCE", 2)
    there = [await service.device() for _ in range(devices)]
    answer = await service.get("/sessions", bearer(there[0].access))
    assert answer.headers["content-type"] == "application/json"
    assert {each["sid"] for each in answer.json()["sessions"]} == {each.sid for each in there}


@every_store
async def test_sessions_that_are_over_are_not_shown(store: WatchedStore) -> None:
    """Ended and expired sessions are not among the devices."""
    service = Service(store, settings={"refresh_ttl": "1h"})
    ended, _ = await service.device(), await service.device()
    service.clock.turn(3600)
    current = await service.device()
    await service.post("/logout", None, cookie(ended.refresh))
    answer = await service.get("/sessions", bearer(current.access))
    assert [each["sid"] for each in answer.json()["sessions"]] == [current.sid]


@every_store
async def test_end_one_session(service: Service) -> None:
    """DELETE ends another device's session and leaves the cookie and its session alone; its own session's end clears
    the cookie."""
    one, other = await service.device(), await service.device()
    answer = await service.delete(other.sid, bearer(one.access), cookie(one.refresh))
    assert (answer.status, answer.set_cookies, answer.headers["cache-control"]) == (204, [], "no-store")
    assert await service.alive(one, other) == [True, False]
    assert_cleared(await service.delete(one.sid, bearer(one.access)))
    assert await service.alive(one) == [False]


@every_store
async def test_another_subjects_session(service: Service) -> None:
    """Another subject's session, an ended one, and any rubbish for a `sid` are a 404, and end nothing."""
    alices, bobs, ended = [await service.device(name) for name in ("alice", "bob", "alice")]
    await service.post("/logout", None, cookie(ended.refresh))
    service.store.writes = 0
    for sid in (bobs.sid, ended.sid, "unknown", "%00", "\0", "é", "x" * 5000, "{alice}", "*", "a:b"):
        assert (await service.delete(sid, bearer(alices.access))).error == (404, "not_found")
    assert service.store.writes == 0
    assert await service.alive(alices, bobs) == [True, True]


@pytest.mark.parametrize(("method", "path"), [("GET", "/sessions"), ("DELETE", "/sessions/s1")])
async def test_sessions_take_a_bearer_token_alone(service: Service, method: str, path: str) -> None:
    """The cookie shows and ends no sessions; a refresh token is no Bearer token; each 401 carries a challenge."""
    one = await service.device()
    service.store.calls.clear()
    nobody = await service.ask(method, path, headers=[cookie(one.refresh)])
    assert (nobody.status, nobody.json(), nobody.challenge) == (401, NO_TOKEN, 'Bearer realm="api"')
    for token in (one.refresh, "rubbish", one.access[:-6] + "AAAAAA"):
        answer = await service.ask(method, path, headers=[bearer(token)])
        assert answer.error == (401, "invalid_token")
        assert 'error="invalid_token"' in (answer.challenge or "")
    assert service.store.calls.total() == 0


@every_store
@pytest.mark.parametrize("body", [json_body, form_body])
async def test_revoke(service: Service, body: Any) -> None:
    """RFC 7009: revoking a refresh token ends its session; once more is a 200 too."""
    one, other = await service.device(), await service.device()
    for _ in range(2):
        answer = await service.post("/revoke", body({"token": one.refresh, "token_type_hint": "refresh_token"}))
        assert (answer.status, answer.body, answer.set_cookies) == (200, b"{}", [])
        assert answer.headers["cache-control"] == "no-store"
    assert await service.alive(one, other) == [False, True]


@pytest.mark.parametrize("token", ["unknown", "", "a.b.c", "é", "\N{GRINNING FACE}", "x" * 20000])
async def test_revoke_an_unknown_token(service: Service, token: str) -> None:
    """RFC 7009 section 2.2: a token that nobody knows is a 200, and never reaches the store."""
    assert (await service.revoke(token)).status == 200
    assert service.store.calls.total() == 0


async def test_revoke_an_access_token(service: Service) -> None:
    """RFC 7009 section 2.1: an access token is refused from then on, and its session gives another. The token to
    revoke is the body's, and no cookie's."""
    one = await service.device()
    assert (await service.post("/revoke", form_body({}), cookie(one.refresh))).status == 400
    for _ in range(2):
        assert (await service.revoke(one.access)).status == 200
    assert (await service.get("/sessions", bearer(one.access))).status == 401
    assert service.store.calls["append_revocations"] == 1
    again = (await service.refresh(one.refresh)).json()["access_token"]
    assert (await service.get("/sessions", bearer(again))).status == 200


@every_store
@logout_or_revoke
async def test_a_token_without_a_jti_ends_its_session(service: Service, way: str) -> None:
    """A token without a `jti` has its session to be refused by: that ends, and all of its tokens with it."""
    one, other = await service.device(), await service.device()
    token = foreign(sid=one.sid)
    await show(service, way, token)
    for refused in (token, one.access):
        assert (await service.get("/sessions", bearer(refused))).status == 401
    assert await service.alive(one, other) == [False, True]


@logout_or_revoke
async def test_a_token_without_a_jti_whose_session_is_not_here(service: Service, way: str) -> None:
    """A token without a `jti`, of a session that the store doesn't know, is refused by its `sid` until its end."""
    token, later = foreign(sid="elsewhere"), foreign(sid="elsewhere", exp=NOW + 7300)
    for _ in range(2):
        await show(service, way, token)
    assert service.store.calls["append_revocations"] == service.events.count(TokensRevoked("sid")) == 1
    for wait in (0, 7100):
        service.clock.turn(wait)
        for refused in (token, later):
            with pytest.raises(RevokedToken):
                await service.auth.verify(refused)


@pytest.mark.parametrize("said", [{}, {"sub": "bob"}])
async def test_a_token_that_nothing_revokes(service: Service, said: dict[str, str]) -> None:
    """A token with neither `jti` nor `sid` can't be revoked, and is not said to be: RFC 7009 section 2.2.1.

    A logout by it ends the cookie's session all the same, and logging out everywhere refuses it too.
    """
    one = await service.device()
    token = foreign(**said)
    answers = [await service.revoke(token), await service.post("/logout", None, bearer(token), cookie(one.refresh))]
    for answer in answers:
        assert (answer.error, answer.set_cookies) == ((400, "unsupported_token_type"), [])
    assert await service.alive(one) == [False]
    assert (await service.auth.verify(token)).subject == said.get("sub", "alice")
    assert_cleared(await service.post("/logout-all", None, bearer(token)))
    with pytest.raises(RevokedToken):
        await service.auth.verify(token)


async def test_another_issuers_subject_is_nobody_here(store: WatchedStore) -> None:
    """A partner's token is good for the app, and neither shows nor ends the sessions of a user of the same name."""
    service = Service(store, issuers=[PARTNER])
    one = await service.device()
    token = Auth(PARTNER, clock=service.clock).issuer.access_token(Identity("alice"), session_id=one.sid)
    assert (await service.auth.verify(token)).subject == "alice"
    answers = [await service.get("/sessions", bearer(token))]
    answers += [await end(service, way, one.sid, bearer(token)) for way in ("delete", "/logout-all", "/logout")]
    answers.append(await service.revoke(token))
    assert [answer.status for answer in answers] == [401, 401, 401, 204, 200]
    assert await service.alive(one) == [True]


@logout_or_revoke
@pytest.mark.parametrize("said", [{"jti": "j"}, {"sid": "s"}])
async def test_another_issuers_token_is_refused_once_it_is_shown(way: str, said: dict[str, str]) -> None:
    """A partner's token that was shown to be revoked is let in no longer: the answer says done, and it is."""
    service = Service(issuers=[PARTNER])
    token = foreign("the partner's secret" * 2, iss=PARTNER.issuer[0], **said)
    assert (await service.auth.verify(token)).subject == "alice"
    await show(service, way, token)
    with pytest.raises(RevokedToken):
        await service.auth.verify(token)
