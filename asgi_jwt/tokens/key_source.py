"""Where keys come from: the one protocol of keys that stay, keys of a file and keys of a remote issuer."""

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from asgi_jwt.errors import UnknownKey
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.keys import KeySet


class KeySource(Protocol):
    """Keys that may change while they are used: `KeySet`, `LocalKeys` and `RemoteKeySet`."""

    @property
    def known(self) -> KeySet:
        """The keys as of now, without waiting; none while none were read."""

    @property
    def unquestioned_until(self) -> float:
        """Until when (seconds since the epoch) the known keys hold without `current`: before it nothing is awaited."""

    async def current(self) -> KeySet:
        """The keys to verify with now. Raises `KeysUnavailable`."""

    async def renewed(self) -> KeySet:
        """The keys for a token whose `kid` none has: the source may have newer ones. Raises `KeysUnavailable`."""

    def on_change(self, tell: Callable[[KeySet], None]) -> None:
        """Have `tell` called with each set that differs from the one before, before anyone verifies with it."""

    def warm_up(self) -> None:
        """Begin to read the keys if that is due, and don't wait for them. Needs a running event loop."""


async def candidates(source: KeySource, kid: str | None, algorithm: str) -> tuple[Key, ...]:
    """The keys that may have signed a token with this header: see `KeySet.candidates`.

    Raises `KeysUnavailable`, `UnknownKey`, `UnsuitableKey` or `AlgorithmNotAllowed`.
    """
    with suppress(UnknownKey):
        return (await source.current()).candidates(kid, algorithm)
    return (await source.renewed()).candidates(kid, algorithm)
