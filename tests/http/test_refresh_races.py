"""Refreshes that race, through HTTP, on every store."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import pytest
from support.app import Answer, Browser, Service, WatchedStore, every_store, payload

from asgi_jwt import Identity
from asgi_jwt.stores.records import Session

pytestmark = pytest.mark.anyio

AT_ONCE = 50
GRACE = 30


async def all_at_once(refreshes: list[Callable[[], Awaitable[Answer]]]) -> list[Answer]:
    answers: list[Answer] = []

    async def refresh(one: Callable[[], Awaitable[Answer]]) -> None:
        answers.append(await one())

    async with anyio.create_task_group() as tasks:
        for one in refreshes:
            tasks.start_soon(refresh, one)
    assert {answer.status for answer in answers} == {200}
    return answers


@every_store
@pytest.mark.parametrize("transport", ["cookie", "body"])
async def test_race(store: WatchedStore, transport: str) -> None:
    """Of 50 refreshes of one token, all of which read it before any writes, one rotates, with the one write;
    everyone gets a pair that is good for another refresh, of one generation.
    """
    arrived, everyone = 0, anyio.Event()

    async def load(subject: str, session: Session) -> Identity:
        nonlocal arrived
        arrived += 1
        if arrived == AT_ONCE:
            everyone.set()
        await everyone.wait()
        return Identity(subject)

    service = Service(store, load_identity=load)

    async def one(token: str) -> Answer:
        answer = await (service.refresh if transport == "cookie" else service.token)(token)
        everyone.set()  # one that is refused comes back first, and is not waited for
        return answer

    token = (await service.login()).cookie()
    await service.auth.revocations.current()
    store.writes = 0
    answers = await all_at_once([partial(one, token)] * AT_ONCE)
    assert sorted(service.verdicts) == ["REPLAYED"] * (AT_ONCE - 1) + ["ROTATED"]
    tokens = [each.cookie() if transport == "cookie" else each.json()["refresh_token"] for each in answers]
    assert (store.writes, {payload(each)["gen"] for each in tokens}) == (1, {1})
    assert len({payload(each)["br"] for each in tokens}) == AT_ONCE
    assert len({each.json()["access_token"] for each in answers}) == AT_ONCE
    await all_at_once([partial(one, each) for each in tokens])
    assert (service.verdicts[AT_ONCE:], store.writes) == (["SAME"] * AT_ONCE, 2)


@every_store
async def test_racing_tabs(service: Service) -> None:
    """P10: Tabs on one jar that refresh at once, again and again, are never logged out, and rotate once a round."""
    browser = Browser(service)
    await browser.login()
    for _ in range(3):
        await all_at_once([partial(browser.post, "/refresh")] * 5)
        service.clock.turn(2 * GRACE)
    assert service.verdicts.count("ROTATED") == 3
    assert set(service.verdicts) <= {"ROTATED", "REPLAYED", "SAME"}
