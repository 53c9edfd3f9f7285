"""What the Redis store keeps for one event loop."""

import asyncio
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from asgi_jwt.stores.records import SessionKey
from asgi_jwt.stores.redis.pipeline import Pipeline


@dataclass(eq=False)
class Link:
    """The pipelines of one event loop. `log` carries the log of revocations, past all that waits for `sessions`."""

    sessions: Pipeline
    log: Pipeline
    locks: WeakValueDictionary[SessionKey, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    async def aclose(self) -> None:
        for pipeline in (self.sessions, self.log):
            await pipeline.aclose()
