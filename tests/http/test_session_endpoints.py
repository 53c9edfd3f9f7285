"""Sessions shown and ended: /logout, /logout-all, /sessions and /revoke."""

from typing import Any

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
    Service,
    WatchedStore,
    authenticate,
    bearer,
    cookie,
    every_store,
    form_body,
    json_body,
    payload,
)
from support.tokens import claims, jws, private_pem

from asgi_jwt import Auth, AuthApp, Identity, Settings
from asgi_jwt.errors import RevokedToken
from asgi_jwt.events import SessionEnded, TokensRevoked
from asgi_jwt.tokens.issuer import Signer
from asgi_jwt.tokens.key import Key

pytestmark = pytest.mark.anyio


PARTNER = "the partner's secret" * 2


def foreign(service: Service, secret: str = SECRET, **said: object) -> str:
    """An access token that another signer makes with the same keys: without a `jti`, but for what `said` adds."""
    now = int(service.clock())
    members = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "type": "access", "iat": now, "exp": now + 7200}
    return Signer(Key.from_secret(secret), "HS256", "at+jwt").sign({**members, **said})


class Device:
    """A login and its two tokens."""

    def __init__(self, login: Answer) -> None:
        self.refresh = login.cookie()
        self.access = login.json()["access_token"]
        self.sid = payload(self.access)["sid"]


async def device(service: Service, name: str = "alice", *headers: tuple[str, str]) -> Device:
    return Device(await service.login(name, *headers))


async def alive(service: Service, *devices: Device) -> list[bool]:
    """Which of the devices can still refresh."""
    return [(await service.refresh(each.refresh)).status == 200 for each in devices]


def assert_cleared(answer: Answer) -> None:
    assert (answer.status, answer.body, answer.cookie()) == (204, b"", "")
    assert answer.headers["cache-control"] == "no-store"


@every_store
@pytest.mark.parametrize("by", ["cookie", "bearer"])
async def test_logout(service: Service, by: str) -> None:
    """By cookie or by Bearer token, this session ends, and no other."""
    one, other = await device(service), await device(service)
    assert_cleared(await service.post("/logout", None, cookie(one.refresh) if by == "cookie" else bearer(one.access)))
    assert await alive(service, one, other) == [False, True]
    assert service.events.count(SessionEnded("ended")) == 1


@every_store
@pytest.mark.parametrize("name", ["alice", "bob"])
async def test_bearer_and_cookie_of_two_sessions(service: Service, name: str) -> None:
    """Where the Bearer token is of another session than the cookie, of whichever subject, both sessions end."""
    one, other, third = await device(service), await device(service, name), await device(service, name)
    assert_cleared(await service.post("/logout", None, bearer(one.access), cookie(other.refresh)))
    assert await alive(service, one, other, third) == [False, False, True]
    assert service.events.count(SessionEnded("ended")) == 2


@pytest.mark.parametrize("way", ["/logout-all", "delete"])
async def test_a_cookie_is_cleared_with_its_session(service: Service, way: str) -> None:
    """Wherever the cookie leaves the jar, its session ends: another user's too, and no other session of that user."""
    one, bobs, bobs_other = await device(service), await device(service, "bob"), await device(service, "bob")
    headers = [bearer(one.access), cookie(bobs.refresh)]
    if way == "delete":
        assert_cleared(await service.ask("DELETE", f"/sessions/{one.sid}", headers=headers))
    else:
        assert_cleared(await service.post(way, None, *headers))
    assert await alive(service, one, bobs, bobs_other) == [False, False, True]


async def test_another_devices_end_leaves_the_cookie(service: Service) -> None:
    """DELETE of another device's session leaves the cookie and its session alone."""
    one, other = await device(service), await device(service)
    headers = [bearer(one.access), cookie(one.refresh)]
    answer = await service.ask("DELETE", f"/sessions/{other.sid}", headers=headers)
    assert (answer.status, answer.set_cookies) == (204, [])
    assert await alive(service, one, other) == [True, False]


@pytest.mark.parametrize("way", ["/logout", "/logout-all", "delete"])
async def test_two_cookies_beside_a_bearer_token(service: Service, way: str) -> None:
    """A tossed cookie keeps nobody from logging out by the Bearer token; neither cookie is used, both are cleared."""
    one, other, tossed = await device(service), await device(service, "bob"), await device(service, "bob")
    headers = [bearer(one.access), cookie(other.refresh), cookie(tossed.refresh)]
    if way == "delete":
        assert_cleared(await service.ask("DELETE", f"/sessions/{one.sid}", headers=headers))
    else:
        assert_cleared(await service.post(way, None, *headers))
    assert await alive(service, one, other, tossed) == [False, True, True]


