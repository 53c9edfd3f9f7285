"""The rotation table, each row, through HTTP, on every store: two workers on one store, and their clocks turned."""

import pytest
from support.app import COOKIE, Answer, Service, WatchedStore, every_store, payload

from asgi_jwt.sessions.rotation import Verdict
from asgi_jwt.stores.records import SessionKey

pytestmark = pytest.mark.anyio

GRACE = 30
RECOVERY = 24 * 3600
DAY = 24 * 3600


async def logged_in(service: Service) -> str:
    """The refresh token of a new session."""
    return (await service.login()).cookie()


async def rotated(service: Service, token: str) -> str:
    """The refresh token that follows."""
    answer = await service.refresh(token)
    assert service.verdicts[-1] == Verdict.ROTATED
    return answer.cookie()


def assert_pair(answer: Answer) -> None:
    assert answer.status == 200
    assert answer.json().keys() == {"access_token", "token_type", "expires_in", "scope"}


async def assert_over(service: Service, token: str) -> None:
    """The session of `token` is over, on either transport."""
    by_cookie, by_body = await service.refresh(token), await service.token(token)
    assert (by_cookie.status, by_cookie.json()["error"], by_cookie.cookie()) == (401, "invalid_grant", "")
    assert (by_body.status, by_body.json()["error"]) == (400, "invalid_grant")
    assert service.verdicts[-2:] == [Verdict.INVALID, Verdict.INVALID]


@every_store
async def test_rotated(service: Service) -> None:
    """The first refresh rotates: generation 1, a fresh branch, and one write."""
    first = await logged_in(service)
    service.store.writes = 0
    answer = await service.refresh(first)
    assert_pair(answer)
    before, after = payload(first), payload(answer.cookie())
    assert (before["gen"], after["gen"]) == (0, 1)
    assert (before["sid"], before["sub"]) == (after["sid"], after["sub"])
    assert before["br"] != after["br"]
    assert before["jti"] != after["jti"]
    assert (service.verdicts, service.store.writes) == (["ROTATED"], 1)


@every_store
async def test_same(service: Service) -> None:
    """For twice the grace a token of the current generation stays, with one write at its first showing."""
    token = await rotated(service, await logged_in(service))
    service.store.writes = 0
    for seconds in (0, GRACE, GRACE - 0.001):
        service.clock.turn(seconds)
        answer = await service.refresh(token)
        assert_pair(answer)
        assert answer.set_cookies == []
    assert (service.verdicts[1:], service.store.writes) == (["SAME"] * 3, 1)
    service.clock.turn(0.001)
    await rotated(service, token)


@every_store
async def test_same_on_the_body_transport(service: Service) -> None:
    """SAME echoes the refresh token: clients need one every time."""
    token = await rotated(service, await logged_in(service))
    answer = await service.token(token)
    assert (answer.status, answer.json()["refresh_token"], service.verdicts[-1]) == (200, token, "SAME")


@every_store
async def test_replayed(service: Service) -> None:
    """Within the grace the parent gets a sibling of the current generation, and nothing is written."""
    parent = await logged_in(service)
    child = await rotated(service, parent)
    service.store.writes = 0
    service.clock.turn(GRACE - 0.001)
    answer = await service.refresh(parent)
    assert_pair(answer)
    assert (service.verdicts[-1], service.store.writes) == ("REPLAYED", 0)
    sibling = answer.cookie()
    assert payload(sibling)["gen"] == payload(child)["gen"] == 1
    assert payload(sibling)["br"] != payload(child)["br"]
    assert [(await service.refresh(token)).status for token in (child, sibling)] == [200, 200]


@every_store
async def test_recovered(service: Service) -> None:
    """A parent whose child nobody has shown is answered long after the grace: the child never arrived."""
    parent = await logged_in(service)
    await rotated(service, parent)
    service.clock.turn(RECOVERY - 0.001)
    answer = await service.refresh(parent)
    assert_pair(answer)
    assert service.verdicts[-1] == "RECOVERED"
    assert (await service.refresh(answer.cookie())).status == 200


