"""The demo's events as its page reads them: a stream of server-sent events (WHATWG HTML, section 9.2)."""

import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from typing import NamedTuple

import anyio

from asgi_jwt.errors import InvalidGrant
from asgi_jwt.events import Event, TokenRefused

KEPT = 200

_actor: ContextVar[str | None] = ContextVar("actor", default=None)


class Told(NamedTuple):
    """An event, numbered from 1, as its readers get it."""

    number: int
    frame: str


class Feed:
    """Keeps the newest events for whoever reads along. Give it to `Auth` as `on_event`.

    `newest` is the number of the last. Nobody is waited for: a reader that falls behind misses what is no longer kept.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: deque[Told] = deque(maxlen=KEPT)
        self.newest = 0
        self._news = anyio.Event()
        self._closed = False

    def __call__(self, event: Event) -> None:
        if not self.newest and isinstance(event, TokenRefused) and event.reason == InvalidGrant.reason:
            return  # the browser's cookie is of an earlier demo: nobody has done anything in this one
        self.newest += 1
        told = {"id": self.newest, "at": self._clock(), "name": event.name, "actor": _actor.get(), **asdict(event)}
        self._kept.append(Told(self.newest, f"id: {self.newest}\ndata: {json.dumps(told)}\n\n"))
        self._wake()

    @contextmanager
    def acting(self, actor: str) -> Iterator[None]:
        """Events of this context are told of as `actor`'s doing."""
        token = _actor.set(actor)
        try:
            yield
        finally:
            _actor.reset(token)

    async def read(self, after: int) -> AsyncIterator[str]:
        """What is kept of the events behind number `after`, then each as it happens, until the feed is closed."""
        # A page that was left open counts on from an earlier demo's events.
        seen = after if after <= self.newest else 0
        yield "retry: 1000\n\n"
        while True:
            fresh = [told for told in self._kept if told.number > seen]
            for told in fresh:
                seen = told.number
                yield told.frame
            if not fresh:
                if self._closed:
                    return
                await self._news.wait()

    def close(self) -> None:
        """End every reader's stream: a server that waits for its open answers would wait for ever."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()
