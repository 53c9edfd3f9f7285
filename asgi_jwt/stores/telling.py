"""A store whose failures are told of."""

from collections.abc import Awaitable, Sequence
from typing import Any

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.events import EventSink, StoreFailed
from asgi_jwt.stores.base import Change, LogPage, SessionStore, T
from asgi_jwt.stores.records import Revocation, Session, SessionKey

_TOLD = 200
"""Characters of a failure's text: a store of the host's own may say anything."""


class TellingStore:
    """Passes all on to `store`, and tells `events` of each call that failed, whatever its caller makes of that."""

    def __init__(self, store: SessionStore, events: EventSink) -> None:
        self._store = store
        self._events = events

    async def get(self, key: SessionKey) -> Session | None:
        return await self._telling("get", self._store.get(key))

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        return await self._telling("update", self._store.update(key, change))

    async def list(self, subject: str, now: int) -> Sequence[Session]:
        return await self._telling("list", self._store.list(subject, now))

    async def sweep(self, now: int) -> int:
        return await self._telling("sweep", self._store.sweep(now))

    async def append_revocations(self, revocations: Sequence[Revocation], now: int) -> None:
        await self._telling("append_revocations", self._store.append_revocations(revocations, now))

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        # Nobody's request: the one who keeps the copy tells once of an outage.
        return await self._store.read_revocations(cursor)

    async def aclose(self) -> None:
        await self._store.aclose()

    async def _telling(self, operation: str, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except StoreUnavailable as failure:
            await self._events.emit(StoreFailed(operation, (failure.detail or "")[:_TOLD]))
            raise
