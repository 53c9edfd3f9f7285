"""POST /login: who gets a session, what becomes of the one before, and what a failure costs."""

from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from support.app import (
    COOKIE,
    PASSWORDS,
    Browser,
    Service,
    WatchedStore,
    ask,
    authenticate,
    cookie,
    credentials,
    every_store,
    form_body,
    json_body,
    payload,
)

from asgi_jwt import Auth, AuthApp, ConfigurationError, Credentials, Identity, Settings, TooManyAttempts
from asgi_jwt.errors import AuthError
from asgi_jwt.events import LoginRefused, SessionOpened
from asgi_jwt.stores.records import SessionKey

pytestmark = pytest.mark.anyio


@every_store
@pytest.mark.parametrize("body", [json_body, form_body])
async def test_login(service: Service, body: Any) -> None:
    """Credentials as JSON or as a form get an access token, and the refresh token in the cookie alone."""
    answer = await service.post("/login", body(credentials()), ("user-agent", "Lynx"))
    answered = answer.json()
    claims = await service.auth.verify(answered["access_token"])
    assert answer.status == 200
    assert answered == {
        "access_token": answered["access_token"],
        "token_type": "Bearer",
        "expires_in": 900,
        "scope": "read write",
    }
    assert (claims.subject, claims["scope"], claims["roles"]) == ("alice", "read write", ("user",))
    assert (claims["email"], claims["exp"] - claims["iat"]) == ("alice@example", 900)
    assert answer.headers["cache-control"] == "no-store"
    session = await service.session(answer.cookie())
    assert session is not None
    assert (session.sid, session.subject) == (claims.session_id, "alice")
    assert (session.client.user_agent, session.client.address) == ("Lynx", "192.0.2.1")
    assert service.events == [SessionOpened()]


async def test_login_with_the_tokens_in_the_body(service: Service) -> None:
    """`"transport": "body"` gives the refresh token in the body, and sets no cookie."""
    answer = await service.login(transport="body")
    assert answer.set_cookies == []
    assert payload(answer.json()["refresh_token"])["sid"] == payload(answer.json()["access_token"])["sid"]


@pytest.mark.parametrize("transport", ["cookie", "bus", ""])
async def test_other_transports(service: Service, transport: str) -> None:
    """Only `body` puts the refresh token where scripts can read it."""
    answer = await service.login(transport=transport)
    assert "refresh_token" not in answer.json()
    assert answer.cookie()


async def test_transport_that_is_no_text(service: Service) -> None:
    """A transport that is no text is refused before a session is opened or another ended."""
    old = (await service.login()).cookie()
    service.store.calls.clear()
    answer = await service.login("alice", cookie(old), transport=None)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_request")
    assert service.store.calls.total() == 0


async def test_long_user_agent_is_cut(service: Service) -> None:
    """No client fills the store with its name."""
    session = await service.session((await service.login("alice", ("user-agent", "x" * 8000))).cookie())
    assert session is not None
    assert session.client.user_agent == "x" * 256


async def test_client_without_a_name_or_address(service: Service) -> None:
    """Over a Unix socket there is no address, and a client need not name itself."""
    answer = await service.ask("POST", "/login", **json_body(credentials()), client=None)
    session = await service.session(answer.cookie())
    assert session is not None
    assert (session.client.user_agent, session.client.address) == (None, None)


async def test_refused(service: Service) -> None:
    """Wrong credentials are a 401 `invalid_grant` with a challenge, leave the jar alone, and open nothing."""
    answer = await service.post("/login", json_body({"username": "alice", "password": PASSWORDS["bob"]}))
    assert answer.status == 401
    assert answer.json() == {"error": "invalid_grant", "error_description": "The credentials are wrong"}
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.set_cookies == []
    assert service.store.calls.total() == 0
    assert service.events == [LoginRefused("credentials_invalid")]


async def test_too_many_attempts(store: WatchedStore) -> None:
    """`TooManyAttempts` is a 429 that says, in whole seconds, when another try makes sense."""

    async def slow_down(given: Credentials, request: Request) -> Identity:
        raise TooManyAttempts(29.2)

    service = Service(store, authenticate=slow_down)
    answer = await service.login()
    assert (answer.status, answer.headers["retry-after"]) == (429, "30")
    assert answer.json()["error"] == "too_many_attempts"
    assert service.events == [LoginRefused("too_many_attempts")]


