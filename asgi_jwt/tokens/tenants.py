"""Tenants: finds the issuers of a pattern, fetches the keys of each, and bounds what made-up tenants cost."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Protocol
from weakref import WeakValueDictionary

from asgi_jwt.tokens.claims import Standing, TokenPolicy
from asgi_jwt.tokens.issuer_pattern import IssuerPattern
from asgi_jwt.tokens.key_source import KeySource
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.trusted import Trust, TrustedIssuer

MAX_KEPT = 1000
"""The most issuers that are kept. Only a verified token adds one."""

HELD = 60.0
"""How long (s) the keys of a tenant without a verified token are held, or the failure to fetch them."""

_ATTEMPT_INTERVAL = 1.0
"""The shortest time (s) between two fetches for tenants that are not kept, if any tenant is allowed."""

MayFetch = Callable[[], bool]


class KeysOf(Protocol):
    """Makes the keys of a tenant, whose tokens have `issuer` as their `iss`. `may_fetch` allows each fetch."""

    def __call__(self, issuer: str, tenant: str, *, may_fetch: MayFetch) -> KeySource: ...


class Tenants:
    """The issuers of `pattern`. An allowed tenant's keys are fetched with its first token.

    The last `MAX_KEPT` tenants with a verified token are kept. Any other tenant is fetched once in `HELD` seconds at
    most, whether that fails or not. If any tenant is allowed, one fetch a second is made for tenants that are not kept,
    because anyone may send tokens of made-up tenants.

    `policy`: the rules for the tokens of each tenant. `clock`: returns seconds since the epoch.
    """

    def __init__(
        self, pattern: IssuerPattern, policy: TokenPolicy, keys_of: KeysOf, *, clock: Callable[[], float]
    ) -> None:
        self._pattern = pattern
        self._policy = policy
        self._keys_of = keys_of
        self._clock = clock
        self._kept: OrderedDict[str, TrustedIssuer] = OrderedDict()
        # The tenants without a verified token, and when the one fetch of each began. The list of tenants bounds their
        # number, or else the interval between two fetches.
        self._tried: OrderedDict[str, tuple[TrustedIssuer, float]] = OrderedDict()
        self._attempted_at = -inf
        # Claims of open WebSockets share the standing of a tenant that may be kept no longer.
        self._standings: WeakValueDictionary[str, Standing] = WeakValueDictionary()

    @property
    def pattern(self) -> IssuerPattern:
        """The issuer with a placeholder, as in the settings."""
        return self._pattern

    def listen(
        self, keys_changed: Callable[[TrustedIssuer, KeySet], None], dropped: Callable[[TrustedIssuer], None]
    ) -> None:
        """Call `keys_changed` with each new set of keys, and `dropped` with each tenant that is no longer kept."""
        self._keys_changed = keys_changed
        self._dropped = dropped

    async def find(self, iss: str) -> TrustedIssuer | None:
        """The tenant with this `iss`. None: the pattern has no such tenant, or it is not allowed."""
        tenant = self._pattern.tenant_of(iss)
        if tenant is None:
            return None
        if (kept := self._kept.get(tenant)) is not None:
            return kept
        return self._held(tenant) or self._new(iss, tenant)

    def _held(self, tenant: str) -> TrustedIssuer | None:
        tried, since = self._tried.get(tenant, (None, -inf))
        return tried if 0 <= self._clock() - since < HELD else None

    def _new(self, iss: str, tenant: str) -> TrustedIssuer:
        keys = self._keys_of(iss, tenant, may_fetch=lambda: self._may_fetch(tenant, issuer))
        standing = self._standings.setdefault(tenant, Standing(tenant, self._policy.leeway))
        issuer = TrustedIssuer(Trust(keys, replace(self._policy, issuer=iss)), finder=self, standing=standing)
        keys.on_change(lambda keys: self._keys_changed(issuer, keys))
        return issuer

    def _may_fetch(self, tenant: str, issuer: TrustedIssuer) -> bool:
        """Whether keys of the tenant may be fetched now. True counts as a fetch."""
        if self._kept.get(tenant) is issuer:
            return True
        if issuer.standing.ended or self._held(tenant) is not None:
            return False
        now = self._clock()
        if self._pattern.tenants is None and 0 <= now - self._attempted_at < _ATTEMPT_INTERVAL:
            return False
        self._attempted_at = now
        self._forget_tried(now)
        self._tried[tenant] = issuer, now
        return True

    def _forget_tried(self, now: float) -> None:
        while self._tried:
            tenant, (_, since) = next(iter(self._tried.items()))
            if 0 <= now - since < HELD:
                return
            del self._tried[tenant]

    def keep(self, issuer: TrustedIssuer) -> None:
        """Keep the tenant, because a token of it was verified. The tenant that was kept longest without one leaves."""
        tenant = issuer.standing.tenant or ""
        self._tried.pop(tenant, None)
        self._kept[tenant] = issuer
        self._kept.move_to_end(tenant)
        if len(self._kept) > MAX_KEPT:
            self._dropped(self._kept.popitem(last=False)[1])

    def forget(self, iss: str) -> None:
        """Drop the keys and the cached tokens of the tenant, and end its standing."""
        tenant = self._pattern.tenant_of(iss) or ""
        self._tried.pop(tenant, None)
        if (standing := self._standings.pop(tenant, None)) is not None:
            standing.ended = True
        if (kept := self._kept.pop(tenant, None)) is not None:
            self._dropped(kept)

    def with_keys(self, keys: KeySet) -> "Tenants":
        """A finder of the same tenants, whose tokens are verified with `keys`."""
        return Tenants(self._pattern, self._policy, lambda issuer, tenant, may_fetch: keys, clock=self._clock)

    def sources(self) -> list[KeySource]:
        """The keys of the tenants that are kept."""
        return [issuer.source for issuer in self._kept.values()]
