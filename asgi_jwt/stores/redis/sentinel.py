"""Master: follows the address of a service's master, as the Sentinels name it.

During a failover Sentinels name the promoted server in answer to GET-MASTER-ADDR-BY-NAME, and still the old master in
answer to MASTERS, by which redis-py connects. So connections are made to the address that is followed here.
"""

import asyncio

import anyio
import redis
from redis.asyncio.sentinel import SentinelConnectionPool

from asgi_jwt.tasks import SingleFlight

ASK_INTERVAL = 0.5
"""How often (s) the Sentinels are asked. After a failover the old master still takes writes, and they are lost."""

ANSWER_WAIT = 0.25
"""How long (s) a command waits for the Sentinels. Without their answer it goes to the master that they named last."""


Address = tuple[str, int]


class Master:
    """Asks the Sentinels of `pool` for the master's address. Commands start a question, once in `ASK_INTERVAL`."""

    def __init__(self, pool: SentinelConnectionPool) -> None:
        self._manager = pool.sentinel_manager
        self._service = pool.service_name
        self._address: Address | None = None
        self._asked_at = float("-inf")
        self._flight = SingleFlight(self._ask)

    def lead(self, pool: SentinelConnectionPool) -> None:
        """Have `pool` connect to the address that the Sentinels named last. It finds one itself if there is none."""
        if self._address is not None:
            pool.sentinel_manager = _Named(self._address)

    async def address(self) -> Address | None:
        """The address that the Sentinels named last. None: they have not answered yet."""
        now = asyncio.get_running_loop().time()
        if now - self._asked_at >= ASK_INTERVAL:
            self._start()
        if self._flight.under_way:
            with anyio.move_on_after(self._asked_at + ANSWER_WAIT - now):
                await self._flight.wait()
        return self._address

    async def confirmed_address(self) -> Address | None:
        """The address that the Sentinels name in answer to a question that is asked now.

        It waits for them as long as they may take. If none of them can be reached, it is the one that they named last.
        """
        await self._flight.wait()  # the answer to an earlier question may be from before a failover
        self._start()
        await self._flight.wait()
        return self._address

    def _start(self) -> None:
        if not self._flight.under_way:
            self._asked_at = asyncio.get_running_loop().time()
            self._flight.start()

    async def _ask(self) -> None:
        for sentinel in [*self._manager.sentinels]:
            try:
                named = await sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", self._service)
            except (redis.RedisError, OSError):
                continue
            if named:
                host, port = named
                forced = getattr(self._manager, "_force_master_ip", None)  # an option of redis-py's Sentinel
                self._address = forced or (host.decode() if isinstance(host, bytes) else host), int(port)
                return


class _Named:
    """The part of redis-py's `Sentinel` that a pool calls, for a master whose address is known."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def discover_master(self, service_name: str) -> Address:
        return self._address
