"""The demo's app."""

import json

import pytest
from support.demo import PASSWORDS, Demo

from asgi_jwt.demo.app import DEVICES
from asgi_jwt.testing import fake_issuer

FOREIGN = {"Sec-Fetch-Site": "cross-site", "Origin": "https://elsewhere.example"}


def test_me_needs_a_token(demo: Demo) -> None:
    """The protected page answers nobody without a token."""
    assert demo.client.get("/api/me").status_code == 401


def test_me(demo: Demo) -> None:
    """The protected page says whose token came, what it permits, until when, and all that it claims."""
    with fake_issuer(demo.auth) as issue:
        headers = issue("alice", scopes=["profile:read"], expires_in=60)
        answer = demo.client.get("/api/me", headers=headers)
    told = answer.json()
    claims = told.pop("claims")
    assert told == {"subject": "alice", "scopes": ["profile:read"], "expires_at": 1_060}
    assert (claims["iss"], claims["sub"], claims["exp"]) == ("https://issuer.example", "alice", 1_060)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("username", "password", "status"),
    [
        ("alice", "wonderland", 200),
        ("bob", "builder", 200),
        ("alice", "builder", 401),
        ("alice", "", 401),
        ("alice", "wönderland", 401),
        ("mallory", "wonderland", 401),
        ("mallory", "", 401),
    ],
)
def test_login(demo: Demo, username: str, password: str, status: int) -> None:
    """Its users log in with their own passwords, and nobody else does; their tokens open the protected page."""
    answer = demo.client.post("/auth/login", json={"username": username, "password": password})
    assert answer.status_code == status
    if status == 200:
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        assert demo.client.get("/api/me", headers=headers).json()["subject"] == username


def test_about(demo: Demo) -> None:
    """The page is told the users, the times, and the tokens to be refused, which are; of good ones it is told none."""
    demo.log_in()
    about = demo.client.get("/demo/about").json()
    assert about.pop("refused") != []
    assert about == {
        "users": [{"name": name, "password": password} for name, password in PASSWORDS.items()],
        "grace": 2,
        "access_life": 900,
        "newest": demo.feed.newest,
    }


def test_refused(demo: Demo) -> None:
    """Every token that the page is given to try is refused."""
    refused = demo.client.get("/demo/about").json()["refused"]
    assert [attempt["adjective"] for attempt in refused] == ["missing", "expired", "tampered", "another service's"]
    for attempt in refused:
        headers = {"Authorization": f"Bearer {attempt['token']}"} if attempt["token"] else {}
        assert demo.client.get("/api/me", headers=headers).status_code == 401, attempt["title"]


def test_events(demo: Demo) -> None:
    """The stream tells of what happened, numbered, and holds no token, cookie or password."""
    token = demo.log_in()
    cookie = demo.client.cookies["demo_refresh_token"]
    demo.client.post("/auth/refresh")
    demo.feed.close()
    answer = demo.client.get("/demo/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [(event["id"], event["name"]) for event in events] == [(1, "session_opened"), (2, "refreshed")]
    assert events[1] | {"at": 1_000, "actor": None, "verdict": "ROTATED"} == events[1]
    for secret in (token, cookie, *PASSWORDS.values()):
        assert secret not in answer.text


@pytest.mark.parametrize(
    ("asked", "headers", "first"),
    [
        ("", {}, 1),
        ("?after=1", {}, 2),
        ("?after=1", {"Last-Event-ID": "2"}, 3),
        ("?after=-1", {}, 1),
        ("?after=" + "9" * 5_000, {}, 1),
        ("?after=1_0", {}, 1),
        ("?after=\u0661", {}, 1),
        ("?after=nothing", {}, 1),
    ],
)
def test_events_go_on(demo: Demo, asked: str, headers: dict[str, str], first: int) -> None:
    """A stream goes on where its reader says that the last one broke off; what is no number is the beginning."""
    for _ in range(3):
        demo.log_in()
    demo.feed.close()
    text = demo.client.get(f"/demo/events{asked}", headers=headers).text
    assert next(line for line in text.splitlines() if line.startswith("id: ")) == f"id: {first}"


def test_devices(demo: Demo) -> None:
    """Whoever is logged in can log in on a device more, which is listed and can be ended; others can't."""
    assert demo.client.post("/api/devices").status_code == 401
    headers = {"Authorization": f"Bearer {demo.log_in()}"}
    for _ in range(len(DEVICES) + 1):
        demo.clock.turn(1)
        assert demo.client.post("/api/devices", headers=headers).status_code == 204
    sessions = demo.client.get("/auth/sessions", headers=headers).json()["sessions"]
    assert [one["client"]["user_agent"] for one in sessions[1:]] == [*DEVICES, DEVICES[0]]
    assert demo.client.delete(f"/auth/sessions/{sessions[1]['sid']}", headers=headers).status_code == 204
    assert len(demo.client.get("/auth/sessions", headers=headers).json()["sessions"]) == len(sessions) - 1


@pytest.mark.parametrize(
    "host", ["attacker.example", "attacker.example:8000", "127.0.0.1.attacker.example", "[::1]", ""]
)
@pytest.mark.parametrize("path", ["/", "/demo/about", "/demo/events", "/auth/login", "/api/me"])
def test_rebinding(demo: Demo, host: str, path: str) -> None:
    """A name that an attacker lets point to this machine is no name of the demo's, and gets nothing."""
    assert demo.client.get(path, headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "LOCALHOST"])
def test_own_names(demo: Demo, host: str) -> None:
    """The demo answers to this machine's names, on any port."""
    assert demo.client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/demo/about"),
        ("GET", "/demo/events"),
        ("POST", "/auth/demo/steal"),
        ("POST", "/auth/demo/replay"),
        ("POST", "/auth/demo/lose"),
        ("POST", "/auth/refresh"),
    ],
)
def test_other_sites(demo: Demo, method: str, path: str) -> None:
    """Another site's page gets no answer that is the demo's own page's, and no cookie is used for it."""
    demo.log_in()
    answer = demo.client.request(method, path, headers=FOREIGN)
    assert (answer.status_code, answer.json()["error"]) == (403, "cross_site")
    assert demo.feed.newest <= 2  # the login, and a refusal of AuthApp's own


@pytest.mark.parametrize("path", ["/auth/demo/steal", "/auth/demo/replay", "/auth/demo/lose"])
def test_without_a_cookie(demo: Demo, path: str) -> None:
    """Nobody is robbed who is not logged in."""
    answer = demo.client.post(path)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_grant")
