"""StoreReplays: remembers in the store, for all processes, which proofs were shown. RFC 9449 section 11.1."""

from collections.abc import Callable

from asgi_jwt.errors import InvalidProof
from asgi_jwt.stores.base import ProofStore
from asgi_jwt.stores.millis import millis
from asgi_jwt.tokens.replays import SHOWN_BEFORE


class StoreReplays:
    """The proofs that the processes of a store were shown. `store` returns the store, and is called for each proof."""

    def __init__(self, store: Callable[[], ProofStore]) -> None:
        self._store = store

    async def remember(self, digest: bytes, until: float) -> None:
        """Remember a new digest until `until`, in seconds since the epoch.

        Raises `InvalidProof` for a digest that is remembered, and `StoreUnavailable`.
        """
        if not await self._store().claim(digest, millis(until)):
            raise InvalidProof(SHOWN_BEFORE)