@every_store
async def test_recovery_ends(service: Service) -> None:
    """Past the time of recovery the parent ends the session."""
    parent = await logged_in(service)
    child = await rotated(service, parent)
    service.clock.turn(RECOVERY)
    assert (await service.refresh(parent)).status == 401
    assert service.verdicts[-1] == "REUSED"
    await assert_over(service, child)


@every_store
async def test_reused_parent(service: Service) -> None:
    """A parent past the grace whose child was shown is theft: the session ends, on every worker."""
    other = Service(service.store, service.clock)
    parent = await logged_in(service)
    child = await rotated(service, parent)
    await service.refresh(child)
    service.clock.turn(GRACE)
    answer = await service.refresh(parent)
    assert (answer.status, answer.json()["error"], answer.cookie()) == (401, "invalid_grant", "")
    assert service.verdicts[-1] == "REUSED"
    for worker in (service, other):
        for token in (parent, child):
            await assert_over(worker, token)


@every_store
async def test_reused_grandparent(service: Service) -> None:
    """A token two generations old is theft at once."""
    grandparent = await logged_in(service)
    parent = await rotated(service, grandparent)
    service.clock.turn(2 * GRACE)
    child = await rotated(service, parent)
    assert (await service.token(grandparent)).status == 400
    assert service.verdicts[-1] == "REUSED"
    await assert_over(service, child)


@every_store
async def test_reused_sibling(service: Service) -> None:
    """Of two holders one is a sibling of the branch that rotated, and ends the session by showing it."""
    first = await logged_in(service)
    mine = await rotated(service, first)
    his = (await service.refresh(first)).cookie()
    service.clock.turn(2 * GRACE)
    mine = await rotated(service, mine)
    assert (await service.refresh(his)).status == 401
    assert service.verdicts[-1] == "REUSED"
    await assert_over(service, mine)


@every_store
async def test_healed(service: Service) -> None:
    """A token ahead of a store that lost writes in a failover stays, and the session catches up. A request of another
    tab that is on its way then, with any branch of the generation before, is no theft."""
    first = await logged_in(service)
    before = await service.session(first)
    second = await rotated(service, first)
    service.clock.turn(2 * GRACE)
    third = await rotated(service, second)
    assert before is not None
    await service.store.inner.update(before.key, lambda _: (before, None))
    answer = await service.refresh(third)
    assert (answer.status, answer.set_cookies, service.verdicts[-1]) == (200, [], "HEALED")
    assert (await service.refresh(second)).status == 200
    assert service.verdicts[-1] == "REPLAYED"
    service.clock.turn(2 * GRACE)
    await rotated(service, third)


@every_store
async def test_unknown_session(service: Service) -> None:
    """A session that the store has lost is a clean refusal, and showing its token writes nothing."""
    token = await logged_in(service)
    said = payload(token)
    await service.store.inner.update(SessionKey(said["sub"], said["sid"]), lambda _: (None, None))
    service.store.writes = 0
    await assert_over(service, token)
    assert service.store.writes == 0


@every_store
async def test_nothing_rearms_an_ended_session(service: Service) -> None:
    """Neither its newest token, nor one ahead of it, nor a turned clock brings an ended session back."""
    first = await logged_in(service)
    tokens = [first, await rotated(service, first)]
    service.clock.turn(2 * GRACE)
    tokens.append(await rotated(service, tokens[-1]))
    await service.post("/logout", None, ("cookie", f"{COOKIE}={tokens[-1]}"))
    service.store.writes = 0
    for seconds in (0, -2, -DAY, DAY, 6 * DAY):
        service.clock.turn(seconds)
        for token in tokens:
            answer = await service.refresh(token)
            assert answer.status == 401
    assert (service.store.writes, set(service.verdicts[2:])) == (0, {"INVALID"})


