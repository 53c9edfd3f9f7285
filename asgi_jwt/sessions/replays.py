"""StoreReplays: remembers in the store, for all processes, which proofs were shown. RFC 9449 section 11.1."""

from collections.abc import Callable

from asgi_jwt.stores.base import ProofStore
from asgi_jwt.stores.millis import millis


class StoreReplays:
    """The proofs that the processes of a store were shown. `store` returns the store, and is called for each proof."""

    def __init__(self, store: Callable[[], ProofStore]) -> None:
        self._store = store

    async def claim(self, digest: bytes, until: float) -> bool:
        """Whether the digest is new. `until` is in seconds since the epoch. Raises `StoreUnavailable`."""
        return await self._store().claim(digest, millis(until))
