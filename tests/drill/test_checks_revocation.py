"""Sessions and logouts, tried from outside: each fault of a deployment is named, with its mend."""

import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp
from support.app import credentials
from support.deployments import Site, answering, deployment, fault, in_turn, untried

from asgi_jwt import MemoryStore
from asgi_jwt.drill import checks_revocation
from asgi_jwt.drill.checks_revocation import left_behind, logout, one_store
from asgi_jwt.drill.checks_tokens import api
from asgi_jwt.drill.devices import Devices
from asgi_jwt.drill.drill import Drill

SESSIONS = "/auth/sessions"


def test_good(site: Site) -> None:
    """A whole deployment knows its sessions, and a logout is seen within a second."""
    assert site.check(one_store).seen == "24 of 24 answers know the session"
    assert site.check(api, logout).holds is True
    assert site.check(left_behind).seen == "1 of 1 sessions of the drill are ended"


@pytest.mark.parametrize(
    ("app", "seen", "mend"),
    [
        (in_turn(deployment(), deployment()), "12 of 24 answers did not know a session", "memory:// is for one"),
        (answering(deployment(), SESSIONS, 503), "answered 503", "the same store"),
        (answering(deployment(), SESSIONS, 200, b'{"sessions": 1}'), "24 of 24 answers", "one store"),
    ],
)
def test_one_store(site: Site, app: ASGIApp, seen: str, mend: str) -> None:
    """Processes that don't know each other's sessions are named."""
    fault(site.check(one_store, app=app), seen, mend)


def test_no_sessions(site: Site) -> None:
    """A deployment that lists no sessions is not tried."""
    untried(site.check(one_store, app=answering(deployment(), SESSIONS, 404)), "lists no sessions")


@pytest.mark.parametrize(
    ("app", "seen", "mend"),
    [
        (answering(deployment(), "/auth/logout", 503), "POST /logout was answered 503", "log of the service"),
        (answering(deployment(), "/auth/logout", 204), "does not delete the cookie", "Set-Cookie"),
        (deployment(store=MemoryStore(), api={"revocation_interval": 4}), "s after the logout", "INTERVAL to 1"),
    ],
)
def test_logout(site: Site, app: ASGIApp, seen: str, mend: str) -> None:
    """A logout that ends too little, or too late, is named."""
    fault(site.check(api, logout, app=app), seen, mend)


def test_logout_of_one_process(site: Site) -> None:
    """A logout that another process does not know is named."""
    cleared = "refresh_token=; Path=/auth; Max-Age=0"
    app = answering(deployment(), "/auth/logout", 204, b"", set_cookie=cleared)
    fault(site.check(api, logout, app=app), "logged out refreshes", "one store")


def test_never_seen(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API without the login's store never sees a logout, and the drill gives up."""
    monkeypatch.setattr(checks_revocation, "_GIVEN_UP", 1.0)
    app = deployment(store=MemoryStore(), apart=True)
    fault(site.check(api, logout, app=app), "1 s after the logout the API takes the access token", "ASGI_JWT_STORE")


def test_left_behind(site: Site) -> None:
    """Sessions that the drill could not end are named."""
    fault(site.check(left_behind, app=answering(deployment(), "/auth/logout", 500)), "1 of the drill's", "/logout")


@pytest.mark.parametrize("token", ["good", "refused"])
def test_lost_login(site: Site, token: str) -> None:
    """A login whose answer was lost is ended, too, and no other session of the user."""
    whole = deployment()

    async def lose(drill: Drill) -> str:
        await Devices(drill.target, {**credentials(), "transport": "body"}, drill.client._http).log_in()
        await drill.client.post("/auth/login", credentials())
        if token == "refused":
            drill.device().access = "expired"
        await drill.devices.end_all()
        return ""

    site.check(lose, app=whole)
    answer = TestClient(whole).post("/auth/login", json=credentials()).json()
    sessions = TestClient(whole).get(SESSIONS, headers={"Authorization": f"Bearer {answer['access_token']}"}).json()
    kinds = [each["client"]["user_agent"].partition("/")[0] for each in sessions["sessions"]]
    assert sorted(kinds) == ["asgi-jwt-drill", "testclient"]  # the drill of another run stays
