"""Feed: the demo's events as a stream of server-sent events, for its page (WHATWG HTML, section 9.2)."""

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


class Frame(NamedTuple):
    """An event in the form of the stream, and its number, counted from 1."""

    number: int
    text: str


class Feed:
    """Keeps the newest events for its readers. It is the `on_event` of the demo's `Auth`.

    `newest` is the number of the last event. A slow reader misses the events that are no longer kept.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: deque[Frame] = deque(maxlen=KEPT)
        self.newest = 0
        self._news = anyio.Event()
        self._closed = False

    def __call__(self, event: Event) -> None:
        if not self.newest and isinstance(event, TokenRefused) and event.reason == InvalidGrant.reason:
            return  # the browser's cookie is of an earlier demo: nobody has done anything in this one
        self.newest += 1
        fields = {"id": self.newest, "at": self._clock(), "name": event.name, "actor": _actor.get(), **asdict(event)}
        self._kept.append(Frame(self.newest, f"id: {self.newest}\ndata: {json.dumps(fields)}\n\n"))
        self._wake()

    @contextmanager
    def acting(self, actor: str) -> Iterator[None]:
        """Within the block, events have `actor` as the one who caused them."""
        token = _actor.set(actor)
        try:
            yield
        finally:
            _actor.reset(token)

    async def read(self, after: int) -> AsyncIterator[str]:
        """The kept events after the number `after`, then each new event, until the feed is closed."""
        # A page that was left open may know a number of an earlier demo's events.
        seen = after if after <= self.newest else 0
        yield "retry: 1000\n\n"
        while True:
            unread = [frame for frame in self._kept if frame.number > seen]
            for frame in unread:
                seen = frame.number
                yield frame.text
            if not unread:
                if self._closed:
                    return
                await self._news.wait()

    def close(self) -> None:
        """End the streams of all readers. Otherwise a server that waits for open answers would never end."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()
