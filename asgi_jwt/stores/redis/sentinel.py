"""The master of a service, followed as the Sentinels name it."""

import asyncio
from typing import Any

import anyio
import redis
from redis.asyncio.sentinel import SentinelConnectionPool

from asgi_jwt.tasks import SingleFlight

ASK_EVERY = 0.5
"""Seconds. An old master that a failover left behind takes writes for several seconds more, and they are lost."""

PATIENCE = 0.25
"""Seconds that commands wait for the Sentinels' answer. Without one they go to the master that was named last."""


class Master:
    """Asks the Sentinels behind `pool` for the master's address, `ASK_EVERY` at the most, while commands come."""

    def __init__(self, pool: SentinelConnectionPool) -> None:
        self._sentinels = pool.sentinel_manager.sentinels
        self._service = pool.service_name
        self._address: Any = None
        self._asked_at = float("-inf")
        self._flight = SingleFlight(self._ask)

    async def address(self, *, anew: bool = False) -> Any:
        """The address that the Sentinels gave last, for comparison; None before their first answer.

        `anew`: they are asked now.
        """
        now = asyncio.get_running_loop().time()
        if (anew or now - self._asked_at >= ASK_EVERY) and not self._flight.under_way:
            self._asked_at = now
            self._flight.start()
        if self._flight.under_way:
            with anyio.move_on_after(self._asked_at + PATIENCE - now):
                await self._flight.wait()
        return self._address

    async def _ask(self) -> None:
        for sentinel in [*self._sentinels]:
            try:
                address = await sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", self._service)
            except (redis.RedisError, OSError):
                continue
            if address:
                self._address = address
                return
