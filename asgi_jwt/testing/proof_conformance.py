"""The tests of every promise of `ProofStore`, beside those of `StoreConformance`."""
# ruff: noqa: S101 (these are tests)

from functools import partial
from hashlib import sha256
from typing import cast
from uuid import uuid4

from asgi_jwt.stores.base import ProofStore, SessionStore
from asgi_jwt.testing.conformance import NOW, StoreConformance, at_once


def a_digest() -> bytes:
    return sha256(uuid4().bytes).digest()


class ProofConformance(StoreConformance):
    """The tests of a store that also remembers proofs. Inherit them in the place of `StoreConformance`."""

    async def test_a_proof_is_claimed_once(self, store: SessionStore) -> None:
        """Of 20 callers at once with one digest one gets True, and none later; another digest is another proof."""
        proofs, digest = cast(ProofStore, store), a_digest()
        claims = await at_once([partial(proofs.claim, digest, NOW + 60_000)] * 20)
        assert sorted(claims) == [False] * 19 + [True]
        assert not await proofs.claim(digest, NOW + 120_000)
        assert await proofs.claim(a_digest(), NOW + 60_000)

    async def test_two_processes_remember_together(self) -> None:
        """A proof that one process was shown is known to another, also if it is accepted no more."""
        async with self.open_store() as one, self.open_store() as other:
            for until in (NOW - 1000, NOW + 60_000):
                digest = a_digest()
                assert await cast(ProofStore, one).claim(digest, until)
                assert not await cast(ProofStore, other).claim(digest, until)
