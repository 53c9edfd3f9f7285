"""FoundIssuers: the issuers that no setting names in full. A subclass finds them, and this class keeps them."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from weakref import WeakValueDictionary

from asgi_jwt.tokens.claims import Standing
from asgi_jwt.tokens.issuer_pattern import IssuerPattern
from asgi_jwt.tokens.key_source import KeySource
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.trusted import Trust, TrustedIssuer

MAX_KEPT = 1000
"""The most issuers that are kept, and the most without a verified token."""

HELD = 60.0
"""How long (s) is held what was found out about an issuer without a verified token, and the answer of a host."""


class FoundIssuers(ABC):
    """The last `MAX_KEPT` found issuers of which a token was verified.

    `clock`: returns seconds since the epoch. `pattern`: the issuer with a placeholder in the settings, if there is one.
    """

    def __init__(self, *, clock: Callable[[], float], pattern: IssuerPattern | None = None) -> None:
        self.pattern = pattern
        self._clock = clock
        self._kept: OrderedDict[str, TrustedIssuer] = OrderedDict()
        # The claims of open WebSockets share the standing of an issuer that may be kept no longer.
        self._standings: WeakValueDictionary[str, Standing] = WeakValueDictionary()

    def listen(
        self, keys_changed: Callable[[TrustedIssuer, KeySet], None], dropped: Callable[[TrustedIssuer], None]
    ) -> None:
        """Call `keys_changed` with each new set of keys, and `dropped` with each issuer that is no longer kept."""
        self._keys_changed = keys_changed
        self._dropped = dropped

    @abstractmethod
    async def find(self, iss: str) -> TrustedIssuer | None:
        """The issuer of a token that is not verified yet. None: it is not trusted. Raises `KeysUnavailable`."""

    async def ask_again(self, iss: str) -> None:
        """Find the issuer again if its claims are in use. If it is trusted no longer, its standing ends.

        Raises `KeysUnavailable`.
        """
        if iss in self._standings:
            await self.find(iss)

    @abstractmethod
    def with_keys(self, keys: KeySet) -> "FoundIssuers":
        """A finder of the same issuers, whose tokens are verified with `keys`."""

    def keep(self, issuer: TrustedIssuer) -> None:
        """Keep the issuer, because a token of it was verified. The one that verified none for longest leaves."""
        iss = issuer.policy.issuer
        self._kept[iss] = issuer
        self._kept.move_to_end(iss)
        if len(self._kept) > MAX_KEPT:
            self._dropped(self._kept.popitem(last=False)[1])

    def forget(self, iss: str) -> None:
        """Drop all that is known of the issuer, and end its standing."""
        standing = self._standings.pop(iss, None)
        if standing is not None:
            standing.ended = True
        kept = self._kept.pop(iss, None)
        if kept is not None:
            self._dropped(kept)

    def sources(self) -> list[KeySource]:
        """The keys of the issuers that are kept."""
        return [issuer.source for issuer in self._kept.values()]

    def _trust(self, trust: Trust, tenant: str | None = None) -> TrustedIssuer:
        standing = self._standings.setdefault(trust.policy.issuer, Standing(tenant, trust.policy.leeway))
        issuer = TrustedIssuer(trust, finder=self, standing=standing)
        trust.keys.on_change(lambda keys: self._keys_changed(issuer, keys))
        return issuer
