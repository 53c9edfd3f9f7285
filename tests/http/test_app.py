"""AuthApp as a whole: its routes, its place among other apps, and what it says when its store is down."""

import logging
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import Message
from support.app import (
    PASSWORDS,
    REFRESH_SECRET,
    SECRET,
    Answer,
    Browser,
    Service,
    WatchedStore,
    ask,
    authenticate,
    bearer,
    cookie,
    credentials,
    exchange,
    form_body,
    json_body,
    websocket_scope,
)
from support.tokens import private_pem
from support.waiting import PATIENCE

from asgi_jwt import Credentials, Identity, JWTMiddleware
from asgi_jwt.testing import fake_issuer

pytestmark = pytest.mark.anyio

ROUTES = dict.fromkeys(["/login", "/refresh", "/token", "/logout", "/logout-all", "/revoke"], "POST")
ROUTES |= dict.fromkeys(["/sessions", "/.well-known/jwks.json", "/asgi-jwt.js", "/asgi-jwt-dpop.js"], "GET")
ROUTES |= {"/sessions/s1": "DELETE"}


def assert_error(answer: Answer, status: int, error: str) -> None:
    """An error in the shape that all have."""
    assert answer.error == (status, error)
    assert answer.json().keys() == {"error", "error_description"}
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("application/json", "no-store")


@pytest.mark.parametrize("in_an_app", [False, True])
@pytest.mark.parametrize(("path", "allowed"), ROUTES.items())
async def test_other_methods(service: Service, path: str, allowed: str, in_an_app: bool) -> None:
    """Any other method is a 405 that names the ones allowed, alone or mounted in another app."""
    app: Any = Starlette(routes=[Mount("/auth", service.app)]) if in_an_app else service.app
    given: dict[str, Any] = {} if in_an_app else {"root_path": "/auth"}
    others = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} - {allowed}
    for method in sorted(others):
        answer = await ask(app, method, f"/auth{path}", **given)
        assert_error(answer, 405, "method_not_allowed")
        assert allowed in answer.headers["allow"].split(", ")
    assert service.store.calls.total() == 0


@pytest.mark.parametrize(
    "path",
    ["", "/", "/login/", "/Login", "/login/x", "//login", "/sessions/", "/sessions/a/b", "/unknown", "/../login"],
)
async def test_other_paths(service: Service, path: str) -> None:
    """Any other path is a 404 in JSON, and nothing redirects."""
    for method in ("GET", "POST", "DELETE"):
        assert_error(await service.ask(method, path), 404, "not_found")


async def test_websocket(service: Service) -> None:
    """There is nothing here for a WebSocket."""
    gone: Message = {"type": "websocket.disconnect", "code": 1006}
    answer = await exchange(service.app, websocket_scope("/login", denial=False), gone)
    assert [message["type"] for message in answer.messages] == ["websocket.close"]


async def test_refusals_need_no_thread(service: Service) -> None:
    """Refusals are answered while all of the host's threads are busy."""
    threads = anyio.to_thread.current_default_thread_limiter()
    threads.total_tokens = 1
    with anyio.fail_after(PATIENCE):
        async with threads:
            answers = [await service.post("/refresh"), await service.get("/x"), await service.get("/login")]
    assert [answer.status for answer in answers] == [401, 404, 405]


async def test_behind_the_middleware(service: Service) -> None:
    """Beside the middleware, its mount public: log in, call, refresh, call, log out."""

    async def me(request: Request) -> JSONResponse:
        return JSONResponse(request.user.identity)

    app = Starlette(routes=[Mount("/auth", service.app), Route("/me", me)])
    app.add_middleware(JWTMiddleware, auth=service.auth, public=["/auth/*"])
    login = await ask(app, "POST", "/auth/login", **json_body(credentials()))
    token = login.json()["access_token"]
    assert (await ask(app, "GET", "/me", headers=[bearer(token)])).json() == "alice"
    service.clock.turn(3600)
    assert (await ask(app, "GET", "/me", headers=[bearer(token)])).status == 401
    refreshed = await ask(app, "POST", "/auth/refresh", headers=[cookie(login.cookie())])
    token = refreshed.json()["access_token"]
    assert (await ask(app, "GET", "/me", headers=[bearer(token)])).json() == "alice"
    assert (await ask(app, "POST", "/auth/logout", headers=[cookie(refreshed.cookie())])).status == 204


async def test_fake_issuer(service: Service) -> None:
    """Under `fake_issuer` the routes take its tokens, and give out tokens of its keys."""
    with fake_issuer(service.auth) as issue:
        headers = [(name.lower(), value) for name, value in issue("alice").items()]
        assert (await service.ask("GET", "/sessions", headers=headers)).json() == {"sessions": []}
        token = (await service.login()).json()["access_token"]
        assert (await service.ask("GET", "/sessions", headers=[bearer(token)])).status == 200
    assert (await service.ask("GET", "/sessions", headers=[bearer(token)])).status == 401


