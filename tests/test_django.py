"""Django: a project as its documentation writes it, under ASGI and WSGI, asked by its own test clients."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.app import NO_TOKEN, WatchedStore, authorization, bearer_challenge, make_auth, make_token
from support.django_project import set_up
from support.tables import tables_of
from support.waiting import PATIENCE

from asgi_jwt import Auth, AuthApp, Identity, MemoryStore, Settings, background
from asgi_jwt.background import in_background_loop
from asgi_jwt.errors import ConfigurationError
from asgi_jwt.events import Event, TokenRefused

set_up()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.test import AsyncClient, Client, override_settings  # noqa: E402
from rest_framework.test import APIClient  # noqa: E402

from asgi_jwt.django import TokenUser  # noqa: E402

CHALLENGE = 'Bearer realm="api"'
LACKING = f'{CHALLENGE}, error="insufficient_scope", error_description="The access token lacks a required scope"'

auth: Auth
"""The project's own, as `ASGI_JWT_AUTH` names it: each test has a new one."""

heard: list[Event] = []


PROJECT = {"ROOT_URLCONF": "frameworks.django_app", "ASGI_JWT_AUTH": f"{__name__}.auth"}
MIDDLEWARE = ["asgi_jwt.django.TokenMiddleware"]


def project(**settings: Any) -> Any:
    return override_settings(**{**PROJECT, "MIDDLEWARE": MIDDLEWARE, **settings})


def renew(**settings: Any) -> Auth:
    global auth
    heard.clear()
    auth = make_auth(on_event=heard.append, **{"public_paths": ["/health"], **settings})
    return auth


def by_wsgi(url: str, headers: dict[str, str] | None = None, method: str = "get", **more: Any) -> Any:
    return getattr(Client(**more), method)(url, headers=headers)


def by_asgi(url: str, headers: dict[str, str] | None = None, method: str = "get", **more: Any) -> Any:
    return asyncio.run(getattr(AsyncClient(**more), method)(url, headers=headers))


Ask = Callable[..., Any]