@pytest.mark.parametrize("way", ["/logout", "/logout-all", "delete"])
async def test_too_many_cookies_beside_a_bearer_token(service: Service, way: str) -> None:
    """A thousand tossed cookies keep nobody from logging out by the Bearer token either."""
    one = await device(service)
    headers = [bearer(one.access), ("cookie", f"{COOKIE}=tossed; " * 1001)]
    if way == "delete":
        assert_cleared(await service.ask("DELETE", f"/sessions/{one.sid}", headers=headers))
    else:
        assert_cleared(await service.post(way, None, *headers))
    assert await alive(service, one) == [False]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/logout"),
        ("POST", "/logout-all"),
        ("GET", "/sessions"),
        ("DELETE", "/sessions/x"),
        ("POST", "/revoke"),
    ],
)
async def test_a_forged_token_costs_four_signature_checks(method: str, path: str) -> None:
    """No endpoint tries a forged token a second time: four keys without a `kid` make four checks a request."""
    keys = [private_pem(ec.generate_private_key(ec.SECP256R1())).decode() for _ in range(4)]
    service = Service(settings={"secret": None, "keys": "".join(keys)})
    forged = jws({"alg": "ES256", "typ": "at+jwt"}, claims(), lambda _: b"x" * 64)
    body = json_body({"token": forged}) if path == "/revoke" else {}
    await service.ask(method, path, **{**body, "headers": [*body.get("headers", ()), bearer(forged)]})
    assert service.auth.verifier.signature_checks == 4


async def test_a_logout_that_ends_the_first_session_alone(service: Service) -> None:
    """Where the store fails between the two sessions, it is a 503, and the same logout once more ends the other."""
    one, other = await device(service), await device(service)
    service.store.down_at = {("update", service.store.calls["update"] + 2)}
    headers = [bearer(one.access), cookie(other.refresh)]
    failed = await service.post("/logout", None, *headers)
    assert (failed.status, failed.set_cookies) == (503, [])
    assert_cleared(await service.post("/logout", None, *headers))
    assert await alive(service, one, other) == [False, False]


@pytest.mark.parametrize("kind", ["expired", "forged", "refresh", "scheme"])
async def test_bearer_that_does_not_hold(service: Service, kind: str) -> None:
    """After a night in a sleeping tab the access token has expired, and the cookie still logs out."""
    one = await device(service)
    if kind == "expired":
        service.clock.turn(3600)
    forged = {"expired": one.access, "forged": one.access[:-6] + "AAAAAA", "refresh": one.refresh, "scheme": ""}[kind]
    header = ("authorization", "Basic YTpi") if kind == "scheme" else bearer(forged)
    assert_cleared(await service.post("/logout", None, header, cookie(one.refresh)))
    assert await alive(service, one) == [False]


@pytest.mark.parametrize("session_id", [None, 7, ["a"]])
async def test_bearer_of_no_session(service: Service, session_id: Any) -> None:
    """A Bearer token that is of no session of ours leaves it to the cookie."""
    one = await device(service)
    token = service.auth.issuer.access_token(Identity("alice"), session_id=session_id)
    assert_cleared(await service.post("/logout", None, bearer(token), cookie(one.refresh)))
    assert await alive(service, one) == [False]


async def test_nothing_to_log_out(service: Service) -> None:
    """A logout of nobody, or of a session that is over, is a 204 all the same."""
    assert_cleared(await service.post("/logout"))
    one = await device(service)
    for _ in range(2):
        assert_cleared(await service.post("/logout", None, cookie(one.refresh)))
    assert service.events.count(SessionEnded("ended")) == 1


@pytest.mark.parametrize("value", ["Bearer", "Bearer a b"])
async def test_malformed_authorization(service: Service, value: str) -> None:
    """A malformed Authorization header is a 400, and the cookie is not used in its place."""
    one = await device(service)
    for path in ("/logout", "/logout-all"):
        answer = await service.post(path, None, ("authorization", value), cookie(one.refresh))
        assert (answer.status, answer.json()["error"], answer.set_cookies) == (400, "invalid_request", [])
    assert await alive(service, one) == [True]


