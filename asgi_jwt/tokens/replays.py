"""ReplayMemory: remembers in this process which proofs were shown. RFC 9449 section 11.1."""

from collections import defaultdict
from collections.abc import Callable
from math import ceil, floor

from asgi_jwt.errors import InvalidProof, ProofMemoryFull

SHOWN_BEFORE = "the proof was shown before"


class ReplayMemory:
    """The digests of the proofs that are still accepted, `size` at most. `clock` returns seconds since the epoch."""

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self._size = size
        self._clock = clock
        self._digests: set[bytes] = set()
        # By the second in which their proofs are accepted no more.
        self._by_end: defaultdict[int, list[bytes]] = defaultdict(list)
        self._swept_at = 0

    async def remember(self, digest: bytes, until: float) -> None:
        """Remember a new digest until `until`, in seconds since the epoch.

        Raises `InvalidProof` for a digest that is remembered, and `ProofMemoryFull` for a new one if the memory is
        full: it forgets nothing that is still accepted.
        """
        now = floor(self._clock())
        if now != self._swept_at:
            self._sweep(now)
        if digest in self._digests:
            raise InvalidProof(SHOWN_BEFORE)
        if len(self._digests) >= self._size:
            raise ProofMemoryFull
        self._digests.add(digest)
        self._by_end[ceil(until) + 1].append(digest)

    def _sweep(self, now: int) -> None:
        self._swept_at = now
        for end in [end for end in self._by_end if end <= now]:
            self._digests.difference_update(self._by_end.pop(end))
