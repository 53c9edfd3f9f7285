"""RefusedToken: a refused token, with everything that an explanation may need."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asgi_jwt.commands.output import shortened, shown
from asgi_jwt.commands.parsed_token import ParsedToken
from asgi_jwt.errors import AuthError
from asgi_jwt.events import printable
from asgi_jwt.tokens.claim_path import find_claim
from asgi_jwt.tokens.claims import LOGOUT_EVENT, TokenPolicy
from asgi_jwt.tokens.issuer_pattern import IssuerPattern
from asgi_jwt.tokens.key import Key

_MISSING = object()
_REFRESH_TYP = ("rt+jwt", "application/rt+jwt")
_LOGOUT_TYP = ("logout+jwt", "application/logout+jwt")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedToken:
    """A refused token, and the settings that refused it.

    `policy`, `keys` and `key_source`, the name of the keys' source, are those of the token's issuer; or of the first
    issuer, if the token's is not trusted. `issuers` are all trusted issuers, of which `patterns` have a placeholder.
    `now` is in seconds since the epoch.
    """

    error: AuthError
    parsed: ParsedToken
    policy: TokenPolicy
    issuers: tuple[str, ...]
    patterns: tuple[IssuerPattern, ...]
    keys: tuple[Key, ...]
    key_source: str
    remote: bool
    now: float

    @property
    def header(self) -> Mapping[str, Any]:
        """The token's header. Empty if it can't be read."""
        return self.parsed.header or {}

    @property
    def claims(self) -> Mapping[str, Any]:
        """The token's claims. Empty if they can't be read."""
        return self.parsed.claims or {}

    @property
    def is_refresh_token(self) -> bool:
        """Whether the header or a claim marks a refresh token of this package."""
        return self.header.get("typ") in _REFRESH_TYP or self.claims.get("type") == "refresh"

    @property
    def is_logout_token(self) -> bool:
        """Whether the header or the claims mark a logout token (OpenID Connect Back-Channel Logout 1.0)."""
        events = self.claims.get("events")
        return self.header.get("typ") in _LOGOUT_TYP or (isinstance(events, Mapping) and LOGOUT_EVENT in events)

    def found(self, name: str) -> str:
        """The claim `name` with its value, safe to print."""
        return found_as(self.claims, name)


def found_as(members: Mapping[str, Any], name: str) -> str:
    """The claim or header parameter `name` with its value, safe to print."""
    value = find_claim(members, name, _MISSING)
    return f"{shortened(printable(name))} is {'missing' if value is _MISSING else shown(value)}"