@every_store
@pytest.mark.parametrize("by", ["cookie", "bearer"])
async def test_logout_all(service: Service, by: str) -> None:
    """Every session of the subject ends, and nobody else's; a login right after it stays."""
    one, other, bobs = await device(service), await device(service), await device(service, "bob")
    header = cookie(one.refresh) if by == "cookie" else bearer(one.access)
    assert_cleared(await service.post("/logout-all", None, header))
    after = await device(service)
    assert await alive(service, one, other, bobs, after) == [False, False, True, True]


@pytest.mark.parametrize("path", ["/refresh", "/logout", "/logout-all"])
async def test_another_scheme_beside_the_cookie(service: Service, path: str) -> None:
    """The credentials of a proxy in the Authorization header leave the cookie in force."""
    token = (await service.login()).cookie()
    answer = await service.post(path, None, cookie(token), ("authorization", "Basic dTpw"))
    assert answer.status in (200, 204)
    session = await service.session(token)
    assert session is not None
    assert (session.ended_at is None) == (path == "/refresh")


async def test_logout_all_of_nobody(service: Service) -> None:
    """Without a token and a cookie it is a 401 whose challenge has no error code."""
    answer = await service.post("/logout-all")
    assert (answer.status, answer.json(), answer.set_cookies) == (401, NO_TOKEN, [])
    assert answer.headers["www-authenticate"] == 'Bearer realm="api"'


async def test_logout_all_with_an_expired_token(service: Service) -> None:
    """An expired Bearer token is named as the fault, unless the cookie speaks for the same."""
    one, other = await device(service), await device(service)
    service.clock.turn(3600)
    answer = await service.post("/logout-all", None, bearer(one.access))
    assert (answer.status, answer.json()["error"]) == (401, "invalid_token")
    assert await alive(service, one) == [True]
    assert_cleared(await service.post("/logout-all", None, bearer(one.access), cookie(other.refresh)))
    assert await alive(service, one, other) == [False, False]


async def test_logout_all_by_the_dead(service: Service) -> None:
    """The cookie of a session that is over speaks for nobody: a 401, cleared, and the others stay."""
    one, other = await device(service), await device(service)
    await service.post("/logout", None, cookie(one.refresh))
    answer = await service.post("/logout-all", None, cookie(one.refresh))
    assert (answer.status, answer.json()["error"], answer.cookie()) == (401, "invalid_grant", "")
    assert await alive(service, other) == [True]


@every_store
async def test_sessions(service: Service) -> None:
    """The subject's devices, oldest first, times in seconds, and which of them asks."""
    phone = await device(service, "alice", ("user-agent", "phone"))
    await device(service, "bob")
    service.clock.turn(60)
    laptop = await device(service)
    service.clock.turn(60)
    await service.refresh(phone.refresh)
    answer = await service.ask("GET", "/sessions", headers=[bearer(laptop.access)])
    start = int(service.clock.now) - 120
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.json() == {
        "sessions": [
            {
                "sid": phone.sid,
                "client": {"user_agent": "phone", "address": "192.0.2.1"},
                "created_at": start,
                "used_at": start + 120,
                "current": False,
            },
            {
                "sid": laptop.sid,
                "client": {"user_agent": None, "address": "192.0.2.1"},
                "created_at": start + 60,
                "used_at": start + 60,
                "current": True,
            },
        ]
    }


@every_store
async def test_sessions_that_are_over_are_not_shown(store: WatchedStore) -> None:
    """Ended and expired sessions are not among the devices."""
    service = Service(store, settings={"refresh_ttl": "1h"})
    ended = await device(service)
    await device(service)
    service.clock.turn(3600)
    current = await device(service)
    await service.post("/logout", None, cookie(ended.refresh))
    answer = await service.ask("GET", "/sessions", headers=[bearer(current.access)])
    assert [each["sid"] for each in answer.json()["sessions"]] == [current.sid]


@every_store
async def test_end_one_session(service: Service) -> None:
    """DELETE ends another device's session, and only its own session's clears the cookie."""
    one, other = await device(service), await device(service)
    answer = await service.ask("DELETE", f"/sessions/{other.sid}", headers=[bearer(one.access)])
    assert (answer.status, answer.set_cookies, answer.headers["cache-control"]) == (204, [], "no-store")
    assert await alive(service, one, other) == [True, False]
    assert_cleared(await service.ask("DELETE", f"/sessions/{one.sid}", headers=[bearer(one.access)]))
    assert await alive(service, one) == [False]


