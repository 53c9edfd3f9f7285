"""POST /refresh and POST /token: both transports' answers, `load_identity`, and tokens that are no good."""

import base64
import logging
from typing import Any

import pytest
from support.app import (
    AUDIENCE,
    COOKIE,
    ISSUER,
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
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "sid": "s1",
        "gen": 0,
        "br": "0123456789abcdef",
        "type": "refresh",
        "iat": 1_800_000_000,
        "exp": 1_800_100_000,
        "jti": "j1",
    }
    said = {name: value for name, value in (claims | changes).items() if value is not None}
    return Signer(Key.from_secret(secret), "HS256", typ).sign(said)


def without_signature(token: str) -> str:
    header, claims, _ = token.split(".")
    return f"{header}.{claims}."


FORGED = {
    "rubbish": "rubbish",
    "not ASCII": "\xe9.\xe9.\xe9",
    "of another secret": signed(OTHER),
    "of the access token's secret": signed(SECRET),
    "unsigned": without_signature(signed(REFRESH_SECRET)),
    "of another issuer": signed(REFRESH_SECRET, iss="https://other.example"),
    "an access token by type": signed(REFRESH_SECRET, type="access"),
    "an access token by header": signed(REFRESH_SECRET, typ="at+jwt"),
    "of type JWT": signed(REFRESH_SECRET, typ="JWT"),
    "expired": signed(REFRESH_SECRET, exp=1_799_999_000),
    "for another service": signed(REFRESH_SECRET, aud="https://admin.example"),
    "for no service": signed(REFRESH_SECRET, aud=None),
    "without a session": signed(REFRESH_SECRET, sid=None),
    "without a generation": signed(REFRESH_SECRET, gen=None),
    "without a branch": signed(REFRESH_SECRET, br=None),
    "session no text": signed(REFRESH_SECRET, sid=["s1"]),
    "generation a text": signed(REFRESH_SECRET, gen="0"),
    "generation a boolean": signed(REFRESH_SECRET, gen=True),
    "generation a fraction": signed(REFRESH_SECRET, gen=0.5),
    "branch a number": signed(REFRESH_SECRET, br=7),
    "nobody's": signed(REFRESH_SECRET, sub=""),
    "9 KB": "x" * 9216,
}


@pytest.mark.parametrize("issued", [1_800_000_000, 1_800_086_400, None])
async def test_genuine_is_taken(service: Service, issued: int | None) -> None:
    """What the forgeries differ from in one thing reaches the store: that one thing is what stops them. When a token
    says that it was issued is none: the clock of its server may be ahead."""
    assert (await service.refresh(signed(REFRESH_SECRET, iat=issued))).status == 401
    assert service.store.calls["get"] == 1


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED)
async def test_forged_tokens_never_reach_the_store(service: Service, token: str) -> None:
    """A token that isn't authentic is refused on every route that takes one, at no cost to the store."""
    answers = [
        await service.refresh(token),
        await service.token(token),
        await service.post("/logout", None, cookie(token)),
        await service.post("/logout-all", None, cookie(token)),
        await service.post("/revoke", form_body({"token": token})),
    ]
    assert [answer.status for answer in answers] == [401, 400, 204, 401, 200]
    assert answers[0].json()["error"] == answers[1].json()["error"] == "invalid_grant"
    assert answers[0].headers["www-authenticate"] == "Bearer"
    assert "www-authenticate" not in answers[1].headers
    assert (answers[0].cookie(), answers[1].set_cookies) == ("", [])
    assert service.store.calls.total() == 0


async def test_access_token_is_no_refresh_token(service: Service) -> None:
    """A genuine access token is refused where a refresh token belongs."""
    token = (await service.login()).json()["access_token"]
    service.store.calls.clear()
    assert [(await service.refresh(token)).status, (await service.token(token)).status] == [401, 400]
    assert service.store.calls.total() == 0


