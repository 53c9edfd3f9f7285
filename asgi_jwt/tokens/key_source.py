"""KeySource: the protocol of keys that never change, keys of a file, and keys of a remote issuer."""

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
        """The keys that were read last, without waiting. Empty if no keys were read."""

    @property
    def known_until(self) -> float:
        """Until when `known` may be used without a call of `current`, in seconds since the epoch."""

    async def current(self) -> KeySet:
        """The keys to verify with now. It may wait for a read. Raises `KeysUnavailable`."""

    async def renewed(self) -> KeySet:
        """The keys for a token with an unknown `kid`. The source may read newer keys. Raises `KeysUnavailable`."""

    def on_change(self, listener: Callable[[KeySet], None]) -> None:
        """Call `listener` with each new set of keys, before the keys are used."""

    def warm_up(self) -> None:
        """Start to read the keys if that is due, and return at once. It needs a running event loop."""


async def candidates(source: KeySource, kid: str | None, algorithm: str) -> tuple[Key, ...]:
    """The keys of the source that may have signed a token with this header, by `KeySet.candidates`.

    For an unknown `kid` the source may read newer keys. Raises `KeysUnavailable`, `UnknownKey`, `UnsuitableKey` or
    `AlgorithmNotAllowed`.
    """
    with suppress(UnknownKey):
        return (await source.current()).candidates(kid, algorithm)
    return (await source.renewed()).candidates(kid, algorithm)
