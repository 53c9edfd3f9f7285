"""The connections of the Redis store for one event loop."""

import asyncio
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from asgi_jwt.stores.records import SessionKey
from asgi_jwt.stores.redis.pipeline import Pipeline


@dataclass(eq=False)
class Link:
    """The pipelines of one event loop. The log has a pipeline of its own, so it never waits for sessions' traffic.

    `locks` lets one update of a session run at a time.
    """

    sessions: Pipeline
    log: Pipeline
    locks: WeakValueDictionary[SessionKey, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    async def aclose(self) -> None:
        for pipeline in (self.sessions, self.log):
            await pipeline.aclose()
