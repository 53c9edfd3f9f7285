"""What a store keeps for each event loop of asyncio. It is closed when the loop ends, if not earlier."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from asgi_jwt.errors import StoreUnavailable


class Closable(Protocol):
    """The connections of a store for one event loop."""

    async def aclose(self) -> None: ...


LinkT = TypeVar("LinkT", bound=Closable)


class Deadline:
    """Raises StoreUnavailable if its block takes more than `limit` seconds. A TimeoutError of other origin passes."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._timeout = asyncio.timeout(limit)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, raised, trace)
        except TimeoutError:
            raise StoreUnavailable(f"no answer within {self._limit:g} s") from None


class Links(Generic[LinkT]):
    """One link for each event loop that uses the store. `make` makes a link."""

    def __init__(self, make: Callable[[], LinkT]) -> None:
        self._make = make
        self._links: dict[asyncio.AbstractEventLoop, tuple[LinkT, AsyncGenerator[None, None]]] = {}

    async def get(self, loop: asyncio.AbstractEventLoop) -> LinkT:
        if loop not in self._links:
            link = self._make()
            closer = self._close_at_end(loop, link)
            self._links[loop] = link, closer
            await anext(closer)
        return self._links[loop][0]

    async def close(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if loop in self._links:
            await self._links[loop][1].aclose()

    async def _close_at_end(self, loop: asyncio.AbstractEventLoop, link: LinkT) -> AsyncGenerator[None, None]:
        """Closes the link when the loop ends, because a loop then closes its asynchronous generators."""
        try:
            yield
        finally:
            del self._links[loop]
            await link.aclose()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The running event loop of asyncio. None: trio is running."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
