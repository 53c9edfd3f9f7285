"""TenantKeySet: the keys of one tenant, found by the discovery of an issuer that a pattern names."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from asgi_jwt.errors import KeysUnavailable, NotPublished, WrongIssuer
from asgi_jwt.events import EventSink
from asgi_jwt.tokens.discovery import keys_url, without_query
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.remote_keys import RemoteKeySet
from asgi_jwt.tokens.token_file import origin_of

# The documentation of Entra ID compares the name without regard to case.
_TENANT_ID = re.compile(r"\{tenantid\}", re.IGNORECASE)


def asks_tid(key: Key) -> bool:
    """Whether the key serves many tenants, so that the claim `tid` must be the tenant that `iss` names."""
    return key.issuer is not None and _TENANT_ID.search(key.issuer) is not None


class TenantKeySet(RemoteKeySet):
    """The keys of the tenant whose tokens have `issuer` as their `iss`.

    The URL of the keys must have the origin of the issuer. A key that names another issuer verifies nothing.

    `tenant`: the path segment of `issuer` that names the tenant.
    `source`: the name in events and metrics. It is one name for all tenants, so that their number does not matter.
    `may_fetch`: called before each fetch. If it returns False, the fetch is not made.
    """

    def __init__(
        self,
        issuer: str,
        tenant: str,
        *,
        source: str,
        may_fetch: Callable[[], bool],
        algorithms: Iterable[str],
        token_file: Path | None,
        clock: Callable[[], float],
        events: EventSink,
    ) -> None:
        super().__init__(issuer=issuer, algorithms=algorithms, token_file=token_file, clock=clock, events=events)
        self.source = source
        self._expected = issuer
        self._tenant = tenant
        self._may_fetch = may_fetch
        self._is_unknown = False

    async def current(self) -> KeySet:
        """The keys to verify with now.

        Raises `WrongIssuer` if the server has no metadata of this tenant (status 404), and `KeysUnavailable` for any
        other failure.
        """
        try:
            return await super().current()
        except KeysUnavailable as why:
            if self._is_unknown:
                raise WrongIssuer(f"its server knows no such tenant: {why}") from None
            raise

    def _attempt(self, *, kid_is_unknown: bool = False) -> bool:
        if self._flight.under_way or self._may_fetch():
            return super()._attempt(kid_is_unknown=kid_is_unknown)
        return False

    async def _locate(self, now: float) -> bool:
        self._is_unknown = False
        try:
            return await super()._locate(now)
        except NotPublished:
            self._is_unknown = True
            raise

    def _keys_url(self, issuer: str, metadata: Mapping[str, Any]) -> str:
        url = keys_url(issuer, metadata)
        if origin_of(url) != origin_of(issuer):
            # Otherwise a tenant's administrator might choose the servers that this service fetches from.
            raise KeysUnavailable(f"jwks_uri in the metadata of {issuer} has another origin, {without_query(url)}")
        return url

    def _usable(self, jwks: dict[str, Any]) -> tuple[KeySet, tuple[str, ...]]:
        keys, left_out = super()._usable(jwks)
        others = [key for key in keys if not self._may_sign(key)]
        # They stay in the set, so that a token of theirs is refused without a further fetch.
        own = KeySet(replace(key, verifies=False) if key in others else key for key in keys)
        return own, (*left_out, *(f"{key!r} names another issuer" for key in others))

    def _may_sign(self, key: Key) -> bool:
        return key.issuer is None or _TENANT_ID.sub(self._tenant, key.issuer) == self._expected
