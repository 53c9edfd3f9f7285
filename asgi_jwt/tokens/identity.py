"""Whom a token is issued for."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from types import NoneType
from typing import Any, Protocol

from asgi_jwt.tokens.frozen import freeze

RESERVED = frozenset(
    {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "scope", "roles", "client_id", "type", "gen", "br", "cnf"}
)
"""The claims that the issuer sets (RFC 7519 section 4.1, RFC 9068 section 2.2, RFC 7800 section 3.1)."""


def kind(value: object) -> str:
    """The name of the value's type, for an error: the value itself may be a secret."""
    return "None" if value is None else type(value).__name__


def names(value: str | Iterable[str], what: str = "scopes") -> tuple[str, ...]:
    """A string's space-separated names, or the iterable's; each once. Raises `TypeError`, which says `what` they are.

    A mapping is none: its values would say which of its names hold.
    """
    if isinstance(value, (bytes, bytearray, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"{what} are a string or a list of strings, not {kind(value)}")
    listed = value.split(" ") if isinstance(value, str) else list(value)
    for name in listed:
        if not isinstance(name, str):
            raise TypeError(f"{what} are a string or a list of strings, and one in the list is {kind(name)}")
    return tuple(dict.fromkeys(name for name in listed if name))


_MEND = "text, a number, a list or a dict of these"
_MENDS = {
    "UUID": "str(value)",
    "Decimal": "str(value)",
    "datetime": "value.isoformat() or int(value.timestamp())",
    "date": "value.isoformat()",
    "set": "sorted(value)",
    "frozenset": "sorted(value)",
    "bytes": "value.decode()",
}
"""What makes JSON of a value, by the name of its type."""


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
    when the subject is empty, a scope holds a space or a claim is one that the issuer sets. The error names the type of
    what was given, and what to give.
    """

    subject: str
    scopes: str | Iterable[str] = field(default=(), kw_only=True)
    roles: str | Iterable[str] = field(default=(), kw_only=True)
    claims: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    client_id: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.subject, str):
            raise TypeError(f"an Identity's subject is a string, not {kind(self.subject)}: str(user.id) may give it")
        if not isinstance(self.client_id, str | None):
            raise TypeError(f"an Identity's client_id is a string, not {kind(self.client_id)}")
        if not isinstance(self.claims, Mapping):
            raise TypeError(f"an Identity's claims are a mapping of names to JSON values, not {kind(self.claims)}")
        if not self.subject:
            raise ValueError("an Identity needs a subject")
        scopes = names(self.scopes)
        if any(" " in scope for scope in scopes):
            raise ValueError("a scope holds no space")
        if reserved := sorted(RESERVED.intersection(self.claims)):
            raise ValueError(f"the issuer sets {', '.join(reserved)}: an Identity's claims can't")
        claims = freeze(self.claims)
        _check_json(claims)
        object.__setattr__(self, "scopes", scopes)
        object.__setattr__(self, "roles", names((self.roles,) if isinstance(self.roles, str) else self.roles, "roles"))
        object.__setattr__(self, "claims", claims)


def _check_json(claims: Mapping[str, Any]) -> None:
    for path, value in _leaves(claims, ()):
        if isinstance(value, float) and not isfinite(value):
            raise ValueError(f"the claim {path} is {value}, which JSON can't hold")
        if not isinstance(value, (str, int, float, NoneType)):
            raise TypeError(f"the claim {path} is JSON, not {kind(value)}: give {_MENDS.get(kind(value), _MEND)}")


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Every value in what `freeze` froze that holds no others, and where it stands."""
    if isinstance(value, Mapping):
        for name, member in value.items():
            if not isinstance(name, str):
                within = f" within {'.'.join(path)}" if path else ""
                raise TypeError(f"names are strings in JSON, and one of the claims{within} has a name of {kind(name)}")
            yield from _leaves(member, (*path, name))
    elif isinstance(value, tuple):
        for member in value:
            yield from _leaves(member, path)
    else:
        yield ".".join(path), value


def with_scopes(whom: Described, scopes: Iterable[str]) -> Identity:
    """`whom` with other scopes."""
    return Identity(whom.subject, scopes=scopes, roles=whom.roles, claims=whom.claims, client_id=whom.client_id)
