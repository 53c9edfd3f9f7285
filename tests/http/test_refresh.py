"""POST /refresh and POST /token: both transports' answers, `load_identity`, and tokens that are no good."""

import base64
import logging
from typing import Any

import pytest
from support.app import (
    AUDIENCE,
    COOKIE,
    ISSUER,
    NOW,
    REFRESH_SECRET,
    SECRET,
    Service,
    WatchedStore,
    bearer,
    cookie,
    every_store,
    form_body,
    json_body,
    payload,
)
from support.tables import tables_of

from asgi_jwt import Identity
from asgi_jwt.events import TokenRefused
from asgi_jwt.stores.records import Session
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.issuer import Signer
from asgi_jwt.tokens.key import Key

pytestmark = pytest.mark.anyio

OTHER = "a secret that nobody here knows: thirty-two bytes and more"


def signed(secret: str, typ: str = "rt+jwt", **changes: Any) -> str:
    """A refresh token as the service would sign it, with `changes`; None leaves a claim out."""
    times = {"iat": NOW, "exp": NOW + 100_000}
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "sid": "s1", "gen": 0, "br": "0123456789abcdef"}
    said = {**claims, **times, "type": "refresh", "jti": "j1", **changes}
    present = {name: value for name, value in said.items() if value is not None}
    return Signer(Key.from_secret(secret), "HS256", typ).sign(present)


WRONG: dict[str, dict[str, Any]] = tables_of(__file__)["wrong"] | {"expired": {"exp": NOW - 1000}}
FORGED = {
    **{name: signed(REFRESH_SECRET, **changes) for name, changes in WRONG.items()},
    "rubbish": "rubbish",
    "not ASCII": "\xe9.\xe9.\xe9",
    "of another secret": signed(OTHER),
    "of the access token's secret": signed(SECRET),
    "unsigned": signed(REFRESH_SECRET).rpartition(".")[0] + ".",
    "9 KB": "x" * 9216,
    "an access token": "",
}


@pytest.fixture
def with_client(store: WatchedStore) -> Service:
    """Its sessions are for the OAuth client `app`."""
    return Service(store, authenticate=lambda given, _: Identity(given["username"], client_id="app"))


async def body_token(service: Service) -> str:
    """The refresh token of a new session whose client keeps its tokens itself."""
    return str((await service.login(transport="body")).json()["refresh_token"])


@pytest.mark.parametrize("issued", [NOW, NOW + 86_400, None])
async def test_genuine_is_taken(service: Service, issued: int | None) -> None:
    """The token that the forgeries are made from reaches the store. The time of its issue does not matter: the clock
    of its server may be ahead."""
    assert (await service.refresh(signed(REFRESH_SECRET, iat=issued))).status == 401
    assert service.store.calls["get"] == 1


@pytest.mark.parametrize("name", FORGED)
async def test_forged_tokens_never_reach_the_store(service: Service, name: str) -> None:
    """P4, P15: A token that isn't authentic is refused on every route that takes one, at no cost to the store; an
    access token is no refresh token."""
    token = FORGED[name] or (await service.login()).json()["access_token"]
    service.store.calls.clear()
    by_cookie, by_body = await service.refresh(token), await service.token(token)
    assert (by_cookie.error, by_cookie.challenge, by_cookie.cookie()) == ((401, "invalid_grant"), "Bearer", "")
    assert (by_body.error, by_body.challenge, by_body.set_cookies) == ((400, "invalid_grant"), None, [])
    others = [await service.post(path, None, cookie(token)) for path in ("/logout", "/logout-all")]
    assert [answer.status for answer in others] == [204, 401]
    if FORGED[name]:
        assert (await service.revoke(token)).status == 200
    assert service.store.calls.total() == 0


