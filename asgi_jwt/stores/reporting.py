"""ReportingStore: emits an event for each failure of a store."""

from collections.abc import Awaitable, Sequence
from typing import Any

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.events import EventSink, StoreFailed
from asgi_jwt.stores.base import Change, LogPage, SessionStore, T
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Revocation, Session, SessionKey

_LONGEST_TEXT = 200
"""The most characters of a failure's text in an event. A store of the host's own may raise texts of any length."""


class ReportingStore:
    """Passes all calls on to `store`, and emits a `StoreFailed` for each call that raises `StoreUnavailable`."""

    def __init__(self, store: SessionStore, events: EventSink) -> None:
        self._store = store
        self._events = events

    async def get(self, key: SessionKey) -> Session | None:
        # Every refresh calls `get` and `update`, so these two don't call `_reporting`, which is one more coroutine.
        try:
            return await self._store.get(key)
        except StoreUnavailable as failure:
            await self._report("get", failure)
            raise

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        try:
            return await self._store.update(key, change)
        except StoreUnavailable as failure:
            await self._report("update", failure)
            raise

    async def list(self, subject: str, now: Millis) -> Sequence[Session]:
        return await self._reporting("list", self._store.list(subject, now))

    async def sweep(self, now: Millis) -> int:
        return await self._reporting("sweep", self._store.sweep(now))

    async def append_revocations(self, revocations: Sequence[Revocation], now: Millis) -> None:
        await self._reporting("append_revocations", self._store.append_revocations(revocations, now))

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        # The mirror itself emits one event for an outage, instead of one for each failed read.
        return await self._store.read_revocations(cursor)

    async def claim(self, digest: bytes, until: int) -> bool:
        """See `ProofStore`. `Auth` has checked that the store is one."""
        store: Any = self._store
        return bool(await self._reporting("claim", store.claim(digest, until)))

    async def aclose(self) -> None:
        await self._store.aclose()

    async def _reporting(self, operation: str, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except StoreUnavailable as failure:
            await self._report(operation, failure)
            raise

    async def _report(self, operation: str, failure: StoreUnavailable) -> None:
        await self._events.emit(StoreFailed(operation, (failure.detail or "")[:_LONGEST_TEXT]))
