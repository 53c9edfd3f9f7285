"""The demo's app and its page: for this machine's own page alone, and without a secret where it is shown."""

import json
import re
from contextlib import suppress
from html import unescape
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from support.demo import COOKIE, PASSWORDS, Demo, demo_in_process
from support.pages import README, ROOT
from support.proofs import Holder
from support.waiting import PATIENCE

from asgi_jwt.demo import faults, feed
from asgi_jwt.demo.app import DEVICES
from asgi_jwt.demo.flow import GRACE
from asgi_jwt.demo.page import FILES, HEADERS, TYPES
from asgi_jwt.events import SessionOpened, TokenRefused
from asgi_jwt.testing import Clock

FILE_PATHS = ["/", *(f"/demo/{path.name}" for path in FILES.iterdir() if path.suffix in {*TYPES} - {".html"})]
FAULTS = ["demo/steal", "demo/replay", "demo/lose"]
FOREIGN = {"Sec-Fetch-Site": "cross-site", "Origin": "https://elsewhere.example"}


def events_of(demo: Demo, asked: str = "", **headers: str) -> list[dict[str, Any]]:
    """The stream of events, to its end."""
    demo.feed.close()
    answer = demo.client.get(f"/demo/events{asked}", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize("host", ["attacker.example:8000", "127.0.0.1.attacker.example", "[::1]", ""])
@pytest.mark.parametrize("path", ["/", "/demo/about", "/demo/events", "/auth/login", "/api/me"])
def test_rebinding(demo: Demo, host: str, path: str) -> None:
    """A name that an attacker lets point to this machine is no name of the demo's, and gets nothing; the machine's own
    names are, on any port."""
    assert demo.client.get(path, headers={"Host": host}).status_code == 400
    for own in ("127.0.0.1", "localhost:8000", "LOCALHOST"):
        assert demo.client.get("/", headers={"Host": own}).status_code == 200


@pytest.mark.parametrize(
    "path", ["about", "events", "/auth/demo/steal", "/auth/demo/replay", "/auth/demo/lose", "/auth/refresh"]
)
def test_other_sites(demo: Demo, path: str) -> None:
    """Another site's page gets no answer that is the demo's own page's, and no cookie is used for it."""
    demo.log_in()
    method, path = ("POST", path) if path.startswith("/") else ("GET", f"/demo/{path}")
    answer = demo.client.request(method, path, headers=FOREIGN)
    assert (answer.status_code, answer.json()["error"]) == (403, "cross_site")
    assert demo.feed.newest <= 2  # the login, and a refusal of AuthApp's own


@pytest.mark.parametrize("path", [*FILE_PATHS, "/api/me", "/demo/nowhere", "/demo/../app.py", "/demo/app.py"])
def test_page(demo: Demo, path: str) -> None:
    """The page's files are served as what they are, without a token, and nothing else is; every answer bears the
    headers that keep the page to itself."""
    answer = demo.client.get(path)
    for name, value in HEADERS.items():
        assert answer.headers.get_list(name) == [value]
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    if path in FILE_PATHS:
        suffix = re.sub(r".*\.", ".", path) if path != "/" else ".html"
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(TYPES[suffix])
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", answer.text)
    else:
        assert answer.status_code in (401, 404)


def test_screenshot() -> None:
    """The picture of the page in the README is there, small, described, and no part of what is installed."""
    ((text, path),) = re.findall(r"!\[(.*)\]\((tests/demo/.*)\)", README.read_text(encoding="utf-8"))
    content = (ROOT / path).read_bytes()
    assert (len(text) > 20, content[:4], len(content) < 150_000) == (True, b"\x89PNG", True)


@pytest.mark.parametrize(
    ("username", "password"), [("alice", "builder"), ("alice", ""), ("mallory", "wonderland"), ("mallory", "")]
)
def test_login(demo: Demo, username: str, password: str) -> None:
    """Its users log in with their own passwords, and nobody else does; their tokens open the protected page."""
    refused = demo.client.post("/auth/login", json={"username": username, "password": password})
    assert refused.status_code == demo.client.get("/api/me").status_code == 401
    for user in PASSWORDS:
        answer = demo.client.get("/api/me", headers={"Authorization": f"Bearer {demo.log_in(user)}"})
        said = answer.json()
        assert (said["subject"], said["scopes"], said["expires_at"]) == (user, ["profile:read"], 1_060)
        assert (said["claims"]["sub"], answer.headers["cache-control"]) == (user, "no-store")


def test_about(demo: Demo) -> None:
    """The page is told the users, the times, and tokens that are refused as their names say; no good token."""
    demo.log_in()
    about = demo.client.get("/demo/about").json()
    reasons = {"expired": "token_expired", "tampered": "signature_invalid", "another service's": "audience_invalid"}
    assert [each["adjective"] for each in about["refused"]] == ["missing", *reasons]
    heard: list[Any] = []
    demo.auth.events.add_listener(heard.append)
    for each in about.pop("refused"):
        headers = {"Authorization": f"Bearer {each['token']}"} if each["token"] else {}
        assert demo.client.get("/api/me", headers=headers).status_code == 401
    assert heard == [TokenRefused(reason, 401, "http") for reason in ("token_missing", *reasons.values())]
    users = [{"name": name, "password": password} for name, password in PASSWORDS.items()]
    assert about == {"users": users, "grace": GRACE, "access_life": 60, "newest": 1}


def test_events(demo: Demo) -> None:
    """The stream tells of what happened, numbered, and holds no token, cookie or password."""
    secrets = [demo.log_in(), demo.client.cookies[COOKIE], *PASSWORDS.values()]
    demo.refresh()
    events = events_of(demo)
    assert [(event["id"], event["name"]) for event in events] == [(1, "session_opened"), (2, "refreshed")]
    assert events[1] | {"at": 1_000, "actor": None, "verdict": "ROTATED"} == events[1]
    assert not [secret for secret in secrets if secret in str(events)]


@pytest.mark.parametrize(
    ("asked", "last", "first"),
    [("", "", 2), ("?after=2", "", 3), ("?after=1", "2", 3), ("?after=-1", "", 2), ("?after=9", "", 2)],
)
def test_events_go_on(monkeypatch: pytest.MonkeyPatch, asked: str, last: str, first: int) -> None:
    """A stream goes on where its reader says that the last one broke off; the newest events alone are kept."""
    monkeypatch.setattr(feed, "KEPT", 2)
    with demo_in_process() as demo:
        for _ in range(3):
            demo.feed(SessionOpened())
        assert events_of(demo, asked, **{"Last-Event-ID": last} if last else {})[0]["id"] == first


@pytest.mark.anyio
async def test_events_as_they_happen() -> None:
    """A reader gets what was before it came, then each event when it happens, until the feed is closed."""
    stream, got = feed.Feed(Clock(1_000)), list[str]()
    stream(SessionOpened())

    async def read() -> None:
        got.extend([frame async for frame in stream.read(0)])

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            with suppress(ValueError), stream.acting("thief"):
                stream(SessionOpened())
                raise ValueError
            await anyio.wait_all_tasks_blocked()
            stream(SessionOpened())
            stream.close()
    assert got[0] == "retry: 1000\n\n"
    assert [json.loads(frame.split("data: ")[1])["actor"] for frame in got[1:]] == [None, "thief", None]


def test_devices(demo: Demo) -> None:
    """Whoever is logged in can log in on a device more, which is listed and can be ended; others can't."""
    assert demo.client.post("/api/devices").status_code == 401
    headers = {"Authorization": f"Bearer {demo.log_in()}"}
    for _ in range(len(DEVICES) + 1):
        demo.clock.turn(1)
        assert demo.client.post("/api/devices", headers=headers).status_code == 204
    sessions = demo.client.get("/auth/sessions", headers=headers).json()["sessions"]
    assert [one["client"]["user_agent"] for one in sessions[1:]] == [*DEVICES, DEVICES[0]]


def test_theft(demo: Demo) -> None:
    """A thief who goes on with the answers to a stolen token is found out, and the session ends for thief and owner;
    each session robs itself alone, a copy that was refused is thrown away, and the thief's events are the thief's."""
    demo.log_in()
    assert demo.replay() == "nothing stolen"
    assert demo.client.post("/auth/demo/steal").json() == {"generation": 0}
    alice = demo.client.cookies[COOKIE]
    demo.client.cookies.clear()
    demo.log_in("bob")
    assert demo.replay() == "nothing stolen"
    demo.become(alice)
    assert (demo.replay(), demo.refresh()) == ("ROTATED", 200)
    demo.clock.turn(2 * GRACE)
    assert demo.refresh() == 200
    demo.clock.turn(GRACE)
    assert (demo.replay(), demo.refresh()) == ("REUSED", 401)
    demo.become(alice)
    assert demo.replay() == "nothing stolen"
    actors = [(each["actor"], each["verdict"]) for each in events_of(demo) if each["name"] == "refreshed"]
    assert actors[:2] == [("thief", "ROTATED"), (None, "REPLAYED")]


def test_a_copy_of_a_session_that_is_over(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its replay is told as INVALID; the thief forgets the oldest copies; who is not logged in is not robbed."""
    monkeypatch.setattr(faults, "MAX_COPIES", 1)
    demo.log_in()
    alice = demo.client.cookies[COOKIE]
    demo.client.post("/auth/demo/steal")
    demo.client.post("/auth/logout")
    for path in FAULTS:
        answer = demo.client.post(f"/auth/{path}")
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_grant")
    demo.become(alice)
    assert demo.replay() == "INVALID"
    demo.client.post("/auth/demo/steal")
    demo.client.cookies.clear()
    demo.log_in("bob")
    demo.client.post("/auth/demo/steal")
    demo.become(alice)
    assert demo.replay() == "nothing stolen"


def test_a_session_that_is_bound_to_a_key(demo: Demo) -> None:
    """The thief's copy is refused as often as he comes, the session goes on, and a lost answer is as any other's."""
    holder = Holder(demo.clock)

    def ask(path: str, **body: str) -> int:
        proof = holder.proof(
            f"http://127.0.0.1:8000/auth/{path.removeprefix('demo/').replace('lose', 'refresh')}", "POST"
        )
        return demo.client.post(f"/auth/{path}", headers={"DPoP": proof}, json=body).status_code

    assert ask("login", username="alice", password=PASSWORDS["alice"]) == 200
    demo.client.post("/auth/demo/steal")
    for _ in range(2):
        demo.clock.turn(2 * GRACE)
        assert (ask("refresh"), demo.replay(), demo.refresh(), ask("demo/lose")) == (200, "NO_KEY", 400, 204)


def test_a_lost_answer(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost answer leaves the old cookie, which is taken again however late, and no token reaches the browser; a slow
    answer is held back when its request asks for it, and only then."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(faults, "sleep", sleep)
    demo.log_in()
    kept = demo.client.cookies[COOKIE]
    answer = demo.client.post("/auth/demo/lose")
    assert (answer.status_code, answer.content, demo.client.cookies[COOKIE]) == (204, b"", kept)
    demo.clock.turn(100 * GRACE)
    assert (demo.client.post("/auth/refresh", headers={"Demo-Slow": "1"}).status_code, slept) == (200, [faults.DELAY])
    told = [(each["actor"], each["verdict"]) for each in events_of(demo) if each["name"] == "refreshed"]
    assert told == [("lost", "ROTATED"), (None, "RECOVERED")]


def test_lines_to_add(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines that the page says to add to an app log its users in, once the variables of `keygen` are set."""
    (lines,) = re.findall(r'<pre id="lines"[^>]*>(.*?)</pre>', demo.client.get("/").text, re.DOTALL)
    for name in ("ISSUER", "AUDIENCE"):
        monkeypatch.setenv(f"ASGI_JWT_{name}", "https://issuer.example")
    for name in ("SECRET", "REFRESH_SECRET"):
        monkeypatch.setenv(f"ASGI_JWT_{name}", name * 8)
    monkeypatch.setenv("ASGI_JWT_STORE", "memory://")
    app = Starlette()
    users = {("alice", "wonderland"): SimpleNamespace(id=7)}
    exec(unescape(lines), {"app": app, "check": lambda *given: users.get(given)})  # noqa: S102
    client = TestClient(app)
    for password, status in (("guess", 401), ("wonderland", 200)):
        answer = client.post("/auth/login", json={"username": "alice", "password": password})
        assert answer.status_code == status
    assert client.get("/").status_code == 401
    assert len(lines.splitlines()) <= 10


def test_a_cookie_of_an_earlier_demo(demo: Demo) -> None:
    """With an earlier demo's cookie a page shows no refusal before anybody has done anything, and one later."""
    demo.become("of.an.earlier")
    assert (demo.refresh(), demo.feed.newest) == (401, 0)
    demo.log_in()
    seen = demo.feed.newest
    demo.become("of.an.earlier")
    assert (demo.refresh(), demo.feed.newest) == (401, seen + 1)