@pytest.mark.parametrize("jar", [[], [("cookie", "theme=dark")], [cookie("")]])
async def test_no_cookie(service: Service, jar: list[tuple[str, str]], caplog: pytest.LogCaptureFixture) -> None:
    """A refresh without a cookie is a 401 `invalid_grant`. Each page asks so: that is no event, and a line at DEBUG."""
    caplog.set_level(logging.DEBUG, "asgi_jwt")
    for headers in ([], [("sec-fetch-site", "same-origin")]):
        answer = await service.post("/refresh", None, *headers, *jar)
        assert (answer.error, answer.challenge) == ((401, "invalid_grant"), "Bearer")
        assert answer.headers["cache-control"] == "no-store"
    assert (service.events, service.store.calls.total()) == ([], 0)
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


async def test_refused_tokens_are_events(service: Service) -> None:
    """Operators hear of refused refresh tokens by their reason, on either route, and of requests from other sites."""
    await service.refresh(signed(OTHER))
    await service.token(signed(OTHER))
    await service.post("/refresh", None, ("sec-fetch-site", "cross-site"))
    expected = [("grant_invalid", 401), ("grant_invalid", 400), ("cross_site", 403)]
    assert service.events == [TokenRefused(reason, status, "http") for reason, status in expected]


async def test_refresh_secrets_roll_over(store: WatchedStore) -> None:
    """The first refresh secret signs, all verify: a secret is replaced and nobody is logged out."""
    token = (await Service(store).login()).cookie()
    service = Service(store, settings={"refresh_secret": [OTHER, REFRESH_SECRET]})
    renewed = (await service.refresh(token)).cookie()
    after = Service(store, settings={"refresh_secret": OTHER})
    assert [(await after.refresh(each)).status for each in (token, renewed)] == [401, 200]


async def test_clocks_that_differ_log_no_one_out(service: Service) -> None:
    """A token of a server whose clock is ahead, by more than the leeway, is refreshed all the same."""
    behind = Service(service.store, Clock(NOW - 60), settings={"leeway": 0})
    assert (await behind.refresh((await service.login()).cookie())).status == 200
    assert behind.verdicts == ["ROTATED"]


async def test_two_cookies(service: Service) -> None:
    """Two refresh cookies are a 400, whichever is genuine, in one header or two, and neither is used."""
    token = (await service.login()).cookie()
    service.store.calls.clear()
    for headers in (
        [cookie(token), cookie(token)],
        [("cookie", f"{COOKIE}={token}; {COOKIE}=tossed")],
        [("cookie", f"{COOKIE}=; a=b; {COOKIE}={token}")],
    ):
        for path in ("/refresh", "/logout", "/logout-all"):
            answer = await service.post(path, None, *headers)
            assert (answer.error, answer.set_cookies) == ((400, "invalid_request"), [])
    assert service.store.calls.total() == 0


@every_store
@pytest.mark.parametrize("body", [json_body, form_body])
async def test_token_endpoint(service: Service, body: Any) -> None:
    """P8: `POST /token` answers as RFC 6749 section 5.1 has it, the refresh token too, and sets no cookie."""
    token = await body_token(service)
    answer = await service.post("/token", body({"grant_type": "refresh_token", "refresh_token": token}))
    answered = answer.json()
    claims = await service.auth.verify(answered.pop("access_token"))
    assert (answer.status, claims.subject, answered.pop("refresh_token") != token) == (200, "alice", True)
    assert answered == {"token_type": "Bearer", "expires_in": 900, "scope": "read write"}
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    assert answer.set_cookies == []


@pytest.mark.parametrize("grant_type", ["password", "authorization_code", "", "REFRESH_TOKEN"])
async def test_other_grants(service: Service, grant_type: str) -> None:
    """Any other grant is a 400 `unsupported_grant_type`; the cookie is no refresh token for `/token`."""
    token = (await service.login()).cookie()
    answer = await service.token(token, grant_type=grant_type)
    assert (answer.error, answer.headers["cache-control"]) == ((400, "unsupported_grant_type"), "no-store")
    by_cookie = await service.post("/token", form_body({"grant_type": "refresh_token"}), cookie(token))
    assert by_cookie.error == (400, "invalid_request")