@every_store
async def test_strict(store: WatchedStore) -> None:
    """`GRACE=0` is strict one-time use: every refresh rotates, and every second showing ends the session."""
    service = Service(store, settings={"grace": 0})
    first = await logged_in(service)
    second = await rotated(service, first)
    third = await rotated(service, second)
    assert (await service.refresh(second)).status == 401
    assert service.verdicts == ["ROTATED", "ROTATED", "REUSED"]
    await assert_over(service, third)


@every_store
async def test_strict_has_no_recovery(store: WatchedStore) -> None:
    """`GRACE=0` switches RECOVERED off too, whatever `RECOVERY` says."""
    service = Service(store, settings={"grace": 0, "recovery": "24h"})
    first = await logged_in(service)
    await rotated(service, first)
    assert (await service.refresh(first)).status == 401
    assert service.verdicts == ["ROTATED", "REUSED"]


@every_store
async def test_no_recovery(store: WatchedStore) -> None:
    """`RECOVERY=0` leaves the grace, and ends the session for a parent behind it."""
    service = Service(store, settings={"recovery": 0})
    first = await logged_in(service)
    await rotated(service, first)
    service.clock.turn(GRACE - 1)
    assert (await service.refresh(first)).status == 200
    service.clock.turn(1)
    assert (await service.refresh(first)).status == 401
    assert service.verdicts == ["ROTATED", "REPLAYED", "REUSED"]


@every_store
async def test_idle_expiry(store: WatchedStore) -> None:
    """Each rotation moves the idle expiry, never past the absolute one, which nothing moves; then it is over."""
    service = Service(store, settings={"refresh_ttl": "2d", "session_ttl": "5d"})
    token = await logged_in(service)
    opened = await service.session(token)
    assert opened is not None
    start = opened.created_at
    for day, expires in ((1.5, 3.5), (3, 5), (4.5, 5)):
        service.clock.now = start / 1000 + day * DAY
        answer = await service.refresh(token)
        token = answer.cookie()
        kept = await service.session(token)
        assert kept is not None
        assert (kept.expires_at - start, kept.ends_at - start) == (expires * DAY * 1000, 5 * DAY * 1000)
        assert payload(token)["exp"] * 1000 == kept.expires_at
        assert f"Max-Age={int((expires - day) * DAY)};" in answer.set_cookies[0]
    service.clock.now = start / 1000 + 5 * DAY
    await assert_over(service, token)


@every_store
async def test_idle(store: WatchedStore) -> None:
    """A session that nobody refreshed in `REFRESH_TTL` is over, to the millisecond."""
    service = Service(store, settings={"refresh_ttl": "2d"})
    kept, lost = await logged_in(service), await logged_in(service)
    service.clock.turn(2 * DAY - 0.001)
    await rotated(service, kept)
    service.clock.turn(0.001)
    await assert_over(service, lost)


@every_store
@pytest.mark.parametrize("skew", [2, -2])
async def test_clocks_apart(service: Service, skew: int) -> None:
    """Workers whose clocks are 2 s apart agree: the honest stay, whoever answers, and a thief goes."""
    other = Service(service.store)
    other.clock.now = service.clock.now + skew

    def turn(seconds: float) -> None:
        service.clock.turn(seconds)
        other.clock.turn(seconds)

    first = await logged_in(service)
    second = await rotated(other, first)
    assert (await service.refresh(first)).status == 200
    assert (await other.refresh(second)).status == 200
    turn(2 * GRACE + 2)
    third = await rotated(service, second)
    sibling = (await other.refresh(second)).cookie()
    assert other.verdicts[-1] == "REPLAYED"
    assert (await service.refresh(sibling)).status == 200
    turn(2 * GRACE + 2)
    await rotated(other, third)
    assert (await service.refresh(sibling)).status == 401
    assert service.verdicts[-1] == "REUSED"
