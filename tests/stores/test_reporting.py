"""A store whose failures become events."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from support.app import WatchedStore
from support.stores import using

from asgi_jwt import MemoryStore
from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.events import Event, EventSink, StoreFailed
from asgi_jwt.stores.base import SessionStore
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Revocation, Session, SessionKey
from asgi_jwt.stores.reporting import ReportingStore
from asgi_jwt.testing import StoreConformance

pytestmark = pytest.mark.anyio

KEY = SessionKey("alice", "s1")
REVOCATION = Revocation("sid", "https://issuer.example", "s1", Millis(50))
SESSION = Session(
    sid="s1", subject="alice", created_at=Millis(1), used_at=Millis(2), expires_at=Millis(30), ends_at=Millis(40)
)

CALLS: dict[str, Callable[[SessionStore], Awaitable[object]]] = {
    "get": lambda store: store.get(KEY),
    "update": lambda store: store.update(KEY, lambda stored: (SESSION, "done")),
    "list": lambda store: store.list("alice", Millis(5)),
    "sweep": lambda store: store.sweep(Millis(5)),
    "append_revocations": lambda store: store.append_revocations([REVOCATION], Millis(5)),
}


class TestReportingStore(StoreConformance):
    """It keeps the contract of the store within."""

    def open_store(self) -> AbstractAsyncContextManager[SessionStore]:
        return using(ReportingStore(MemoryStore(), EventSink()))


@pytest.mark.parametrize("operation", CALLS)
async def test_each_failure_is_told_once(operation: str) -> None:
    """A call that fails is told of by its name, once, and fails all the same; one that doesn't is not."""
    heard: list[Event] = []
    inner = WatchedStore(MemoryStore())
    store = ReportingStore(inner, EventSink(heard.append))
    await CALLS[operation](store)
    assert heard == []
    inner.down = {operation}
    for count in (1, 2):
        with pytest.raises(StoreUnavailable):
            await CALLS[operation](store)
        assert heard == count * [StoreFailed(operation, "the store is down")]


async def test_a_read_of_the_log_is_told_by_who_keeps_a_copy() -> None:
    """It is nobody's request, and comes again and again during an outage."""
    heard: list[Event] = []
    inner = WatchedStore(MemoryStore())
    inner.down = {"read_revocations"}
    with pytest.raises(StoreUnavailable):
        await ReportingStore(inner, EventSink(heard.append)).read_revocations()
    assert heard == []


@pytest.mark.parametrize(("detail", "told"), [(None, ""), ("x" * 1000, "x" * 200)])
async def test_what_is_told_is_bounded(detail: str | None, told: str) -> None:
    """A store of the host's own may say nothing, or very much."""
    heard: list[Event] = []

    class Down(MemoryStore):
        async def get(self, key: SessionKey) -> Session | None:
            raise StoreUnavailable(detail)

    with pytest.raises(StoreUnavailable):
        await ReportingStore(Down(), EventSink(heard.append)).get(KEY)
    assert heard == [StoreFailed("get", told)]


async def test_what_a_change_raises_is_no_failure_of_the_stores() -> None:
    """A mistake in the change passes as it is, and nobody hears of it."""
    heard: list[Event] = []

    def mistaken(stored: Session | None) -> tuple[Session | None, None]:
        raise LookupError

    with pytest.raises(LookupError):
        await ReportingStore(MemoryStore(), EventSink(heard.append)).update(KEY, mistaken)
    assert heard == []
