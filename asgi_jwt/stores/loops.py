"""What a store whose driver needs asyncio keeps for each event loop, closed with the loop at the latest."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from asgi_jwt.errors import StoreUnavailable


class Closable(Protocol):
    """Anything with connections."""

    async def aclose(self) -> None:
        """Close the connections."""
        ...


L = TypeVar("L", bound=Closable)


class Deadline:
    """What takes more than `limit` seconds within it is unavailable; a TimeoutError of other making passes."""

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


class Links(Generic[L]):
    """A link for each event loop that asks, made by `make`."""

    def __init__(self, make: Callable[[], L]) -> None:
        self._make = make
        self._links: dict[asyncio.AbstractEventLoop, tuple[L, AsyncGenerator[None, None]]] = {}

    async def get(self, loop: asyncio.AbstractEventLoop) -> L:
        """The link of `loop`."""
        if loop not in self._links:
            link = self._make()
            guard = self._until_the_end(loop, link)
            self._links[loop] = link, guard
            await anext(guard)
        return self._links[loop][0]

    async def close(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Close the link of `loop`, if it has one."""
        if loop in self._links:
            await self._links[loop][1].aclose()

    async def _until_the_end(self, loop: asyncio.AbstractEventLoop, link: L) -> AsyncGenerator[None, None]:
        """A loop that ends closes its asynchronous generators: so no connection outlives its loop, aclose or not."""
        try:
            yield
        finally:
            del self._links[loop]
            await link.aclose()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of asyncio that runs here; None under trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
