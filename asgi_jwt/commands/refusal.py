"""A token that was refused, and all that an explanation may need."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asgi_jwt.commands.output import shortened, shown
from asgi_jwt.commands.presented import Presented
from asgi_jwt.errors import AuthError
from asgi_jwt.events import printable
from asgi_jwt.tokens.claim_path import find_claim
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.key import Key

_MISSING = object()
_REFRESH_TYP = ("rt+jwt", "application/rt+jwt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A token that was refused, and by what: `keys` are those of its issuer, `key_source` the place they come from.

    `issuers` are all that are trusted, `policy` is the token's issuer's, else the first one's.
    """

    error: AuthError
    presented: Presented
    policy: TokenPolicy
    issuers: tuple[str, ...]
    keys: tuple[Key, ...]
    key_source: str
    remote: bool
    now: float

    @property
    def header(self) -> Mapping[str, Any]:
        return self.presented.header or {}

    @property
    def claims(self) -> Mapping[str, Any]:
        return self.presented.claims or {}

    @property
    def is_refresh_token(self) -> bool:
        return self.header.get("typ") in _REFRESH_TYP or self.claims.get("type") == "refresh"

    def found(self, name: str) -> str:
        return found_as(self.claims, name)


def found_as(members: Mapping[str, Any], name: str) -> str:
    """The claim or header parameter `name` with its value, safe to print."""
    value = find_claim(members, name, _MISSING)
    return f"{shortened(printable(name))} is {'missing' if value is _MISSING else shown(value)}"
