"""ReplayMemory: remembers in this process which proofs were shown. RFC 9449 section 11.1."""

from collections.abc import Callable
from math import ceil, floor

from asgi_jwt.errors import ProofMemoryFull


class ReplayMemory:
    """The digests of the proofs that are still accepted, `size` at most. `clock` returns seconds since the epoch."""

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self._size = size
        self._clock = clock
        self._digests: set[bytes] = set()
        self._by_end: dict[int, list[bytes]] = {}  # by the second in which their proofs are accepted no more
        self._swept_at = 0

    async def claim(self, digest: bytes, until: float) -> bool:
        """Whether the digest is new. It is remembered until `until`, in seconds since the epoch.

        Raises `ProofMemoryFull` for a new digest if the memory is full: it forgets nothing that is still accepted.
        """
        now = floor(self._clock())
        if now != self._swept_at:
            self._sweep(now)
        if digest in self._digests:
            return False
        if len(self._digests) >= self._size:
            raise ProofMemoryFull
        self._digests.add(digest)
        self._by_end.setdefault(ceil(until) + 1, []).append(digest)
        return True

    def _sweep(self, now: int) -> None:
        self._swept_at = now
        for end in [end for end in self._by_end if end <= now]:
            self._digests.difference_update(self._by_end.pop(end))