@every_store
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_load_identity(store: WatchedStore, kind: str) -> None:
    """`load_identity` gives the user as they are now, at each refresh, and nothing of it is stored."""
    seen: list[tuple[str, str]] = []

    def load(subject: str, session: Session) -> Identity:
        seen.append((subject, session.sid))
        return Identity(subject, scopes=[f"read:{len(seen)}"], claims={"email": "new@example"})

    async def load_async(subject: str, session: Session) -> Identity:
        return load(subject, session)

    service = Service(store, load_identity=load if kind == "sync" else load_async)
    token = (await service.login()).cookie()
    for times in (1, 2):
        answer = (await service.refresh(token)).json()
        said = payload(answer["access_token"])
        assert (said["scope"], said["email"], answer["scope"]) == (f"read:{times}", "new@example", f"read:{times}")
    assert seen == [("alice", said["sid"])] * 2
    session = await service.kept(token)
    assert (session.scopes, dict(session.claims)) == (("read", "write"), {"email": "alice@example"})


@every_store
async def test_user_is_gone(store: WatchedStore) -> None:
    """P16: None from `load_identity` ends the session, for good, and clears the cookie."""
    gone = True
    service = Service(store, load_identity=lambda subject, _: None if gone else Identity(subject))
    token = (await service.login()).cookie()
    answer = await service.refresh(token)
    assert (answer.error, answer.cookie()) == ((401, "invalid_grant"), "")
    gone = False
    assert (await service.refresh(token)).status == 401
    assert (await service.kept(token)).ended_at is not None


class DatabaseDown(Exception):
    pass


NO_IDENTITY = r"load_identity returns the user's Identity.* returned {}"
FAULTS: list[tuple[Any, type[Exception], str]] = [
    (DatabaseDown("no answer"), DatabaseDown, "no answer"),
    (Identity("bob"), ValueError, "another subject"),
    ("alice", TypeError, NO_IDENTITY.format("str")),
    ({"sub": "alice"}, TypeError, NO_IDENTITY.format("dict")),
    (True, TypeError, NO_IDENTITY.format("bool")),
    (False, TypeError, NO_IDENTITY.format("bool")),
]


@every_store
@pytest.mark.parametrize(("answer", "kind", "told"), FAULTS, ids=lambda value: repr(value)[:20])
async def test_a_faulty_load_identity_loses_nothing(
    store: WatchedStore, answer: Any, kind: type[Exception], told: str
) -> None:
    """`load_identity` that raises, or gives another subject or no identity, is the host's error, which names the fault;
    it writes nothing, and the same token rotates later."""

    def load(subject: str, _: Session) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    service = Service(store, load_identity=load)
    token = (await service.login()).cookie()
    store.writes = 0
    with pytest.raises(kind, match=told):
        await service.refresh(token)
    assert store.writes == 0
    mended = Service(store)
    assert ((await mended.refresh(token)).status, mended.verdicts) == (200, ["ROTATED"])


async def test_session_that_ends_meanwhile(store: WatchedStore) -> None:
    """A session that is ended while `load_identity` is asked gives no tokens: the store's word counts."""

    async def load(subject: str, session: Session) -> Identity:
        await service.auth.sessions.end(subject, session.sid)
        return Identity(subject)

    service = Service(store, load_identity=load)
    assert (await service.refresh((await service.login()).cookie())).status == 401


async def test_load_identity_is_not_asked_about_the_dead(store: WatchedStore) -> None:
    """A session that is over, or a token that ends it, costs the host's user database nothing."""
    asked: list[str] = []

    def load(subject: str, _: Session) -> Identity:
        asked.append(subject)
        return Identity(subject)

    service = Service(store, settings={"grace": 0}, load_identity=load)
    token = (await service.login()).cookie()
    assert [(await service.refresh(token)).status for _ in range(3)] == [200, 401, 401]
    assert (asked, service.verdicts) == (["alice"], ["ROTATED", "REUSED", "INVALID"])


def basic(client_id: str, secret: str = "its secret") -> tuple[str, str]:
    """Basic credentials as they stand, not form-encoded."""
    return "authorization", "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


