"""A remote issuer's keys, with a clock to turn."""

from typing import Any

from anyio import wait_all_tasks_blocked
from forgeries import NOW
from issuer_server import IssuerServer

from asgi_jwt.errors import UnknownKey
from asgi_jwt.events import Event, EventSink
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.key_source import candidates
from asgi_jwt.tokens.remote_keys import RemoteKeySet

FRESH = 600
HOUR = 3600


class Remote:
    """A `RemoteKeySet` with a clock to turn, and the events it told."""

    def __init__(self, url: str | None = None, **settings: Any) -> None:
        self.clock = Clock(NOW)
        self.heard: list[Event] = []
        self.keys = RemoteKeySet(url, clock=self.clock, events=EventSink(self.heard.append), **settings)

    async def knows(self, kid: str = "a") -> bool:
        """Whether a key of that name is there to verify with."""
        try:
            return bool(await candidates(self.keys, kid, "ES256"))
        except UnknownKey:
            return False


async def settled(remote: Remote, server: IssuerServer, requests: int, *, fetches: int | None = None) -> None:
    """Until the fetch that goes on behind the requests is over: the last of so many, with so many requests for keys."""
    while server.count() < requests:
        await server.request()
    while remote.keys._flight.under_way:
        await remote.keys._flight.wait()
    await wait_all_tasks_blocked()
    assert (server.count(), remote.keys.fetches) == (requests, requests if fetches is None else fetches)