async def test_authenticate_may_refuse_in_its_own_words(store: WatchedStore) -> None:
    """An `AuthError` of the host's own is answered as it says."""

    class SecondFactor(AuthError):
        status = 403
        error = "mfa_required"
        reason = "mfa_required"
        description = "A code is needed"

    def ask_for_a_code(given: Credentials, request: Request) -> Identity:
        raise SecondFactor

    answer = await Service(store, authenticate=ask_for_a_code).login()
    assert (answer.status, answer.json()["error"]) == (403, "mfa_required")


async def test_authenticate_may_raise_an_http_exception(store: WatchedStore) -> None:
    """A `HTTPException` of the host's is answered in JSON, its headers kept."""

    def refuse(given: Credentials, request: Request) -> Identity:
        raise HTTPException(403, "banned", headers={"X-Reason": "spam"})

    answer = await Service(store, authenticate=refuse).login()
    assert (answer.status, answer.json()["error_description"]) == (403, "banned")
    assert (answer.headers["x-reason"], answer.headers["cache-control"]) == ("spam", "no-store")


async def test_authenticate_sees_the_request(store: WatchedStore) -> None:
    """`authenticate`, sync or async, is handed the credentials as sent, and the request."""
    seen: list[Any] = []

    async def look(given: Credentials, request: Request) -> Identity | None:
        seen.append((dict(given), request.headers["x-device"], request.url.path))
        return authenticate(given, request)

    await Service(store, authenticate=look).login("bob", ("x-device", "tv"))
    assert seen == [(credentials("bob"), "tv", "/auth/login")]


@every_store
async def test_failing_authenticate_loses_nothing(store: WatchedStore) -> None:
    """An exception in `authenticate` is the host's own to answer; the session before it lives on."""
    failing = False

    def fail(given: Credentials, request: Request) -> Identity | None:
        if failing:
            raise RuntimeError("the user database is down")
        return authenticate(given, request)

    service = Service(store, authenticate=fail)
    old = (await service.login()).cookie()
    failing, store.writes = True, 0
    with pytest.raises(RuntimeError, match="the user database is down"):
        await service.login("alice", cookie(old))
    assert store.writes == 0
    assert (await service.refresh(old)).status == 200


@every_store
async def test_login_ends_the_session_of_its_cookie(service: Service) -> None:
    """A login that replaces a session ends it, on whoever else holds a copy; another user's on the same device too."""
    browser = Browser(service)
    for name in ("alice", "bob", "alice"):
        old = browser.jar.get(COOKIE)
        assert (await browser.login(name)).status == 200
        if old is not None:
            assert (await service.refresh(old)).status == 401
    assert (await browser.post("/refresh")).status == 200


@pytest.mark.parametrize("kind", ["forged", "access", "rubbish", "empty"])
async def test_login_with_another_cookie(service: Service, kind: str) -> None:
    """A cookie that is no refresh token of ours ends no session, and hinders no login."""
    first = await service.login()
    forged = {
        "forged": first.cookie()[:-6] + "AAAAAA",
        "access": first.json()["access_token"],
        "rubbish": "\xff",
        "empty": "",
    }[kind]
    service.store.calls.clear()
    assert (await service.login("alice", cookie(forged))).status == 200
    assert service.store.calls == {"update": 1}
    assert (await service.refresh(first.cookie())).status == 200


@pytest.mark.parametrize("transport", ["cookie", "body"])
async def test_login_with_two_cookies(service: Service, transport: str) -> None:
    """Two refresh cookies, one of them tossed by a sibling subdomain, keep nobody out, and neither session ends."""
    own, tossed = (await service.login()).cookie(), (await service.login("bob")).cookie()
    for headers in (
        [cookie(own), cookie(tossed)],
        [("cookie", f"a=b; {COOKIE}={tossed}; {COOKIE}={own}")],
        [("cookie", f"{COOKIE}={own}; {COOKIE}=")],
        [("cookie", f"{COOKIE}={own}" + "; a=b" * 1001)],
    ):
        service.store.calls.clear()
        answer = await service.login("alice", *headers, transport=transport)
        assert answer.status == 200
        assert service.store.calls == {"update": 1}
        assert bool(answer.set_cookies) == (transport == "cookie")
    assert [(await service.refresh(each)).status for each in (own, tossed)] == [200, 200]