@pytest.mark.parametrize("jar", [[], [("cookie", "theme=dark")], [cookie("")]])
async def test_no_cookie(service: Service, jar: list[tuple[str, str]], caplog: pytest.LogCaptureFixture) -> None:
    """A refresh without a cookie is a 401 `invalid_grant`. Each page asks so: that is no event, and a line at DEBUG."""
    caplog.set_level(logging.DEBUG, "asgi_jwt")
    for headers in ([], [("sec-fetch-site", "same-origin")]):
        answer = await service.post("/refresh", None, *headers, *jar)
        assert (answer.status, answer.json()["error"]) == (401, "invalid_grant")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["cache-control"] == "no-store"
    assert service.events == []
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    assert service.store.calls.total() == 0


async def test_a_cookie_of_no_use(service: Service) -> None:
    """A refresh with a cookie that is no good is a failure, and counts as one."""
    await service.refresh("x")
    assert service.events == [TokenRefused("grant_invalid", 401, "http")]


async def test_refresh_secrets_roll_over(store: WatchedStore) -> None:
    """The first refresh secret signs, all verify: a secret is replaced and nobody is logged out."""
    token = (await Service(store).login()).cookie()
    service = Service(store, settings={"refresh_secret": [OTHER, REFRESH_SECRET]})
    renewed = (await service.refresh(token)).cookie()
    after = Service(store, settings={"refresh_secret": OTHER})
    assert (await after.refresh(token)).status == 401
    assert (await after.refresh(renewed)).status == 200


@every_store
@pytest.mark.parametrize("body", [json_body, form_body])
async def test_token_endpoint(service: Service, body: Any) -> None:
    """`POST /token` answers as RFC 6749 section 5.1 has it, the refresh token too, and sets no cookie."""
    token = (await service.login(transport="body")).json()["refresh_token"]
    answer = await service.post("/token", body({"grant_type": "refresh_token", "refresh_token": token}))
    answered = answer.json()
    assert answer.status == 200
    assert answered.keys() == {"access_token", "token_type", "expires_in", "scope", "refresh_token"}
    assert (answered["token_type"], answered["expires_in"]) == ("Bearer", 900)
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    assert answer.set_cookies == []
    assert answered["refresh_token"] != token
    await service.auth.verify(answered["access_token"])


