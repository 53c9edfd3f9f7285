"""Claims, and the rules that a token's claims have to meet: RFC 7519 section 4, RFC 9068 section 4. Pure."""

import json
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from math import inf
from typing import Any, NamedTuple, NoReturn, Self

from asgi_jwt.errors import (
    ExpiredToken,
    ImmatureToken,
    IssuedInFuture,
    MalformedClaims,
    MissingClaim,
    WrongAudience,
    WrongClaim,
    WrongIssuer,
    WrongType,
)
from asgi_jwt.tokens.claim_path import find_claim
from asgi_jwt.tokens.frozen import freeze, thaw

DEFAULT_TYP = frozenset({"at+jwt", "application/at+jwt", "jwt"})
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
"""The member of `events` that makes a token a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.4)."""

_ABSENT = object()
_TIME_LIMIT = 2**63
_NO_END = 2**62


class AuthCredentials(NamedTuple):
    """The value of `request.auth`: the scopes, for Starlette's `@requires`."""

    scopes: tuple[str, ...]


class Standing:
    """The standing of an issuer, which all claims of its tokens share.

    `tenant`: the issuer's path segment, if a pattern names the issuer. `leeway`: the leeway (s) of its tokens' times.
    `ended`: the issuer was forgotten. Its WebSockets are closed, and its tokens are verified again.
    """

    __slots__ = ("__weakref__", "ended", "leeway", "tenant")

    def __init__(self, tenant: str | None = None, leeway: float = 0) -> None:
        self.tenant = tenant
        self.leeway = leeway
        self.ended = False


OF_NO_ISSUER = Standing()
"""The standing of claims that no trusted issuer's key verified, and of copies."""


class Claims(Mapping[str, Any]):
    """The claims of a verified token. `Claims` are also the request's user.

    `Claims` are a mapping that is read-only at every depth, because all requests with one token share one instance. A
    list is returned as a tuple, and an object as a read-only `dict`, each as a copy. `Claims` have the members of
    Starlette's `BaseUser`: `is_authenticated`, `identity`, `display_name`.
    """

    __slots__ = ("_members", "_roles_claim", "_standing", "credentials")

    _members: Mapping[str, Any]
    _roles_claim: str
    _standing: Standing
    credentials: AuthCredentials

    def __new__(cls, claims: Mapping[str, Any], *, scope_claim: str = "scope", roles_claim: str = "roles") -> Self:
        """A frozen copy of `claims`. Raises `ValueError` if they are nested too deep."""
        return cls._of_frozen(freeze(claims), scope_claim, roles_claim)

    @classmethod
    def _of_frozen(
        cls, members: Mapping[str, Any], scope_claim: str, roles_claim: str, standing: Standing = OF_NO_ISSUER
    ) -> Self:
        scopes = members[scope_claim] if scope_claim in members else find_claim(members, scope_claim)
        return cls._of_parts(members, roles_claim, _credentials(scopes), standing)

    @classmethod
    def _of_parts(
        cls, members: Mapping[str, Any], roles_claim: str, credentials: AuthCredentials, standing: Standing
    ) -> Self:
        claims = object.__new__(cls)
        _set_members(claims, members)
        _set_roles_claim(claims, roles_claim)
        _set_credentials(claims, credentials)
        _set_standing(claims, standing)
        return claims

    def _of_standing(self, standing: Standing) -> Self:
        return self._of_parts(self._members, self._roles_claim, self.credentials, standing)

    def __getitem__(self, name: str) -> Any:
        value = self._members[name]
        # `dict.__setitem__` could change even a `FrozenDict`, so a caller gets a copy of the shared one.
        return value if type(value) is str or type(value) is int else freeze(value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def _refuse(self, *_: object) -> NoReturn:
        raise AttributeError("claims are read-only: all requests with the same token share them")

    __setattr__ = __delattr__ = _refuse

    def __await__(self) -> Generator[None, None, Self]:
        """Itself, at once. FastAPI awaits the result of `require(...)`, so that it needs no thread for the call."""
        yield from ()
        return self

    def __reduce__(self) -> tuple[Callable[..., "Claims"], tuple[object, ...]]:
        return _rebuilt, (type(self), self.to_dict(), self._roles_claim, self.credentials, self.tenant)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> dict[str, Any]:
        """The schema for pydantic: only an instance is valid, and it is serialized as an object."""
        serialization = {"type": "function-plain", "function": cls.to_dict}
        return {"type": "is-instance", "cls": cls, "serialization": serialization}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: object) -> dict[str, Any]:
        """The JSON Schema for pydantic: an object with any members."""
        return {"type": "object", "title": "Claims"}

    @property
    def __pydantic_serializer__(self) -> Any:
        """The serializer that pydantic uses for an instance in a field of type `Any`."""
        if "pydantic_core" not in sys.modules:
            raise AttributeError("__pydantic_serializer__")
        return _serializer(type(self))

    def __repr__(self) -> str:
        return f"<Claims of {self.get('sub')!r}>"

    def to_dict(self) -> dict[str, Any]:
        """A new copy of plain dicts and lists, which the caller may change."""
        copy: dict[str, Any] = thaw(self._members)
        return copy

    @property
    def subject(self) -> str:
        """The claim `sub`: the user's stable id."""
        subject: str = self._members["sub"]
        return subject

    @property
    def session_id(self) -> str | None:
        """The claim `sid`: the id of the token's session. None: the token has no session."""
        return self._members.get("sid")

    @property
    def thumbprint(self) -> str | None:
        """The thumbprint of the key that the token is bound to (RFC 9449 section 6.1). None: any holder may use it."""
        if "cnf" not in self._members:
            return None
        thumbprint: str = self._members["cnf"]["jkt"]
        return thumbprint

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes in the claim that `SCOPE_CLAIM` names."""
        return frozenset(self.credentials.scopes)

    @property
    def roles(self) -> frozenset[str]:
        """The user's roles in the claim that `ROLES_CLAIM` names: a string, a list, or an object.

        The roles in an object are the names of its members whose value is an object. ZITADEL writes such a claim: each
        value lists the organisations in which the user has the role.
        """
        roles = find_claim(self._members, self._roles_claim)
        if isinstance(roles, Mapping):
            return frozenset(name for name, held_in in roles.items() if isinstance(held_in, Mapping))
        return frozenset((roles,) if type(roles) is str else _strings(roles))

    @property
    def expires_at(self) -> float:
        """The claim `exp`: seconds since the epoch. Infinite for a token without one, which is no JWT."""
        expires_at: float = self._members.get("exp", inf)
        return expires_at

    @property
    def issuer(self) -> str:
        """The claim `iss`."""
        issuer: str = self._members["iss"]
        return issuer

    @property
    def tenant(self) -> str | None:
        """The tenant whose token this is: the path segment of `iss` at the placeholder of `ISSUER`.

        None: the settings name the issuer without a placeholder.
        """
        return self._standing.tenant

    @property
    def is_authenticated(self) -> bool:
        """True. A member of Starlette's `BaseUser`."""
        return True

    @property
    def identity(self) -> str:
        """The subject. A member of Starlette's `BaseUser`."""
        return self.subject

    @property
    def display_name(self) -> str:
        """The claim `name`, `preferred_username` or `email`, else the subject (OpenID Connect Core section 5.1)."""
        given = (self._members.get(name) for name in ("name", "preferred_username", "email"))
        return next((name for name in given if type(name) is str and name), self.subject)