@every_store
async def test_another_subjects_session(service: Service) -> None:
    """Another subject's session, an ended one, and any rubbish for a `sid` are a 404, and end nothing."""
    alices, bobs, ended = await device(service), await device(service, "bob"), await device(service)
    await service.post("/logout", None, cookie(ended.refresh))
    service.store.writes = 0
    for sid in (bobs.sid, ended.sid, "unknown", "%00", "\0", "é", "x" * 5000, "{alice}", "*", "a:b"):
        answer = await service.ask("DELETE", f"/sessions/{sid}", headers=[bearer(alices.access)])
        assert (answer.status, answer.json()["error"]) == (404, "not_found")
    assert service.store.writes == 0
    assert await alive(service, alices, bobs) == [True, True]


@pytest.mark.parametrize(("method", "path"), [("GET", "/sessions"), ("DELETE", "/sessions/s1")])
async def test_sessions_take_a_bearer_token_alone(service: Service, method: str, path: str) -> None:
    """The cookie shows and ends no sessions; a refresh token is no Bearer token; each 401 carries a challenge."""
    one = await device(service)
    service.store.calls.clear()
    nobody = await service.ask(method, path, headers=[cookie(one.refresh)])
    assert (nobody.status, nobody.json()) == (401, NO_TOKEN)
    assert nobody.headers["www-authenticate"] == 'Bearer realm="api"'
    for token in (one.refresh, "rubbish", one.access[:-6] + "AAAAAA"):
        answer = await service.ask(method, path, headers=[bearer(token)])
        assert (answer.status, answer.json()["error"]) == (401, "invalid_token")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert service.store.calls.total() == 0


@every_store
@pytest.mark.parametrize("body", [json_body, form_body])
async def test_revoke(service: Service, body: Any) -> None:
    """RFC 7009: revoking a refresh token ends its session; once more is a 200 too."""
    one, other = await device(service), await device(service)
    for _ in range(2):
        answer = await service.post("/revoke", body({"token": one.refresh, "token_type_hint": "refresh_token"}))
        assert (answer.status, answer.body, answer.set_cookies) == (200, b"{}", [])
        assert answer.headers["cache-control"] == "no-store"
    assert await alive(service, one, other) == [False, True]


@pytest.mark.parametrize("token", ["unknown", "", "a.b.c", "é", "\N{GRINNING FACE}", "x" * 20000])
async def test_revoke_an_unknown_token(service: Service, token: str) -> None:
    """RFC 7009 section 2.2: a token that nobody knows is a 200, and never reaches the store."""
    assert (await service.post("/revoke", json_body({"token": token}))).status == 200
    assert service.store.calls.total() == 0


async def test_revoke_an_access_token(service: Service) -> None:
    """RFC 7009 section 2.1: an access token is refused from then on, and its session gives another."""
    one = await device(service)
    for _ in range(2):
        assert (await service.post("/revoke", form_body({"token": one.access}))).status == 200
    assert (await service.ask("GET", "/sessions", headers=[bearer(one.access)])).status == 401
    assert service.store.calls["append_revocations"] == 1
    again = await service.refresh(one.refresh)
    assert (await service.ask("GET", "/sessions", headers=[bearer(again.json()["access_token"])])).status == 200


@every_store
@pytest.mark.parametrize("way", ["logout", "revoke"])
async def test_a_token_without_a_jti_ends_its_session(service: Service, way: str) -> None:
    """A token without a `jti` has its session to be refused by: that ends, and all of its tokens with it."""
    one, other = await device(service), await device(service)
    token = foreign(service, sid=one.sid)
    if way == "logout":
        assert_cleared(await service.post("/logout", None, bearer(token)))
    else:
        assert (await service.post("/revoke", form_body({"token": token}))).status == 200
    for refused in (token, one.access):
        assert (await service.ask("GET", "/sessions", headers=[bearer(refused)])).status == 401
    assert await alive(service, one, other) == [False, True]


