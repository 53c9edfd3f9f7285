"""Tenants: finds the issuers of a pattern, fetches the keys of each, and bounds what made-up tenants cost."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Protocol

from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.found_issuers import HELD, FoundIssuers
from asgi_jwt.tokens.issuer_pattern import IssuerPattern
from asgi_jwt.tokens.key_source import KeySource
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.trusted import Trust, TrustedIssuer

_ATTEMPT_INTERVAL = 1.0
"""The shortest time (s) between two fetches for tenants that are not kept, if any tenant is allowed."""


class KeysOf(Protocol):
    """Makes the keys of a tenant, whose tokens have `issuer` as their `iss`. `may_fetch` allows each fetch."""

    def __call__(self, issuer: str, tenant: str, *, may_fetch: Callable[[], bool]) -> KeySource: ...


class Tenants(FoundIssuers):
    """The issuers of `pattern`. An allowed tenant's keys are fetched with its first token.

    Any tenant that is not kept is fetched once in `HELD` seconds at most, whether that fails or not. If any tenant is
    allowed, one fetch a second is made for all tenants that are not kept, because anyone may send tokens of made-up
    tenants.

    `policy`: the rules for the tokens of each tenant. `clock`: returns seconds since the epoch.
    """

    def __init__(
        self, pattern: IssuerPattern, policy: TokenPolicy, keys_of: KeysOf, *, clock: Callable[[], float]
    ) -> None:
        super().__init__(clock=clock, pattern=pattern)
        self._named = pattern
        self._policy = policy
        self._keys_of = keys_of
        # The issuers without a verified token, and when the one fetch of each began. Their number is bounded by the
        # list of tenants, or else by the interval between two fetches.
        self._tried: OrderedDict[str, tuple[TrustedIssuer, float]] = OrderedDict()
        self._attempted_at = -inf

    async def find(self, iss: str) -> TrustedIssuer | None:
        """The tenant with this `iss`. None: the pattern has no such tenant, or it is not allowed."""
        tenant = self._named.tenant_of(iss)
        if tenant is None:
            return None
        return self._kept.get(iss) or self._held(iss) or self._new(iss, tenant)

    def _held(self, iss: str) -> TrustedIssuer | None:
        tried, since = self._tried.get(iss, (None, -inf))
        return tried if 0 <= self._clock() - since < HELD else None

    def _new(self, iss: str, tenant: str) -> TrustedIssuer:
        keys = self._keys_of(iss, tenant, may_fetch=lambda: self._may_fetch(iss, issuer))
        issuer = self._trust(Trust(keys, replace(self._policy, issuer=iss)), tenant)
        return issuer

    def _may_fetch(self, iss: str, issuer: TrustedIssuer) -> bool:
        """Whether keys of the tenant may be fetched now. True counts as a fetch."""
        if self._kept.get(iss) is issuer:
            return True
        now = self._clock()
        if issuer.standing.ended or self._held(iss) is not None:
            return False
        if self._named.tenants is None and 0 <= now - self._attempted_at < _ATTEMPT_INTERVAL:
            return False
        self._attempted_at = now
        self._clear_tried(now)
        self._tried[iss] = issuer, now
        return True

    def _clear_tried(self, now: float) -> None:
        while self._tried:
            iss, (_, since) = next(iter(self._tried.items()))
            if 0 <= now - since < HELD:
                return
            del self._tried[iss]

    def keep(self, issuer: TrustedIssuer) -> None:
        """Keep the tenant, because a token of it was verified."""
        self._tried.pop(issuer.policy.issuer, None)
        super().keep(issuer)

    def forget(self, iss: str) -> None:
        """Drop the keys and the cached tokens of the tenant, and end its standing."""
        self._tried.pop(iss, None)
        super().forget(iss)

    def with_keys(self, keys: KeySet) -> "Tenants":
        """A finder of the same tenants, whose tokens are verified with `keys`."""
        return Tenants(self._named, self._policy, lambda issuer, tenant, may_fetch: keys, clock=self._clock)
