"""Master: follows the address of a service's master, as the Sentinels name it.

During a failover Sentinels name the promoted server in answer to GET-MASTER-ADDR-BY-NAME, and still the old master in
answer to MASTERS, by which redis-py connects. So connections are made to the address that is followed here.
"""

import asyncio
from collections import Counter
from typing import Any, NamedTuple

import anyio
import redis
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import ResponseError

from asgi_jwt.tasks import SingleFlight

ASK_INTERVAL = 0.5
"""How often (s) the Sentinels are asked. After a failover the old master still takes writes, and they are lost."""

ANSWER_WAIT = 0.25
"""How long (s) a command waits for the Sentinels. Without their answer it goes to the master that they named last."""

CONFIRM_WAIT = 1.0
"""How long (s) an answer that the Sentinels have to confirm waits for them. Unconfirmed, it does not count."""


class Address(NamedTuple):
    """The address of a server."""

    host: str
    port: int


class Master:
    """Asks the Sentinels of `sentinel` for the address of the master of `service`. The address of most of them counts.

    During a failover they name different servers for a moment. Commands start a question, once in `ASK_INTERVAL`.
    """

    def __init__(self, sentinel: Any, service: str) -> None:
        self._sentinels = sentinel.sentinels
        self._forced_host = getattr(sentinel, "_force_master_ip", None)  # an option of redis-py's Sentinel
        self._service = service
        self._address: Address | None = None
        # In seconds of the event loop: when the next question is due, and when the last one began that was answered.
        self._due_at = self._answered = float("-inf")
        self._silent = False  # the last question that had to confirm an answer had none in time
        self._complaint: ResponseError | None = None
        self._flight = SingleFlight(self._ask)

    async def address(self) -> Address:
        """The address that the Sentinels named last. Raises an error of redis-py if they have named none."""
        now = _now()
        if now >= self._due_at:
            self._begin()
        if self._flight.under_way:
            wait = None if self._address is None else self._due_at - ASK_INTERVAL + ANSWER_WAIT - now
            with anyio.move_on_after(wait):
                await self._flight.wait()
        if self._address is None:
            if self._complaint is not None:
                raise ResponseError(*self._complaint.args)
            raise MasterNotFoundError(f"No master found for {self._service!r}")
        return self._address

    async def confirmed(self) -> Address | None:
        """The address by a question that begins now. None: the Sentinels don't answer, or not the same.

        It waits for silent Sentinels only once, because the commands of one exchange wait together.
        """
        called_at = _now()
        if self._silent:
            return None
        with anyio.move_on_after(CONFIRM_WAIT):
            await self._flight.wait()  # a question under way may have been answered before the call
            self._begin()
            await self._flight.wait()
        self._silent = self._answered < called_at
        return None if self._silent else self._address

    def doubt(self) -> None:
        """Have the next command ask again: a server does not answer, or is no master."""
        self._due_at = float("-inf")

    def _begin(self) -> None:
        self._due_at = _now() + ASK_INTERVAL
        self._flight.start()

    async def _ask(self) -> None:
        began_at = _now()
        named: Counter[Address] = Counter()

        async def ask(sentinel: Any) -> None:
            try:
                answer = await sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", self._service)
            except ResponseError as complaint:
                self._complaint = complaint
                return
            except (redis.RedisError, OSError):
                return
            if answer:
                address = Address(self._forced_host or _text(answer[0]), answer[1])
                named[address] += 1
                if 2 * named[address] > len(self._sentinels):
                    group.cancel_scope.cancel()  # the others may be slow to answer, or dead

        async with anyio.create_task_group() as group:
            for sentinel in self._sentinels:
                group.start_soon(ask, sentinel)
        match named.most_common(2):
            case [(address, votes), *others] if not others or others[0][1] < votes:
                self._address, self._answered, self._silent = address, began_at, False


def _now() -> float:
    return asyncio.get_running_loop().time()


def _text(host: bytes | str) -> str:
    return host.decode() if isinstance(host, bytes) else host
