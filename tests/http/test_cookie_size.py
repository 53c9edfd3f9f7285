"""Tokens that are larger than a cookie may be: told, and nothing lost."""

import logging
from typing import Any

import pytest
from starlette.requests import Request
from support.app import Browser, Service, WatchedStore, payload

from asgi_jwt import Credentials, Identity, Session
from asgi_jwt.events import LoginRefused, TokenRefused

pytestmark = pytest.mark.anyio

ACCESS = "__Host-access_token"
MOST = 4096
ENOUGH = 3000


class Users:
    """Whose access token's claims have `size` characters, and whose name may be long."""

    def __init__(self) -> None:
        self.size = 0
        self.name = "alice"

    def authenticate(self, credentials: Credentials, request: Request) -> Identity:
        return Identity(self.name, claims={"padding": "x" * self.size})

    def load(self, subject: str, session: Session) -> Identity:
        return Identity(subject, claims={"padding": "x" * self.size})


@pytest.fixture
def users() -> Users:
    return Users()


def serving(store: WatchedStore, users: Users, **settings: Any) -> Service:
    return Service(store, settings=settings, authenticate=users.authenticate, load_identity=users.load)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def largest(service: Service, users: Users) -> int:
    """How many characters of padding make the largest cookie that browsers keep."""
    empty = len((await service.login(transport="body")).json()["access_token"])
    users.size = (MOST - len(ACCESS) - empty) * 3 // 4 - 8
    while True:
        users.size += 1
        token = (await service.login(transport="body")).json()["access_token"]
        if len(ACCESS) + len(token) > MOST:
            return users.size - 1


async def test_login(store: WatchedStore, users: Users, caplog: pytest.LogCaptureFixture) -> None:
    """A login whose access token is one step past 4,096 bytes with the cookie's name is a 500 that keeps nothing."""
    service = serving(store, users, access_cookie=ACCESS)
    users.size = await largest(service, users)
    fits = await service.login()
    assert (fits.status, errors(caplog)) == (200, [])
    assert MOST - 2 < len(ACCESS) + len(fits.cookie(ACCESS)) <= MOST
    service.events.clear()
    writes = store.writes
    users.size += 3
    answer = await service.login()
    assert (answer.error, answer.set_cookies) == ((500, "server_error"), [])
    assert answer.headers["cache-control"] == "no-store"
    assert (store.writes, service.events) == (writes, [LoginRefused("cookie_too_large")])
    (told,) = errors(caplog)
    past = (len((await service.login(transport="body")).json()["access_token"]) + len(ACCESS)) - MOST
    assert f"the cookie {ACCESS} has {MOST + past:,} bytes with its name, {past} past the 4,096" in told
    assert "eyJ" not in told


async def test_refresh(store: WatchedStore, users: Users, caplog: pytest.LogCaptureFixture) -> None:
    """A refresh whose claims have grown past the cookie is a 500 that changes nothing: the session goes on after it."""
    service = serving(store, users, access_cookie=ACCESS)
    browser = Browser(service)
    await browser.login()
    jar, writes = dict(browser.jar), store.writes
    service.events.clear()
    users.size = ENOUGH
    for _ in range(3):
        answer = await browser.post("/refresh")
        assert (answer.error, answer.set_cookies) == ((500, "server_error"), [])
    assert (browser.jar, store.writes, len(errors(caplog))) == (jar, writes, 3)
    assert service.events == [TokenRefused("cookie_too_large", 500, "http")] * 3
    users.size = 0
    assert (await browser.post("/refresh")).status == 200
    assert service.verdicts == ["ROTATED"]


async def test_a_thief_is_caught_all_the_same(store: WatchedStore, users: Users) -> None:
    """Claims past the cookie hide no reuse: the replayed token ends the session."""
    service = serving(store, users, access_cookie=ACCESS)
    stolen = (await service.login()).cookie()
    tokens = [stolen]
    for _ in range(3):
        service.clock.turn(120)
        tokens.append((await service.refresh(tokens[-1])).cookie())
    users.size = ENOUGH
    service.clock.turn(2 * 86400)
    assert (await service.refresh(stolen)).status == 401
    assert service.verdicts[-1] == "REUSED"


async def test_refresh_cookie(store: WatchedStore, users: Users, caplog: pytest.LogCaptureFixture) -> None:
    """A subject too long for the refresh token's cookie is a 500 that keeps nothing, and is none in the body."""
    service = serving(store, users)
    users.name = "a" * ENOUGH
    answer = await service.login()
    assert (answer.status, answer.json()["error"], store.writes) == (500, "server_error", 0)
    assert "the cookie __Secure-refresh_token has " in errors(caplog)[0]
    login = await service.login(transport="body")
    refresh_token = login.json()["refresh_token"]
    assert payload(refresh_token)["sub"] == users.name
    assert (await service.token(refresh_token)).status == 200
    # A body's token in a cookie: no browser does so, and none would keep the next one.
    service.clock.turn(120)
    refused = await service.refresh(refresh_token)
    assert (refused.status, refused.set_cookies) == (500, [])


@pytest.mark.parametrize("settings", [{}, {"access_cookie": ACCESS}])
async def test_tokens_in_no_cookie(store: WatchedStore, users: Users, settings: dict[str, str]) -> None:
    """Where the access token is set as no cookie, and where the tokens go into the body, 4,096 bytes bound neither a
    login nor a refresh."""
    service = serving(store, users, **settings)
    users.size = ENOUGH
    login = await service.login(transport="body")
    assert len(login.json()["access_token"]) > MOST
    assert (login.status, (await service.token(login.json()["refresh_token"])).status) == (200, 200)
    if not settings:
        login = await service.login()
        assert (login.status, (await service.refresh(login.cookie())).status) == (200, 200)
