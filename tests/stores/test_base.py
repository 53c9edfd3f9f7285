"""How a change becomes the next version, and what stores that sweep promise of it."""

from collections.abc import AsyncIterator

import anyio
import pytest
from support.stores import DAY, NOW, a_session, url_of, using, write

from asgi_jwt.stores.base import SWEEP_AFTER, SWEEP_LIMIT, SessionStore, next_version
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import SessionKey
from asgi_jwt.stores.urls import open_store

GONE = NOW + DAY + SWEEP_AFTER + 1
"""When a session opened at `NOW` may go."""


@pytest.mark.parametrize("key", [SessionKey("alice", "s2"), SessionKey("bob", "s1")])
def test_record_under_another_key(key: SessionKey) -> None:
    """A change that would file a record where nothing finds it is refused."""
    with pytest.raises(ValueError, match="must keep the subject and sid"):
        next_version(key, None, a_session())


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[SessionStore]:
    async with using(open_store(url_of(request.param, request))) as store:
        yield store


@pytest.mark.anyio
async def test_sweep_takes_a_bounded_number_a_call(store: SessionStore) -> None:
    """A sweep of many dead sessions takes its limit a call, no sooner than clocks differ, and says how many went."""
    async with anyio.create_task_group() as tasks:
        for n in range(SWEEP_LIMIT + 1):
            tasks.start_soon(write, store, a_session(f"s{n}"))
    assert [await store.sweep(now) for now in (GONE - 1, GONE, GONE, GONE)] == [0, SWEEP_LIMIT, 1, 0]
    assert await store.get(a_session("s0").key) is None


@pytest.mark.anyio
async def test_sweep_follows_an_end_that_moved(store: SessionStore) -> None:
    """A session whose end was moved on is swept at its new end; one that was deleted is not counted."""
    for sid in ("moved", "deleted"):
        await write(store, a_session(sid))
    moved, deleted = a_session("moved", life=2 * DAY), a_session("deleted")
    await write(store, moved)
    await store.update(deleted.key, lambda _: (None, None))
    assert [await store.sweep(now) for now in (GONE, GONE, GONE + DAY)] == [0, 0, 1]


@pytest.mark.anyio
async def test_one_dead_session_does_not_take_its_subject_along(store: SessionStore) -> None:
    """Sweeping a session leaves the others of its subject."""
    await write(store, a_session("short"))
    await write(store, a_session("long", life=2 * DAY))
    assert await store.sweep(GONE) == 1
    assert [session.sid for session in await store.list("alice", Millis(NOW))] == ["long"]