@pytest.fixture(params=[by_wsgi, by_asgi])
def ask(request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Ask the project, as its own test clients do."""
    renew()
    with project():
        yield request.param


def test_a_gateways_header(ask: Ask) -> None:
    """The configured header has the token, alone: two of it are a 400, and Authorization is not read."""
    renew(token_sources="header:X-Goog-IAP-JWT-Assertion")
    token = make_token(auth)
    with project():
        for value, status in ((token, 200), (f"bearer {token}", 200), (f"{token},{token}", 400), ("", 401)):
            assert ask("/me", {"X-Goog-IAP-JWT-Assertion": value}).status_code == status
        assert ask("/me", authorization(auth)).status_code == 401


def test_a_view_knows_the_user(ask: Ask) -> None:
    """`request.user` is an authenticated user with the subject as its key, `request.claims` are the token's."""
    told = ask("/me", authorization(auth, claims={"name": "Alice A."}))
    known = {"pk": "alice", "active": True, "anonymous": False, "known": True}
    assert (told.status_code, told.json()) == (200, {**known, "name": "Alice A.", "claims": "alice"})
    assert ask("/ame", authorization(auth)).json() == {"pk": "alice"}
    assert (TokenUser(None).get_username(), TokenUser(None).pk) == ("", None)


def test_refusals(ask: Ask) -> None:
    """No token and a bad one are 401 and too little is 403, with the challenge; the event is emitted."""
    told = ask("/me")
    assert (told.status_code, told.json(), bearer_challenge(told["WWW-Authenticate"])) == (401, NO_TOKEN, CHALLENGE)
    told = ask("/me", {"authorization": "Bearer a.b.c"})
    assert (told.status_code, told.json()["error"]) == (401, "invalid_token")
    assert 'error="invalid_token"' in told["WWW-Authenticate"]
    assert told["Cache-Control"] == "no-store"
    told = ask("/orders", authorization(auth, scopes="orders:write"))
    assert (told.status_code, bearer_challenge(told["WWW-Authenticate"])) == (403, f'{LACKING}, scope="orders:read"')
    assert ask("/orders", authorization(auth, scopes="orders:read")).content == b"alice"
    reasons = [event.reason for event in heard if isinstance(event, TokenRefused)]
    assert reasons == ["token_missing", "token_malformed"]


def test_permissions_of_tables(ask: Ask) -> None:
    """A token's user has no permission of Django's tables: checks of them refuse, and do not fail."""
    headers = authorization(auth)
    assert [ask(url, headers).status_code for url in ("/groups", "/agroups", "/model-tasks")] == [403, 403, 200]
    assert ask("/model-tasks", headers, "post").status_code == 403
    assert ask("/permissions", headers).json() == [False, False]


def test_what_a_view_raises(ask: Ask) -> None:
    """An `AuthError` that a view raises becomes its answer; other exceptions stay Django's."""
    told = ask("/busy", authorization(auth))
    assert (told.status_code, told["Retry-After"], told.json()["error"]) == (429, "7", "too_many_attempts")
    with pytest.raises(LookupError, match="a fault of the view"):
        ask("/broken", authorization(auth))


@pytest.mark.parametrize("installed", [True, False])
def test_nobody(ask: Ask, installed: bool) -> None:
    """On a public path, and where it is optional, nobody is an anonymous user; a bad token is refused all the same."""
    nobody = {"pk": None, "name": "AnonymousUser", "active": False, "anonymous": True, "known": False, "claims": None}
    apps: dict[str, Any] = {} if installed else {"INSTALLED_APPS": []}
    with override_settings(ASGI_JWT_OPTIONAL=True, **apps):
        assert ask("/health", authorization(auth)).json() == nobody
        assert ask("/me").json() == nobody
        assert ask("/orders").status_code == 401
        assert ask("/me", {"authorization": "Bearer a.b.c"}).status_code == 401


def test_expired_and_revoked(ask: Ask) -> None:
    """A token's end and its revocation are seen, for a token that passed before, too."""
    renew(store=MemoryStore())
    headers = authorization(auth)
    assert ask("/me", headers).status_code == 200
    asyncio.run(auth.revoke_token(headers["authorization"].removeprefix("Bearer ")))
    assert ask("/me", headers).json()["error_description"] == "The access token was revoked"
    headers = authorization(auth, "bob")
    assert ask("/me", headers).status_code == 200
    clock: Any = auth.clock
    clock.turn(3600)
    assert ask("/me", headers).json()["error_description"] == "The access token expired"


def test_cookies(ask: Ask) -> None:
    """A token in a cookie is read with the cross-site check on unsafe methods."""
    renew(token_sources=["cookie:token"])
    cookie = {"cookie": f"token={make_token(auth)}"}
    assert ask("/me", cookie).status_code == 200
    assert ask("/me", {**cookie, "sec-fetch-site": "cross-site"}).status_code == 200
    assert ask("/me", {**cookie, "sec-fetch-site": "cross-site"}, "post").status_code == 403
    assert ask("/me", {**cookie, "sec-fetch-site": "same-origin"}, "post").status_code == 200
    # A header that says the same twice, which WSGI joins, is none that a browser sends.
    assert ask("/me", {**cookie, "sec-fetch-site": "same-origin,cross-site"}, "post").status_code == 403


def test_resource_metadata(ask: Ask) -> None:
    """The metadata of `RESOURCE` is served without a token, and with one that was seen before."""
    renew(resource="https://testserver/mcp")
    for headers in ({}, authorization(auth)):
        assert ask("/me", headers).status_code == (200 if headers else 401)
        told = ask("/.well-known/oauth-protected-resource/mcp", headers)
        assert told.json()["resource"] == "https://testserver/mcp"


@pytest.mark.parametrize(
    ("value", "status", "error"),
    [
        ("Bearer {token}", 200, None),
        ("Bearer {token},Bearer {token}", 400, "invalid_request"),
        ("Bearer {token}, Bearer {token}", 400, "invalid_request"),
        ("Basic YTpi, Bearer {token}", 400, "invalid_request"),
        ("Bearer {token} ,\tBasic YTpi", 400, "invalid_request"),
        ("Bearer {token}" + " " * 1_000_000 + "x", 400, "invalid_request"),  # in time that grows with the length alone
        ("Bearer {token},{token}", 401, "invalid_token"),
        ('Digest username="a", realm="b", uri="/", nc=00000001, qop=auth', 401, None),
        ("Bearer \u20ac", 401, "invalid_token"),
    ],
)
def test_headers_that_wsgi_joined(value: str, status: int, error: str | None) -> None:
    """Two Authorization headers, which WSGI joins with a comma, are refused; another scheme with commas is no token."""
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/me",
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "wsgi.input": BytesIO(),
        "wsgi.url_scheme": "http",
        "HTTP_AUTHORIZATION": value.format(token=make_token(renew())),
    }
    began: list[str] = []

    def start_response(status: str, headers: Any, fault: Any = None) -> Any:
        began.append(status)

    with project():
        told = get_wsgi_application()(environ, start_response)
        body = b"".join(told).decode()
    assert began[0].startswith(str(status))
    assert error is None or f'"error":"{error}"' in body


