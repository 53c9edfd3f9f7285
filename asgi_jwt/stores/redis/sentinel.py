"""Master: follows the address of a service's master, as the Sentinels name it."""

import asyncio
from typing import Any

import anyio
import redis
from redis.asyncio.sentinel import SentinelConnectionPool

from asgi_jwt.tasks import SingleFlight

ASK_INTERVAL = 0.5
"""How often (s) the Sentinels are asked. After a failover the old master still takes writes, and they are lost."""

ANSWER_WAIT = 0.25
"""How long (s) a command waits for the Sentinels. Without their answer it goes to the master that they named last."""


class Master:
    """Asks the Sentinels of `pool` for the master's address. Commands start a question, once in `ASK_INTERVAL`."""

    def __init__(self, pool: SentinelConnectionPool) -> None:
        self._sentinels = pool.sentinel_manager.sentinels
        self._service = pool.service_name
        self._address: Any = None
        self._asked_at = float("-inf")
        self._flight = SingleFlight(self._ask)

    async def address(self, *, anew: bool = False) -> Any:
        """The address that the Sentinels named last. None: they have not answered yet. `anew`: ask them now."""
        now = asyncio.get_running_loop().time()
        if (anew or now - self._asked_at >= ASK_INTERVAL) and not self._flight.under_way:
            self._asked_at = now
            self._flight.start()
        if self._flight.under_way:
            with anyio.move_on_after(self._asked_at + ANSWER_WAIT - now):
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
