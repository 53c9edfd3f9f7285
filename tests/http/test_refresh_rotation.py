"""The rotation table through HTTP, on every store: two workers answer in turn, and their clocks are turned."""

from typing import NamedTuple

import pytest
from support.app import COOKIE, NOW, Answer, Service, WatchedStore, every_store, payload
from support.tables import tables_of

from asgi_jwt.stores.records import SessionKey

pytestmark = pytest.mark.anyio

GRACE = 30
DAY = 24 * 3600


class Step(NamedTuple):
    """After `wait` seconds the token named `shown` gets the verdict, with so many writes; its successor is `given`."""

    wait: float
    shown: str
    verdict: str
    writes: int
    given: str = ""


def steps_of(story: str) -> list[Step]:
    rows = [row.split() for row in story.split(";")]
    return [Step(float(wait), shown, verdict, int(writes), *given) for wait, shown, verdict, writes, *given in rows]


# Each step: seconds to wait, the token shown, the verdict, the writes, and a name for the token that is handed out.
ROTATES = "0 first ROTATED 1 second; "
OVER = "; 0 second INVALID 0; 0 first INVALID 0"
STORIES = tables_of(__file__)["stories"]


def token_of(answer: Answer, transport: str) -> str | None:
    """The refresh token of an answer; None where the cookie stays as it is."""
    if transport == "body":
        return str(answer.json()["refresh_token"])
    return answer.cookie() if answer.set_cookies else None


def check(answer: Answer, step: Step, transport: str, shown: str) -> str:
    """An answer is what its verdict asks for; the token that the client holds then."""
    if step.verdict in ("REUSED", "INVALID"):
        assert answer.error == (401 if transport == "cookie" else 400, "invalid_grant")
        assert not answer.set_cookies if transport == "body" else answer.cookie() == ""
        return shown
    assert answer.status == 200
    members = {"access_token", "token_type", "expires_in", "scope"}
    assert answer.json().keys() == members | ({"refresh_token"} if transport == "body" else set())
    token = token_of(answer, transport)
    if step.verdict == "SAME":
        assert token == (shown if transport == "body" else None)
        return shown
    assert token is not None
    before, after = payload(shown), payload(token)
    assert (after["sid"], after["sub"], after["gen"]) == (before["sid"], before["sub"], before["gen"] + 1)
    assert (after["br"] != before["br"], after["jti"] != before["jti"]) == (True, True)
    return token


@every_store
@pytest.mark.parametrize("transport", ["cookie", "body"])
@pytest.mark.parametrize("story", STORIES)
async def test_each_verdict(store: WatchedStore, story: str, transport: str) -> None:
    """P12: Each verdict has its answer and its one write or none, on either transport, whichever worker answers."""
    settings, steps = STORIES[story]
    workers = [Service(store, settings=settings) for _ in range(2)]
    tokens = {"first": (await workers[0].login()).cookie()}
    for number, step in enumerate(steps_of(steps)):
        for each in workers:
            each.clock.turn(step.wait)
        worker, shown, writes = workers[number % 2], tokens[step.shown], store.writes
        answer = await (worker.refresh(shown) if transport == "cookie" else worker.token(shown))
        assert (worker.verdicts[-1], store.writes - writes) == (step.verdict, step.writes), step
        held = check(answer, step, transport, shown)
        assert held not in tokens.values() or not step.given
        tokens[step.given or step.shown] = held


@every_store
async def test_healed(service: Service) -> None:
    """P22: A token ahead of a store that lost writes in a failover stays, and the session catches up. A request of
    another tab that is on its way then, with any branch of the generation before, is no theft."""
    first = (await service.login()).cookie()
    before = await service.kept(first)
    second = (await service.refresh(first)).cookie()
    service.clock.turn(2 * GRACE)
    third = (await service.refresh(second)).cookie()
    await service.store.inner.update(before.key, lambda _: (before, None))
    answer = await service.refresh(third)
    assert (answer.status, answer.set_cookies) == (200, [])
    await service.refresh(second)
    service.clock.turn(2 * GRACE)
    await service.refresh(third)
    assert service.verdicts == ["ROTATED", "ROTATED", "HEALED", "REPLAYED", "ROTATED"]


@every_store
async def test_a_session_that_is_over_stays_over(service: Service) -> None:
    """A session that the store has lost, and one that has ended, are refused without a write, whatever token is shown
    and however the clock is turned."""
    lost = (await service.login()).cookie()
    await service.store.inner.update(SessionKey("alice", payload(lost)["sid"]), lambda _: (None, None))
    tokens = [lost, (await service.login()).cookie()]
    tokens.append((await service.refresh(tokens[-1])).cookie())
    service.clock.turn(2 * GRACE)
    tokens.append((await service.refresh(tokens[-1])).cookie())
    await service.post("/logout", None, ("cookie", f"{COOKIE}={tokens[-1]}"))
    service.store.writes = 0
    for seconds in (0, -2, -DAY, DAY, 6 * DAY):
        service.clock.turn(seconds)
        for token in tokens:
            answer = await service.refresh(token)
            assert (answer.error, answer.cookie()) == ((401, "invalid_grant"), "")
    assert (service.store.writes, set(service.verdicts[2:])) == (0, {"INVALID"})


@every_store
async def test_idle_expiry(store: WatchedStore) -> None:
    """Each rotation moves the idle expiry, never past the absolute one, which nothing moves; then it is over."""
    service = Service(store, settings={"refresh_ttl": "2d", "session_ttl": "5d"})
    token = (await service.login()).cookie()
    for day, expires in ((1.5, 3.5), (3, 5), (4.5, 5)):
        service.clock.now = NOW + day * DAY
        answer = await service.refresh(token)
        token = answer.cookie()
        kept = await service.kept(token)
        assert (kept.expires_at, kept.ends_at) == (1000 * (NOW + expires * DAY), 1000 * (NOW + 5 * DAY))
        assert payload(token)["exp"] * 1000 == kept.expires_at
        assert f"Max-Age={int((expires - day) * DAY)};" in answer.set_cookies[0]
    service.clock.now = NOW + 5 * DAY
    assert (await service.refresh(token)).status == 401


@every_store
@pytest.mark.parametrize("skew", [2, -2])
async def test_clocks_apart(service: Service, skew: int) -> None:
    """Workers whose clocks are 2 s apart agree: the honest stay, whoever answers, and a thief goes."""
    other = Service(service.store, events=service.events)
    other.clock.turn(skew)
    tokens = {"first": (await service.login()).cookie()}
    for wait, worker, shown, given in (
        (0, other, "first", "second"),
        (0, service, "first", "replayed"),
        (0, other, "second", ""),
        (2 * GRACE + 2, service, "second", "third"),
        (0, other, "second", "sibling"),
        (0, service, "sibling", ""),
        (2 * GRACE + 2, other, "third", "fourth"),
        (0, service, "sibling", "nothing"),
    ):
        service.clock.turn(wait)
        other.clock.turn(wait)
        answer = await worker.refresh(tokens[shown])
        if given:
            tokens[given] = answer.cookie()
    expected = ["ROTATED", "REPLAYED", "SAME", "ROTATED", "REPLAYED", "SAME", "ROTATED", "REUSED"]
    assert (service.verdicts, tokens["nothing"]) == (expected, "")