@pytest.mark.parametrize(
    ("prefix", "asked", "status"),
    tables_of(__file__)["the_path_that_is_routed"],
)
def test_the_path_that_is_routed(prefix: str, asked: str, status: int) -> None:
    """What is public is decided by the path that Django routes, whatever root path a client of Daphne names."""
    renew(public_paths=["/health", "/health/*"])
    with project():
        django = get_asgi_application()

        async def daphne(scope: Any, receive: Any, send: Any) -> None:
            await django({**scope, "asgi": {"version": "3.0"}}, receive, send)

        assert TestClient(daphne, root_path=prefix).get(asked).status_code == status
        below = asked.removeprefix(prefix)
        assert below[0] != "/" or Client().get(below, SCRIPT_NAME=prefix).status_code == status


def test_behind_a_prefix_it_is_quick_too() -> None:
    """A token seen before passes under WSGI while the background loop is held up; another one waits for it."""
    renew()
    headers, others = authorization(auth), authorization(auth, "bob")
    held, release = threading.Event(), threading.Event()

    async def hold() -> None:
        held.set()
        assert release.wait(PATIENCE), "waited for the test"

    answers: list[Any] = []
    with project():
        client = Client()
        assert client.get("/me", headers=headers).status_code == 200
        holding = threading.Thread(target=in_background_loop, args=(hold,))
        holding.start()
        try:
            assert held.wait(PATIENCE), "waited for the background loop"
            assert client.get("/me", headers=headers).status_code == 200
            assert client.get("/me", headers=headers, SCRIPT_NAME="/shop").status_code == 200
            assert client.get("/health").status_code == 200
            waiting = threading.Thread(target=lambda: answers.append(client.get("/me", headers=others)))
            waiting.start()
            assert answers == []
        finally:
            release.set()
        waiting.join(PATIENCE)
        holding.join(PATIENCE)
    assert [answer.status_code for answer in answers] == [200]


@pytest.mark.parametrize(
    ("named", "fault"),
    [
        (None, "ASGI_JWT_AUTH=None is no dotted name of an Auth"),
        ("auth", "ASGI_JWT_AUTH='auth' is no dotted name"),
        ("no.such.auth", "No module named 'no'"),
        (f"{__name__}.nothing", "nothing"),
        ("frameworks.django_app.me", "takes an Auth as auth, not function"),
        (f"{__name__}.auth", "a store of the scheme 'carrier-pigeon' does not exist"),
    ],
)
def test_an_auth_that_cannot_be_used(named: str | None, fault: str) -> None:
    """It raises when the application is made, by a server that imports it within its event loop, too."""
    global auth
    auth = Auth(
        Settings(issuer="https://i.example", audience="a", secret="0123456789abcdef" * 2, store="carrier-pigeon://loft")
    )

    async def within_a_loop() -> None:
        get_asgi_application()

    with project(ASGI_JWT_AUTH=named):
        for start in (get_wsgi_application, get_asgi_application, lambda: asyncio.run(within_a_loop())):
            with pytest.raises(ConfigurationError, match=fault):
                start()


def test_the_session_of_django_does_not_replace_the_user() -> None:
    """Django's AuthenticationMiddleware has to come first: after `TokenMiddleware` it ends the start."""
    renew()
    names = [*MIDDLEWARE, "django.contrib.auth.middleware.AuthenticationMiddleware"]
    with project(MIDDLEWARE=names), pytest.raises(ConfigurationError, match="after AuthenticationMiddleware"):
        get_wsgi_application()


