"""Whom a token is issued for."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from asgi_jwt.tokens.compact import freeze, thaw

RESERVED = frozenset(
    {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "scope", "roles", "client_id", "type", "gen", "br", "cnf"}
)
"""The claims that the issuer sets (RFC 7519 section 4.1, RFC 9068 section 2.2, RFC 7800 section 3.1)."""


def names(value: str | Iterable[str]) -> tuple[str, ...]:
    """A string's space-separated names, or the iterable's; each once. Raises `TypeError` or `ValueError`."""
    listed = value.split(" ") if isinstance(value, str) else list(value)
    if not all(isinstance(name, str) for name in listed):
        raise TypeError("scopes and roles are strings")
    return tuple(dict.fromkeys(name for name in listed if name))


class Described(Protocol):
    """Whom an access token speaks of: an `Identity`, or the session that remembers one."""

    @property
    def subject(self) -> str: ...
    @property
    def scopes(self) -> Iterable[str]: ...
    @property
    def roles(self) -> Iterable[str]: ...
    @property
    def claims(self) -> Mapping[str, Any]: ...
    @property
    def client_id(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Who logged in, and what their tokens say of them.

    `subject` is the user's stable id. `scopes` is a space-separated string or an iterable (RFC 6749 section 3.3),
    `roles` an iterable, `claims` further claims for the access token (JSON), `client_id` the OAuth client's.

    Raises `TypeError` when the subject, a scope or a role is no string or the claims are no JSON, and `ValueError`
    when the subject is empty, a scope holds a space or a claim is one that the issuer sets.
    """

    subject: str
    scopes: str | Iterable[str] = field(default=(), kw_only=True)
    roles: str | Iterable[str] = field(default=(), kw_only=True)
    claims: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    client_id: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.subject, str) or not isinstance(self.client_id, str | None):
            raise TypeError("an Identity's subject and client_id are strings")
        if not self.subject:
            raise ValueError("an Identity needs a subject")
        scopes = names(self.scopes)
        if any(" " in scope for scope in scopes):
            raise ValueError("a scope holds no space")
        if reserved := sorted(RESERVED.intersection(self.claims)):
            raise ValueError(f"the issuer sets {', '.join(reserved)}: an Identity's claims can't")
        claims = freeze(self.claims)
        plain = thaw(claims)
        if json.loads(json.dumps(plain, allow_nan=False)) != plain:
            raise TypeError("claims are JSON: their names are strings, at every depth")
        object.__setattr__(self, "scopes", scopes)
        object.__setattr__(self, "roles", names((self.roles,) if isinstance(self.roles, str) else self.roles))
        object.__setattr__(self, "claims", claims)


def with_scopes(whom: Described, scopes: Iterable[str]) -> Identity:
    """`whom` with other scopes."""
    return Identity(whom.subject, scopes=scopes, roles=whom.roles, claims=whom.claims, client_id=whom.client_id)