async def outage(service: Service, login: Answer, path: str) -> Answer:
    """What `path` answers to a browser that has logged in."""
    token, access = login.cookie(), login.json()["access_token"]
    if path == "/login":
        return await service.login("alice", cookie(token))
    if path == "/token":
        return await service.token(token)
    if path == "/revoke":
        return await service.revoke(token)
    if path.startswith("/sessions"):
        return await service.ask(ROUTES[path], path, headers=[bearer(access)])
    return await service.post(path, None, cookie(token))


CALLS = "/login update, /refresh get, /refresh update, /token get, /token update, /logout update, /logout-all get"
CALLS += ", /refresh read_revocations, /sessions read_revocations"
CALLS += ", /logout-all list, /sessions list, /sessions/s1 update, /revoke update"


@pytest.mark.parametrize("path_and_call", CALLS.split(", "))
async def test_store_is_down(service: Service, path_and_call: str) -> None:
    """P21: A store that is down, at whichever call, is a 503 with Retry-After; the cookies and the session stay."""
    path, call = path_and_call.split()
    login = await service.login()
    service.store.down = {call}
    answer = await outage(service, login, path)
    assert_error(answer, 503, "temporarily_unavailable")
    assert (answer.headers["retry-after"], answer.set_cookies) == ("1", [])
    assert "www-authenticate" not in answer.headers
    service.store.down = set()
    service.clock.turn(1)
    assert (await service.refresh(login.cookie())).status == 200


async def test_store_goes_down_within_a_login(service: Service) -> None:
    """A login that could not end the session before it is a 503, and is whole when it is tried again."""
    old = (await service.login()).cookie()
    service.store.down_at = {("update", 3)}
    answer = await service.login("alice", cookie(old))
    assert_error(answer, 503, "temporarily_unavailable")
    assert answer.set_cookies == []
    assert (await service.login("alice", cookie(old))).status == 200
    assert (await service.refresh(old)).status == 401


async def test_failing_sweep_hinders_no_login(service: Service) -> None:
    """Expired sessions are swept at logins; when that fails, the login stands."""
    service.store.down = {"sweep"}
    assert (await service.login()).status == 200
    assert service.store.calls["sweep"] == 1


async def test_nothing_tells_a_secret(store: WatchedStore, caplog: pytest.LogCaptureFixture) -> None:
    """No token, cookie, password or secret is in any event, log record, error answer or repr."""
    caplog.set_level(logging.DEBUG)
    given: list[Credentials] = []

    def check(fields: Credentials, request: Request) -> Identity | None:
        given.append(fields)
        return authenticate(fields, request)

    service = Service(
        store, settings={"access_cookie": "__Host-at", "store": "redis://u:store-password@h"}, authenticate=check
    )
    browser = Browser(service)
    tokens: list[str] = []
    errors: list[Answer] = []
    first = await browser.login()
    for seconds in (0, 0, 60, 60):
        service.clock.turn(seconds)
        tokens += [*browser.jar.values(), (await browser.post("/refresh")).json()["access_token"]]
    tokens += browser.jar.values()
    errors += [
        await service.refresh(first.cookie()),
        await service.refresh(tokens[-1]),
        await service.post("/login", json_body({"username": "alice", "password": PASSWORDS["bob"]})),
        await service.post("/login", form_body({PASSWORDS["bob"]: ""})),
        await service.ask("GET", "/sessions", headers=[bearer(first.cookie())]),
        await service.post("/logout", None, ("authorization", f"Bearer {tokens[0]} {tokens[1]}")),
        await service.ask("POST", f"/{tokens[0]}"),
    ]
    pair = await service.auth.sessions.open(Identity("alice"))
    tokens += [pair.access_token, pair.refresh_token, first.json()["access_token"]]
    store.down = {"update"}
    errors.append(await service.refresh(pair.refresh_token))
    told = [
        repr(each) for each in (*service.events, pair, *given, service.auth, service.auth.settings, service.auth.issuer)
    ]
    told += [f"{pair}", f"{service.auth.settings}", repr(service.auth.sessions), repr(service.app)]
    told += [repr(record.__dict__) for record in caplog.records]
    told += [f"{error.body!r}{error.raw_headers}" for error in errors if error.status >= 400]
    assert len(service.events) > 8
    assert "refreshed verdict=REUSED" in caplog.text
    secrets = [SECRET, REFRESH_SECRET, "store-password", *PASSWORDS.values(), *tokens]
    signatures = [token.rpartition(".")[2] for token in tokens]
    for secret in (*secrets, *signatures):
        assert not [each for each in told if secret in each]


async def test_signs_with_any_key(store: WatchedStore) -> None:
    """RSA keys so large that their signatures take milliseconds sign in a thread; the tokens hold."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    service = Service(store, settings={"secret": None, "keys": private_pem(key).decode()})
    assert service.auth.issuer.slow
    assert (await service.auth.verify((await service.device()).access)).subject == "alice"
