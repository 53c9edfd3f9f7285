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
    session = await service.kept(answer.cookie())
    assert (session.sid, session.subject) == (claims.session_id, "alice")
    assert (session.client.user_agent, session.client.address) == ("Lynx", "192.0.2.1")
    assert service.events == [SessionOpened()]


@pytest.mark.parametrize("transport", ["body", "cookie", "bus", ""])
async def test_transports(service: Service, transport: str) -> None:
    """`"transport": "body"` gives the refresh token in the body, and sets no cookie; no other one puts it where scripts
    can read it."""
    answer = await service.login(transport=transport)
    said = answer.json()
    assert (answer.set_cookies == [], "refresh_token" in said) == (transport == "body",) * 2
    token = said["refresh_token"] if transport == "body" else answer.cookie()
    assert payload(token)["sid"] == payload(said["access_token"])["sid"]


async def test_transport_that_is_no_text(service: Service) -> None:
    """A transport that is no text is refused before a session is opened or another ended."""
    old = (await service.login()).cookie()
    service.store.calls.clear()
    answer = await service.login("alice", cookie(old), transport=None)
    assert answer.error == (400, "invalid_request")
    assert service.store.calls.total() == 0


async def test_the_client_of_a_session(service: Service) -> None:
    """A long user agent is cut, so that no client fills the store; over a Unix socket there is no address, and a
    client need not name itself."""
    named = (await service.kept((await service.login("alice", ("user-agent", "x" * 8000))).cookie())).client
    nameless = await service.ask("POST", "/login", **json_body(credentials()), client=None)
    client = (await service.kept(nameless.cookie())).client
    assert (named.user_agent, client.user_agent, client.address) == ("x" * 256, None, None)


async def test_refused(service: Service) -> None:
    """Wrong credentials are a 401 `invalid_grant` with a challenge, leave the jar alone, and open nothing."""
    answer = await service.post("/login", json_body({"username": "alice", "password": PASSWORDS["bob"]}))
    assert answer.status == 401
    assert answer.json() == {"error": "invalid_grant", "error_description": "The credentials are wrong"}
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.set_cookies == []
    assert service.store.calls.total() == 0
    assert service.events == [LoginRefused("credentials_invalid")]


class SecondFactor(AuthError):
    """A refusal of the host's own."""

    status = 403
    error = reason = "mfa_required"
    description = "A code is needed"


REFUSALS: list[tuple[Exception, int, str, str, dict[str, str]]] = [
    (TooManyAttempts(29.2), 429, "too_many_attempts", "Too many attempts", {"retry-after": "30"}),
    (SecondFactor(), 403, "mfa_required", "A code is needed", {}),
    (HTTPException(403, "banned", headers={"X-Reason": "spam"}), 403, "", "banned", {"x-reason": "spam"}),
]


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(("raised", "status", "error", "description", "headers"), REFUSALS)
async def test_authenticate_refuses_in_its_own_words(
    raised: Exception, status: int, error: str, description: str, headers: dict[str, str], kind: str
) -> None:
    """`TooManyAttempts` is a 429 that says, in whole seconds, when another try makes sense; an `AuthError` of the
    host's own is answered as it says, and an `HTTPException` in JSON, its headers kept. Each is an event."""

    def refuse(given: Credentials, request: Request) -> Identity:
        raise raised

    async def refuse_later(given: Credentials, request: Request) -> Identity:
        return refuse(given, request)

    service = Service(authenticate=refuse if kind == "sync" else refuse_later)
    answer = await service.login()
    assert (answer.status, answer.json()["error_description"]) == (status, description)
    assert headers.items() <= answer.headers.items()
    assert answer.headers["cache-control"] == "no-store"
    if error:
        assert (answer.json()["error"], service.events) == (error, [LoginRefused(error)])


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


async def test_login_that_is_refused_ends_nothing(service: Service) -> None:
    """A login that fails is a 401, whatever cookies come along, and leaves their sessions alone."""
    old = (await service.login()).cookie()
    for jar in ([cookie(old)], [cookie(old), cookie("tossed")]):
        answer = await service.post("/login", json_body({"username": "alice", "password": ""}), *jar)
        assert (answer.error, answer.set_cookies) == ((401, "invalid_grant"), [])
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
    assert (await service.kept(token)).ended_at is not None


def test_what_is_missing_shows_at_once() -> None:
    """Without a refresh secret, a store or a key to sign with, there is no AuthApp."""
    given = {"issuer": "i", "audience": "a", "secret": "s" * 32}
    with pytest.raises(ConfigurationError, match="REFRESH_SECRET is missing"):
        AuthApp(Auth(Settings(**given)), authenticate)


@pytest.mark.parametrize("answer", ["alice", {"sub": "alice"}, True, False, ("alice", "scope"), object(), 0])
async def test_authenticate_answers_something_else(answer: Any) -> None:
    """What is neither an `Identity` nor None logs nobody in; the error names its type and what to return."""
    service = Service(authenticate=lambda credentials, request: answer)
    told = rf"authenticate returns an Identity .* Identity\(str\(user.id\)\): it returned {type(answer).__name__}$"
    with pytest.raises(TypeError, match=told):
        await service.login()
    assert service.store.writes == 0
