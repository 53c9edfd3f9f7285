"""What goes wrong in the demo when it is asked to."""

import anyio
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from support.app import exchange, http_scope
from support.demo import COOKIE, GRACE, Demo

from asgi_jwt.demo import faults


def verdict(demo: Demo) -> str:
    told: str = demo.client.post("/auth/demo/replay").json()["verdict"]
    return told


def refresh(demo: Demo) -> int:
    return demo.client.post("/auth/refresh").status_code


def test_theft_ends_the_session(demo: Demo) -> None:
    """Stolen, rotated and shown again, then replayed after the grace: the session is over for thief and owner."""
    demo.log_in()
    assert demo.client.post("/auth/demo/steal").json() == {"generation": 0}
    assert refresh(demo) == refresh(demo) == 200
    demo.clock.turn(GRACE)
    assert verdict(demo) == "REUSED"
    assert refresh(demo) == 401


def test_a_thief_who_keeps_step_is_found_out(demo: Demo) -> None:
    """One who is let in goes on with what he was given, until the owner's refreshes give him away."""
    demo.log_in()
    demo.client.post("/auth/demo/steal")
    assert verdict(demo) == "ROTATED"
    assert refresh(demo) == 200  # within the grace: the owner is on a branch of his own
    demo.clock.turn(2 * GRACE)
    assert refresh(demo) == 200  # whose rotation leaves the thief's token behind
    demo.clock.turn(GRACE)
    assert verdict(demo) == "REUSED"


def test_a_copy_is_used_once(demo: Demo) -> None:
    """What was refused is thrown away, and without a copy there is nothing to replay."""
    demo.log_in()
    assert demo.client.post("/auth/demo/replay").status_code == 409
    demo.client.post("/auth/demo/steal")
    headers = {"Authorization": f"Bearer {demo.log_in()}"}
    demo.client.post("/auth/demo/steal")
    token = demo.client.cookies[COOKIE]
    demo.client.post("/auth/logout", headers=headers)
    demo.client.cookies.clear()
    demo.client.cookies.set(COOKIE, token)
    assert verdict(demo) == "INVALID"
    assert demo.client.post("/auth/demo/replay").status_code == 409


def test_each_session_robs_itself(demo: Demo) -> None:
    """A copy is of the session that asked for it, and no other one can have it replayed."""
    demo.log_in()
    demo.client.post("/auth/demo/steal")
    demo.client.cookies.clear()
    demo.log_in("bob")
    assert demo.client.post("/auth/demo/replay").status_code == 409


def test_a_forged_cookie(demo: Demo) -> None:
    """A cookie that was not issued here is copied for nobody."""
    for forged in ("nonsense", "\u00e4", demo.log_in()):
        demo.client.cookies.clear()
        answer = demo.client.post("/auth/demo/steal", headers=[(b"Cookie", f"{COOKIE}={forged}".encode())])
        assert answer.status_code == 401


def test_copies_are_bounded(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thief forgets the oldest copies."""
    monkeypatch.setattr(faults, "MOST_COPIES", 1)
    demo.log_in()
    demo.client.post("/auth/demo/steal")
    alice = demo.client.cookies[COOKIE]
    demo.client.cookies.clear()
    demo.log_in("bob")
    demo.client.post("/auth/demo/steal")
    assert verdict(demo) == "ROTATED"
    demo.client.cookies.clear()
    demo.client.cookies.set(COOKIE, alice)
    assert demo.client.post("/auth/demo/replay").status_code == 409


def test_a_lost_answer(demo: Demo) -> None:
    """A lost answer leaves the old cookie, which is taken again however late, and no token reaches the browser."""
    demo.log_in()
    kept = demo.client.cookies[COOKIE]
    answer = demo.client.post("/auth/demo/lose")
    assert (answer.status_code, answer.content) == (204, b"")
    assert demo.client.cookies[COOKIE] == kept
    demo.clock.turn(100 * GRACE)
    assert refresh(demo) == 200
    demo.feed.close()
    told = demo.client.get("/demo/events").text
    assert '"actor": "lost", "verdict": "ROTATED"' in told
    assert '"actor": null, "verdict": "RECOVERED"' in told


def test_who_did_it(demo: Demo) -> None:
    """The events of a replay are told of as the thief's."""
    demo.log_in()
    demo.client.post("/auth/demo/steal")
    verdict(demo)
    refresh(demo)
    demo.feed.close()
    told = demo.client.get("/demo/events").text
    assert '"actor": "thief", "verdict": "ROTATED"' in told
    assert '"actor": null, "verdict": "REPLAYED"' in told


@pytest.mark.anyio
@pytest.mark.parametrize("slow", [True, False])
async def test_a_slow_network(monkeypatch: pytest.MonkeyPatch, slow: bool) -> None:
    """An answer is held back when its request asks for it, and only then; what was asked for is done by then."""
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.append("done")
        await PlainTextResponse("answer")(scope, receive, send)

    async def sleep(seconds: float) -> None:
        told.append(f"slept {seconds}")
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(faults, "sleep", sleep)
    headers = {"demo-slow": "1"} if slow else {}
    answer = await exchange(faults.SlowNetwork(app), http_scope(headers=headers))
    assert answer.body == b"answer"
    assert told == ["done", *[f"slept {faults.DELAY}"] * slow]