@every_store
@pytest.mark.parametrize("given", ["body", "basic", "both"])
async def test_a_session_is_for_its_client(with_client: Service, given: str) -> None:
    """A client other than the session's is refused, however it names itself, and so is a client without a name.

    Nothing ends by it (RFC 6749 sections 5.2 and 10.4). The cookie's own page refreshes without a client's id.
    """
    token = await body_token(with_client)
    writes = with_client.store.writes

    async def named(name: str) -> Any:
        headers = [basic(name)] * (given != "body")
        return await with_client.token(token, *headers, **{"client_id": name} if given != "basic" else {})

    for name in ("other", "App", "app ", ""):
        answer = await named(name)
        assert (answer.error, answer.challenge) == ((400, "invalid_grant"), None)
    assert (with_client.verdicts, with_client.store.writes) == ([], writes)
    assert (await named("app")).status == 200
    assert (await with_client.refresh((await with_client.login()).cookie())).status == 200


async def test_a_session_without_a_client(service: Service) -> None:
    """A session without a client's id is for any client, with a name and without."""
    token = await body_token(service)
    answers = [await service.token(token, *headers) for headers in ([], [basic("a client")], [bearer("token")])]
    answers.append(await service.token(token, client_id="another"))
    assert [answer.status for answer in answers] == [200] * 4


@pytest.mark.parametrize("headers", [[basic("other")], [basic("a%zz")], [basic("app"), basic("app")]])
async def test_a_client_that_names_itself_twice(service: Service, headers: list[tuple[str, str]]) -> None:
    """Two names, a broken one and two Authorization headers are a 400 that ends nothing (RFC 6749 section 2.3)."""
    token = await body_token(service)
    service.store.calls.clear()
    answer = await service.token(token, *headers, client_id="app")
    assert (answer.error, answer.challenge) == ((400, "invalid_request"), None)
    assert service.store.calls.total() == 0


@every_store
async def test_a_narrower_scope(service: Service) -> None:
    """`scope` narrows the access token, and the next one has all again: RFC 6749 section 6."""
    token = await body_token(service)
    every = "read write"
    for asked, granted in (("read", "read"), ("write read read", every), ("", every), (" ", every)):
        answer = (await service.token(token, scope=asked)).json()
        claims = await service.auth.verify(answer["access_token"])
        assert (answer["scope"], claims["scope"]) == (granted, granted)
        assert (claims["roles"], claims["email"]) == (("user",), "alice@example")
        token = answer["refresh_token"]


@pytest.mark.parametrize("scope", ["admin", "read admin", "READ", "read,write"])
async def test_a_scope_past_the_sessions(service: Service, scope: str) -> None:
    """A scope that the session does not have is a 400 `invalid_scope`, and the refresh token is as good as before."""
    token = await body_token(service)
    service.store.writes = 0
    assert (await service.token(token, scope=scope)).error == (400, "invalid_scope")
    assert (service.store.writes, service.verdicts) == (0, [])
    assert (await service.token(token)).status == 200


async def test_a_scope_that_load_identity_gives_and_takes(store: WatchedStore) -> None:
    """What the user had at the login, or has now, may be asked for; the token has what the user has now."""
    service = Service(store, load_identity=lambda subject, _: Identity(subject, scopes="read admin"))
    token = await body_token(service)
    for asked, granted in (("read write", "read"), ("admin", "admin"), ("write", "")):
        answer = (await service.token(token, scope=asked)).json()
        assert answer["scope"] == granted
        token = answer["refresh_token"]
    assert (await service.token(token, scope="delete")).error == (400, "invalid_scope")


async def test_a_stolen_token_with_any_scope(store: WatchedStore) -> None:
    """A reused refresh token ends its session, whatever scope it asks for."""
    service = Service(store, settings={"grace": 0})
    token = await body_token(service)
    assert (await service.token(token)).status == 200
    assert (await service.token(token, scope="admin")).error == (400, "invalid_grant")
    assert service.verdicts == ["ROTATED", "REUSED"]