# `__setattr__` refuses every change, so the constructor uses the setters of the slots.
_set_members, _set_roles_claim, _set_standing, _set_credentials = [
    vars(Claims)[name].__set__ for name in Claims.__slots__
]


def _rebuilt(
    cls: type[Claims],
    members: dict[str, Any],
    roles_claim: str,
    credentials: AuthCredentials,
    tenant: str | None = None,
) -> Claims:
    """Makes the copy of `Claims` for `copy` and `pickle`."""
    return cls._of_parts(freeze(members), roles_claim, credentials, Standing(tenant) if tenant else OF_NO_ISSUER)


@cache
def _serializer(cls: type[Claims]) -> Any:
    return sys.modules["pydantic_core"].SchemaSerializer(cls.__get_pydantic_core_schema__(None, None))


def _credentials(scopes: object) -> AuthCredentials:
    """The credentials with these scopes: a space-separated string (RFC 6749 section 3.3) or a list."""
    return _split_scopes(scopes) if type(scopes) is str else AuthCredentials(_strings(scopes))


@lru_cache(maxsize=512)
def _split_scopes(scopes: str) -> AuthCredentials:
    # Many users have the same scopes, so thousands of cached tokens share these objects.
    return AuthCredentials(tuple([scope for scope in scopes.split(" ") if scope]))


def _strings(value: object) -> tuple[str, ...]:
    return tuple([member for member in value if type(member) is str]) if type(value) is tuple else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPolicy:
    """The rules for a token's header and claims. `Settings` describes each field under the same name.

    `audience`: None switches the audience check off. `leeway`: in seconds. `type`: None switches the check of the type
    claim off. `checks_iat`: a token with an `iat` in the future is refused. `requires_exp`: a token without `exp` is.
    """

    issuer: str
    audience: tuple[str, ...] | None
    algorithms: frozenset[str]
    leeway: float = 30
    type: tuple[str, str] | None = ("type", "access")
    typ: frozenset[str] = DEFAULT_TYP
    require_typ: bool = False
    required_claims: tuple[tuple[str, str | None], ...] = ()
    audience_claim: str = "aud"
    scope_claim: str = "scope"
    roles_claim: str = "roles"
    max_token_size: int = 8192
    checks_iat: bool = True
    requires_exp: bool = True


