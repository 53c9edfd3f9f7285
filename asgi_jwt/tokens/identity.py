"""Identity: the user that a token is issued for."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from types import NoneType
from typing import Any, Protocol

from asgi_jwt.tokens.frozen import freeze

RESERVED = frozenset(
    {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "scope", "roles", "client_id", "type", "gen", "br", "cnf"}
    | {"auth_time", "acr", "amr"}
)
"""Claims that only the issuer sets (RFC 7519 section 4.1, RFC 9068 section 2.2, RFC 7800 section 3.1)."""


def kind(value: object) -> str:
    """The name of the value's type, for an error text. The value itself may be a secret."""
    return "None" if value is None else type(value).__name__


def names(value: str | Iterable[str], what: str = "scopes") -> tuple[str, ...]:
    """A string's space-separated names, or the iterable's; each once. Raises `TypeError`, which says `what` they are.

    A mapping raises, too: its values might say which of its names are granted.
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
"""The expression that turns a value into JSON, by the name of its type."""


class Described(Protocol):
    """The user in an access token: an `Identity`, or a session, which keeps the members of one."""

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
    @property
    def acr(self) -> str | None: ...
    @property
    def amr(self) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, with the scopes, roles and claims of the user's access tokens.

    `subject`: the user's stable id.
    `scopes`: a space-separated string or an iterable of strings (RFC 6749 section 3.3).
    `roles`: a string or an iterable of strings.
    `claims`: further claims of the access token, as JSON values.
    `client_id`: the id of the OAuth client.
    `acr`: the kind of the login, and `amr`: its methods, a string or an iterable of strings (RFC 8176). The access
    tokens of the session keep both, whatever `load_identity` returns.

    `remember`: False for a login whose cookies end with the browser, and whose session ends after `UNREMEMBERED_TTL`.

    Raises `TypeError` if the subject, a scope, a role, `acr` or `amr` is no string, `remember` is no bool, or a claim
    is no JSON value.
    Raises `ValueError` if the subject is empty, a scope contains a space, only the issuer may set a claim (`RESERVED`),
    or a text has a lone surrogate, which no token can hold.
    """

    subject: str
    scopes: str | Iterable[str] = field(default=(), kw_only=True)
    roles: str | Iterable[str] = field(default=(), kw_only=True)
    claims: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    client_id: str | None = field(default=None, kw_only=True)
    acr: str | None = field(default=None, kw_only=True)
    amr: str | Iterable[str] = field(default=(), kw_only=True)
    remember: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.subject, str):
            raise TypeError(f"an Identity's subject is a string, not {kind(self.subject)}: str(user.id) may give it")
        for name in ("client_id", "acr"):
            if not isinstance(given := getattr(self, name), str | None):
                raise TypeError(f"an Identity's {name} is a string, not {kind(given)}")
        if not isinstance(self.remember, bool):
            raise TypeError(f"an Identity's remember is True or False, not {kind(self.remember)}")
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
        object.__setattr__(self, "amr", names((self.amr,) if isinstance(self.amr, str) else self.amr, "amr values"))
        texts = (self.subject, self.client_id, *self.scopes, *self.roles, self.acr, *self.amr)
        _check_text("subject, client_id, scopes, roles, acr and amr", " ".join(filter(None, texts)))


def _check_text(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"a token holds UTF-8 text alone, and there is a lone surrogate in an Identity's {what}"
        ) from None


def _check_json(claims: Mapping[str, Any]) -> None:
    for path, value in _leaves(claims, ()):
        if isinstance(value, str):
            _check_text("claims", value)
        if isinstance(value, float) and not isfinite(value):
            raise ValueError(f"the claim {path} is {value}, which JSON can't hold")
        if not isinstance(value, (str, int, float, NoneType)):
            raise TypeError(f"the claim {path} is JSON, not {kind(value)}: give {_MENDS.get(kind(value), _MEND)}")


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """The path and the value of each leaf in a frozen value: of each value that is neither a list nor an object."""
    if isinstance(value, Mapping):
        for name, member in value.items():
            if not isinstance(name, str):
                within = f" within {'.'.join(path)}" if path else ""
                raise TypeError(f"names are strings in JSON, and one of the claims{within} has a name of {kind(name)}")
            _check_text("claims", name)
            yield from _leaves(member, (*path, name))
    elif isinstance(value, tuple):
        for member in value:
            yield from _leaves(member, path)
    else:
        yield ".".join(path), value


def with_scopes(whom: Described, scopes: Iterable[str]) -> Identity:
    """The identity of `whom`, with these scopes instead of its own."""
    return Identity(
        whom.subject,
        scopes=scopes,
        roles=whom.roles,
        claims=whom.claims,
        client_id=whom.client_id,
        acr=whom.acr,
        amr=whom.amr,
    )


def with_login(identity: Identity, login: Described) -> Identity:
    """The identity, with the `acr` and `amr` of `login` instead of its own."""
    same = (identity.acr, identity.amr) == (login.acr, login.amr)
    return identity if same else replace(identity, acr=login.acr, amr=login.amr)