async def test_token_endpoint_reads_no_cookie(service: Service) -> None:
    """The cookie is no refresh token for `/token`: no cross-site check stands before it."""
    token = (await service.login()).cookie()
    answer = await service.post("/token", form_body({"grant_type": "refresh_token"}), cookie(token))
    assert (answer.status, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("grant_type", ["password", "authorization_code", "", "REFRESH_TOKEN"])
async def test_other_grants(service: Service, grant_type: str) -> None:
    """Any other grant is a 400 `unsupported_grant_type`."""
    token = (await service.login()).cookie()
    answer = await service.post("/token", form_body({"grant_type": grant_type, "refresh_token": token}))
    assert (answer.status, answer.json()["error"]) == (400, "unsupported_grant_type")
    assert answer.headers["cache-control"] == "no-store"


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
        answer = await service.refresh(token)
        said = payload(answer.json()["access_token"])
        assert (said["scope"], said["email"], answer.json()["scope"]) == (
            f"read:{times}",
            "new@example",
            f"read:{times}",
        )
    assert seen == [("alice", said["sid"])] * 2
    session = await service.session(token)
    assert session is not None
    assert (session.scopes, dict(session.claims)) == (("read", "write"), {"email": "alice@example"})


@every_store
async def test_user_is_gone(store: WatchedStore) -> None:
    """None from `load_identity` ends the session, for good, and clears the cookie."""
    gone = True
    service = Service(store, load_identity=lambda subject, _: None if gone else Identity(subject))
    token = (await service.login()).cookie()
    answer = await service.refresh(token)
    assert (answer.status, answer.json()["error"], answer.cookie()) == (401, "invalid_grant", "")
    gone = False
    assert (await service.refresh(token)).status == 401
    session = await service.session(token)
    assert session is not None
    assert session.ended_at is not None


@every_store
async def test_failing_load_identity_loses_nothing(store: WatchedStore) -> None:
    """An exception in `load_identity` writes nothing: the same token rotates later."""
    failing = True

    def load(subject: str, _: Session) -> Identity:
        if failing:
            raise RuntimeError("the user database is down")
        return Identity(subject)

    service = Service(store, load_identity=load)
    token = (await service.login()).cookie()
    store.writes = 0
    with pytest.raises(RuntimeError, match="the user database is down"):
        await service.refresh(token)
    assert store.writes == 0
    failing = False
    assert (await service.refresh(token)).status == 200
    assert service.verdicts == ["ROTATED"]


async def test_identity_of_another(store: WatchedStore) -> None:
    """An identity of another subject is the host's error, gets no token, and writes nothing."""
    service = Service(store, load_identity=lambda *_: Identity("bob"))
    token = (await service.login()).cookie()
    store.writes = 0
    with pytest.raises(ValueError, match="another subject"):
        await service.refresh(token)
    assert store.writes == 0


async def test_session_that_ends_meanwhile(store: WatchedStore) -> None:
    """A session that is ended while `load_identity` is asked gives no tokens: the store's word counts."""

    async def load(subject: str, session: Session) -> Identity:
        await service.auth.sessions.end(subject, session.sid)
        return Identity(subject)

    service = Service(store, load_identity=load)
    token = (await service.login()).cookie()
    assert (await service.refresh(token)).status == 401


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
            assert (answer.status, answer.json()["error"], answer.set_cookies) == (400, "invalid_request", [])
    assert service.store.calls.total() == 0


async def test_clocks_that_differ_log_no_one_out(service: Service) -> None:
    """A token of a server whose clock is ahead, by more than the leeway, is refreshed all the same."""
    behind = Service(store=service.store, clock=Clock(service.clock.now - 60), settings={"leeway": 0})
    token = (await service.login()).cookie()
    answer = await behind.refresh(token)
    assert (answer.status, behind.verdicts) == (200, ["ROTATED"])


def basic(client_id: str, secret: str = "its secret") -> tuple[str, str]:
    """Basic credentials as they stand, not form-encoded."""
    return "authorization", "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


@every_store
@pytest.mark.parametrize("given", ["body", "basic", "both"])
async def test_a_session_is_for_its_client(store: WatchedStore, given: str) -> None:
    """A client other than the session's is refused, however it names itself, and so is a client without a name.

    Nothing ends by it (RFC 6749 sections 5.2 and 10.4).
    """
    service = Service(store, authenticate=lambda given, _: Identity(given["username"], client_id="app"))
    token = (await service.login(transport="body")).json()["refresh_token"]
    writes = store.writes
    for name in ("other", "App", "app ", ""):
        answer = await service.token(
            token,
            *[basic(name)] * (given != "body"),
            **{"client_id": name} if given != "basic" else {},
        )
        assert (answer.status, answer.json()["error"]) == (400, "invalid_grant")
        assert "www-authenticate" not in answer.headers
    assert (service.verdicts, store.writes) == ([], writes)
    answer = await service.token(
        token, *[basic("app")] * (given != "body"), **{"client_id": "app"} if given != "basic" else {}
    )
    assert answer.status == 200


async def test_a_session_without_a_client(service: Service) -> None:
    """A session without a client's id is for any client, with a name and without."""
    token = (await service.login(transport="body")).json()["refresh_token"]
    answers = [await service.token(token, *headers) for headers in ([], [basic("a client")], [bearer("token")])]
    answers.append(await service.token(token, client_id="another"))
    assert [answer.status for answer in answers] == [200] * 4


async def test_the_page_of_the_cookie_names_no_client(store: WatchedStore) -> None:
    """The cookie's own page refreshes without a client's id."""
    service = Service(store, authenticate=lambda given, _: Identity(given["username"], client_id="app"))
    assert (await service.refresh((await service.login()).cookie())).status == 200


@pytest.mark.parametrize("headers", [[basic("other")], [basic("a%zz")], [basic("app"), basic("app")]])
async def test_a_client_that_names_itself_twice(service: Service, headers: list[tuple[str, str]]) -> None:
    """Two names, a broken one and two Authorization headers are a 400 that ends nothing (RFC 6749 section 2.3)."""
    token = (await service.login(transport="body")).json()["refresh_token"]
    service.store.calls.clear()
    answer = await service.token(token, *headers, client_id="app")
    assert (answer.status, answer.json()["error"]) == (400, "invalid_request")
    assert service.store.calls.total() == 0
    assert "www-authenticate" not in answer.headers


@every_store
async def test_a_narrower_scope(service: Service) -> None:
    """`scope` narrows the access token, and the next one has all again: RFC 6749 section 6."""
    token = (await service.login(transport="body")).json()["refresh_token"]
    for asked, granted in (
        ("read", "read"),
        ("write read read", "read write"),
        ("", "read write"),
        (" ", "read write"),
    ):
        answer = await service.token(token, scope=asked)
        assert (answer.status, answer.json()["scope"]) == (200, granted)
        claims = await service.auth.verify(answer.json()["access_token"])
        assert (claims["scope"], claims["roles"], claims["email"]) == (granted, ("user",), "alice@example")
        token = answer.json()["refresh_token"]


@pytest.mark.parametrize("scope", ["admin", "read admin", "READ", "read,write"])
async def test_a_scope_past_the_sessions(service: Service, scope: str) -> None:
    """A scope that the session does not have is a 400 `invalid_scope`, and the refresh token is as good as before."""
    token = (await service.login(transport="body")).json()["refresh_token"]
    service.store.writes = 0
    answer = await service.token(token, scope=scope)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_scope")
    assert (service.store.writes, service.verdicts) == (0, [])
    assert (await service.token(token)).status == 200


async def test_a_scope_that_load_identity_gives_and_takes(store: WatchedStore) -> None:
    """What the user had at the login, or has now, may be asked for; the token has what the user has now."""
    service = Service(store, load_identity=lambda subject, _: Identity(subject, scopes="read admin"))
    token = (await service.login(transport="body")).json()["refresh_token"]
    for asked, granted in (("read write", "read"), ("admin", "admin"), ("write", "")):
        answer = await service.token(token, scope=asked)
        assert (answer.status, answer.json()["scope"]) == (200, granted)
        token = answer.json()["refresh_token"]
    assert (await service.token(token, scope="delete")).json()["error"] == "invalid_scope"


async def test_a_stolen_token_with_any_scope(store: WatchedStore) -> None:
    """A reused refresh token ends its session, whatever scope it asks for."""
    service = Service(store, settings={"grace": 0})
    token = (await service.login(transport="body")).json()["refresh_token"]
    assert (await service.token(token)).status == 200
    assert (await service.token(token, scope="admin")).json()["error"] == "invalid_grant"
    assert service.verdicts == ["ROTATED", "REUSED"]


async def test_refused_tokens_are_events(service: Service) -> None:
    """Operators hear of refused refresh tokens by their reason, on either route, and of requests from other sites."""
    await service.refresh(signed(OTHER))
    await service.token(signed(OTHER))
    await service.post("/refresh", None, ("sec-fetch-site", "cross-site"))
    refused = [(event.reason, event.status) for event in service.events if isinstance(event, TokenRefused)]
    assert refused == [("grant_invalid", 401), ("grant_invalid", 400), ("cross_site", 403)]


@pytest.mark.parametrize("answer", ["alice", {"sub": "alice"}, True, False])
async def test_load_identity_answers_something_else(answer: Any) -> None:
    """What is neither an `Identity` nor None refreshes nothing and ends nothing; the error names its type."""
    service = Service()
    token = (await service.login()).cookie()
    broken = Service(service.store, service.clock, load_identity=lambda subject, session: answer)
    with pytest.raises(
        TypeError, match=f"load_identity returns the user's Identity.* returned {type(answer).__name__}"
    ):
        await broken.refresh(token)
    assert (await service.refresh(token)).status == 200