def check_claims(claims: Mapping[str, Any], policy: TokenPolicy, now: float) -> tuple[float, float]:
    """Check the claims at `now`. Returns from when and until when they are valid. Times are in seconds since the epoch.

    Raises a child of `InvalidToken` (RFC 7519 section 4.1, RFC 9068 section 4).
    """
    # Revocation compares both claims as strings.
    if ("jti" in claims and type(claims["jti"]) is not str) or ("sid" in claims and type(claims["sid"]) is not str):
        raise MalformedClaims("jti or sid is no string")
    starts, ends = _check_times(claims, policy, now)
    if claims.get("iss") != policy.issuer:
        raise WrongIssuer if "iss" in claims else MissingClaim("iss")
    if policy.audience is not None:
        _check_audience(claims, policy.audience_claim, policy.audience)
    subject = claims.get("sub")
    if type(subject) is not str or not subject:
        raise MalformedClaims("sub is no string or empty") if "sub" in claims else MissingClaim("sub")
    if policy.type is not None:
        name, wanted = policy.type
        # A claim of this exact name needs no call of `find_claim`, here and below. Every token comes this way.
        if (claims[name] if name in claims else find_claim(claims, name)) != wanted:
            raise WrongType
    if "events" in claims and isinstance(claims["events"], Mapping) and LOGOUT_EVENT in claims["events"]:
        raise WrongType("a logout token")
    if "cnf" in claims:
        bound_to(claims)
    for name, expected in policy.required_claims:
        value = claims[name] if name in claims else find_claim(claims, name, _ABSENT)
        if value is _ABSENT:
            raise MissingClaim(name)
        if expected is not None and not _matches(value, expected):
            raise WrongClaim(name)
    return starts, ends


def bound_to(claims: Mapping[str, Any]) -> str | None:
    """The thumbprint of the key whose holder alone may use the token, by its `cnf`. None: any holder may.

    Raises `WrongClaim` for a `cnf` that is no object, is empty, or has a member that is not checked (RFC 7800 section
    3.1, RFC 9449 section 6.1).
    """
    if "cnf" not in claims:
        return None
    confirmation = claims["cnf"]
    if not isinstance(confirmation, Mapping) or list(confirmation) != ["jkt"]:
        raise WrongClaim("cnf")
    thumbprint = confirmation["jkt"]
    if type(thumbprint) is not str or not thumbprint:
        raise WrongClaim("cnf")
    return thumbprint


def _check_times(claims: Mapping[str, Any], policy: TokenPolicy, now: float) -> tuple[float, float]:
    expires: Any = claims.get("exp", None if policy.requires_exp else _NO_END)
    not_before, issued = claims.get("nbf", 0), claims.get("iat", 0)
    for time in (expires, not_before, issued):
        # A boolean is an int in Python, so types are compared exactly. NaN and infinity fail the comparison.
        if (type(time) is not int and type(time) is not float) or not -_TIME_LIMIT < time < _TIME_LIMIT:
            raise MissingClaim("exp") if "exp" not in claims else MalformedClaims("a time is no finite number")
    leeway = policy.leeway
    if not policy.checks_iat:
        issued = not_before
    if expires + leeway <= now:
        raise ExpiredToken
    if not_before - leeway > now:
        raise ImmatureToken
    if issued - leeway > now:
        raise IssuedInFuture
    return max(not_before, issued) - leeway, expires + leeway


def _check_audience(claims: Mapping[str, Any], name: str, expected: tuple[str, ...]) -> None:
    audience = claims[name] if name in claims else find_claim(claims, name, _ABSENT)
    if audience is _ABSENT:
        raise MissingClaim(name)
    if type(audience) is str:
        audience = (audience,)
    elif not isinstance(audience, (list, tuple)) or not audience:
        raise MalformedClaims(f"{name} is no audience")
    meets = False
    for member in audience:
        if type(member) is not str:
            raise MalformedClaims(f"{name} is neither a string nor a list of them")
        meets = meets or member in expected
    if not meets:
        raise WrongAudience


def _matches(value: object, expected: str) -> bool:
    """Whether `expected` is the string `value`, or the JSON text of a boolean or number: `email_verified=true`."""
    return value == expected or (isinstance(value, (bool, int, float)) and json.dumps(value) == expected)