async def test_login_that_is_refused_with_two_cookies(service: Service) -> None:
    """A login that fails is a 401, whatever cookies came along."""
    own = (await service.login()).cookie()
    answer = await service.post(
        "/login", json_body({"username": "alice", "password": ""}), cookie(own), cookie("tossed")
    )
    assert (answer.status, answer.json()["error"], answer.set_cookies) == (401, "invalid_grant", [])


async def test_login_that_is_refused_ends_nothing(service: Service) -> None:
    """A login that fails leaves the session of its cookie alone."""
    old = (await service.login()).cookie()
    answer = await service.post("/login", json_body({"username": "alice", "password": ""}), cookie(old))
    assert answer.status == 401
    assert (await service.refresh(old)).status == 200


async def test_two_logins_are_two_sessions(service: Service) -> None:
    """Each login opens a session of its own (no fixation), and the other device's stays."""
    phone, laptop = (await service.login()).cookie(), (await service.login()).cookie()
    assert payload(phone)["sid"] != payload(laptop)["sid"]
    assert [(await service.refresh(each)).status for each in (phone, laptop)] == [200, 200]


async def test_claims_too_large_open_no_session(store: WatchedStore) -> None:
    """An access token that no one would take is refused before anything is stored."""
    service = Service(store, authenticate=lambda *_: Identity("alice", claims={"note": "x" * 9000}))
    with pytest.raises(ValueError, match="past MAX_TOKEN_SIZE"):
        await service.login()
    assert store.writes == 0


@pytest.mark.parametrize("subject", ["ünïcödé/../{}*\n", "x" * 300, "0", "a:b|c d"])
@every_store
async def test_any_subject(store: WatchedStore, subject: str) -> None:
    """Whatever the host names its users, they log in, refresh and log out, and nobody else is meant."""
    service = Service(store, authenticate=lambda *_: Identity(subject))
    token = (await service.login()).cookie()
    answer = await service.refresh(token)
    assert (answer.status, payload(answer.json()["access_token"])["sub"]) == (200, subject)
    assert (await service.post("/logout", None, cookie(token))).status == 204
    session = await store.inner.get(SessionKey(subject, payload(token)["sid"]))
    assert session is not None
    assert session.ended_at is not None


def test_what_is_missing_shows_at_once() -> None:
    """Without a refresh secret, a store or a key to sign with, there is no AuthApp."""
    given = {"issuer": "i", "audience": "a", "secret": "s" * 32}
    with pytest.raises(ConfigurationError, match="REFRESH_SECRET is missing"):
        AuthApp(Auth(Settings(**given)), authenticate)


async def test_mounted_nowhere(service: Service) -> None:
    """Without a `root_path` the routes are at the root, and the cookie's path is `/`."""
    answer = await ask(service.app, "POST", "/login", **json_body(credentials()))
    assert "; Path=/; " in answer.set_cookies[0]


async def test_a_missing_field_is_named() -> None:
    """The answer for credentials that lack a field says which one."""
    answer = await Service().post("/login", json_body({"name": "alice"}))
    assert (answer.status, answer.json()) == (
        400,
        {"error": "invalid_request", "error_description": "The field 'username' of the body is missing"},
    )


@pytest.mark.parametrize("answer", ["alice", {"sub": "alice"}, True, False, ("alice", "scope"), object(), 0])
async def test_authenticate_answers_something_else(answer: Any) -> None:
    """What is neither an `Identity` nor None logs nobody in; the error names its type and what to return."""
    service = Service(authenticate=lambda credentials, request: answer)
    told = rf"authenticate returns an Identity .* Identity\(str\(user.id\)\): it returned {type(answer).__name__}$"
    with pytest.raises(TypeError, match=told):
        await service.login()
    assert service.store.writes == 0