@pytest.mark.parametrize("way", ["logout", "revoke"])
async def test_a_token_without_a_jti_whose_session_is_not_here(service: Service, way: str) -> None:
    """A token without a `jti`, of a session that the store doesn't know, is refused by its `sid` until its end."""
    token, later = foreign(service, sid="elsewhere"), foreign(service, sid="elsewhere", exp=NOW + 7300)
    for _ in range(2):
        if way == "logout":
            assert_cleared(await service.post("/logout", None, bearer(token)))
        else:
            assert (await service.post("/revoke", form_body({"token": token}))).status == 200
    assert service.store.calls["append_revocations"] == 1
    assert service.events.count(TokensRevoked("sid")) == 1
    for wait in (0, 7100):
        service.clock.turn(wait)
        for refused in (token, later):
            with pytest.raises(RevokedToken):
                await service.auth.verify(refused)


@pytest.mark.parametrize("said", [{}, {"sub": "bob"}])
async def test_a_token_that_nothing_revokes(service: Service, said: dict[str, str]) -> None:
    """A token with neither `jti` nor `sid` can't be revoked, and is not said to be: RFC 7009 section 2.2.1.

    A logout by it ends the cookie's session all the same.
    """
    one = await device(service)
    token = foreign(service, **said)
    answers = [
        await service.post("/revoke", form_body({"token": token})),
        await service.post("/logout", None, bearer(token), cookie(one.refresh)),
    ]
    for answer in answers:
        assert (answer.status, answer.json()["error"]) == (400, "unsupported_token_type")
        assert answer.set_cookies == []
    assert await alive(service, one) == [False]
    assert (await service.auth.verify(token)).subject == said.get("sub", "alice")


async def test_a_token_that_log_out_everywhere_revokes(service: Service) -> None:
    """Logging out everywhere refuses what was issued for the subject up to now: a token without a name as well."""
    token = foreign(service)
    assert_cleared(await service.post("/logout-all", None, bearer(token)))
    with pytest.raises(RevokedToken):
        await service.auth.verify(token)


async def test_revoke_reads_no_cookie(service: Service) -> None:
    """The token to revoke is the body's."""
    one = await device(service)
    answer = await service.post("/revoke", form_body({}), ("cookie", f"{COOKIE}={one.refresh}"))
    assert answer.status == 400
    assert await alive(service, one) == [True]


async def test_another_issuers_subject_is_nobody_here(service: Service) -> None:
    """A partner's token is good for the app, and neither shows nor ends the sessions of a user of the same name."""
    one = await device(service)
    partner = Settings(issuer="https://partner.example", audience=AUDIENCE, secret="the partner's secret" * 2)
    service.auth = Auth(service.auth.settings, issuers=[partner], store=service.store, clock=service.clock)
    service.app = AuthApp(service.auth, authenticate)
    token = Auth(partner, clock=service.clock).issuer.access_token(Identity("alice"), session_id=one.sid)
    assert (await service.auth.verify(token)).subject == "alice"
    asked = {
        "list": await service.ask("GET", "/sessions", headers=[bearer(token)]),
        "end": await service.ask("DELETE", f"/sessions/{one.sid}", headers=[bearer(token)]),
        "all": await service.post("/logout-all", None, bearer(token)),
        "logout": await service.post("/logout", None, bearer(token)),
        "revoke": await service.post("/revoke", form_body({"token": token})),
    }
    statuses = {name: answer.status for name, answer in asked.items()}
    assert statuses == {"list": 401, "end": 401, "all": 401, "logout": 204, "revoke": 200}
    assert await alive(service, one) == [True]


@pytest.mark.parametrize("way", ["logout", "revoke"])
@pytest.mark.parametrize("said", [{"jti": "j"}, {"sid": "s"}])
async def test_another_issuers_token_is_refused_once_it_is_shown(
    service: Service, way: str, said: dict[str, str]
) -> None:
    """A partner's token that was shown to be revoked is let in no longer: the answer says done, and it is."""
    partner = Settings(issuer="https://partner.example", audience=AUDIENCE, secret=PARTNER)
    service.auth = Auth(service.auth.settings, issuers=[partner], store=service.store, clock=service.clock)
    service.app = AuthApp(service.auth, authenticate)
    token = foreign(service, iss="https://partner.example", secret=PARTNER, **said)
    assert (await service.auth.verify(token)).subject == "alice"
    if way == "logout":
        assert_cleared(await service.post("/logout", None, bearer(token)))
    else:
        assert (await service.post("/revoke", form_body({"token": token}))).status == 200
    with pytest.raises(RevokedToken):
        await service.auth.verify(token)