@pytest.mark.parametrize("middleware", [MIDDLEWARE, []])
@pytest.mark.parametrize("ask", [by_wsgi, by_asgi])
def test_rest_framework(ask: Ask, middleware: list[str]) -> None:
    """`JWTAuthentication` takes what the middleware verified, and verifies alone; refusals are 401 with a challenge."""
    renew()
    with project(MIDDLEWARE=middleware):
        for _ in range(2):
            told = ask("/tasks", authorization(auth))
            assert (told.status_code, told.json()) == (200, {"user": "alice"})
        told = ask("/tasks")
        assert (told.status_code, bearer_challenge(told["WWW-Authenticate"])) == (401, CHALLENGE)
        told = ask("/tasks", {"authorization": "Bearer a.b.c"})
        assert (told.status_code, told.json()["error"]) == (401, "invalid_token")
        assert 'error="invalid_token"' in told["WWW-Authenticate"]
        told = ask("/tasks", {"authorization": "Bearer"})
        assert (told.status_code, told.json()["error"]) == (400, "invalid_request")
        assert ask("/open").status_code == (401 if middleware else 200)
        assert ask("/open", authorization(auth)).json() == {"user": "alice"}
        assert ask("/tasks", authorization(auth, scopes="tasks:read"), "post").json() == {"token": "alice"}
        assert ask("/tasks", authorization(auth), "post").status_code == 403


def test_rest_framework_and_require() -> None:
    """An `AuthError` of a REST framework view, posted by its own client, becomes the answer."""
    renew()
    with project():
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=authorization(auth)["authorization"])
        told = client.delete("/tasks")
        lacking = f'{LACKING}, scope="tasks:write"'
        assert (told.status_code, bearer_challenge(told["WWW-Authenticate"])) == (403, lacking)
        client.credentials(HTTP_AUTHORIZATION=authorization(auth, scopes="tasks:write")["authorization"])
        assert client.delete("/tasks").json() == "alice"


def test_rest_framework_while_the_log_is_out_of_reach() -> None:
    """A 503 with `Retry-After` and no challenge, where nobody knows what is revoked."""
    store = WatchedStore(MemoryStore())
    store.down = {"read_revocations"}
    renew(store=store)
    with project(MIDDLEWARE=[]):
        told = by_wsgi("/tasks", authorization(auth))
    assert (told.status_code, told["Retry-After"]) == (503, "1")
    assert "WWW-Authenticate" not in told


async def authenticate(credentials: Any, request: Any) -> Identity | None:
    return Identity(credentials["username"])


def test_auth_app_beside_django() -> None:
    """The docs' `asgi.py`: `AuthApp` answers below /auth, Django everywhere else."""
    renew(store=MemoryStore(), refresh_secret="another secret of thirty-two bytes!")
    with project():
        logins, views = AuthApp(auth, authenticate), get_asgi_application()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"].startswith("/auth/"):
                await logins({**scope, "root_path": scope.get("root_path", "") + "/auth"}, receive, send)
            else:
                await views(scope, receive, send)

        client = TestClient(application)
        told = client.post("/auth/login", json={"username": "alice"})
        assert "Path=/auth;" in told.headers["set-cookie"]
        headers = {"authorization": f"Bearer {told.json()['access_token']}"}
        assert client.get("/me", headers=headers).json()["pk"] == "alice"


def test_the_background_loop_ends_with_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the exit the loop ends; the exit of a process that was forked leaves its parent's alone."""
    ends: list[Any] = []
    monkeypatch.setattr(background, "_portals", {})
    monkeypatch.setattr("atexit.register", lambda *call: ends.append(call))
    assert in_background_loop(current_thread_name) == "asgi_jwt"
    ((end, process, thread),) = ends
    end(process + 1, thread)
    assert thread.is_alive()
    end(process, thread)
    assert not thread.is_alive()


async def current_thread_name() -> str:
    return threading.current_thread().name


FORKS = """
import os
from asgi_jwt import background
from asgi_jwt.background import in_background_loop
async def process(): return os.getpid()
assert in_background_loop(process) == os.getpid() == in_background_loop(process)
child = os.fork()
assert in_background_loop(process) == os.getpid()
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("both ended")
"""


def test_forks() -> None:
    """A process that was forked has a loop of its own, and both processes end."""
    ran = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ran.stdout, ran.stderr) == ("both ended\n", "")
