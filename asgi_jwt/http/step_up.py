"""StepUp: asks for a login that is recent, or made by a strong method. RFC 9470."""

from collections.abc import Iterable
from typing import NamedTuple, Self

from asgi_jwt.errors import InsufficientAuthentication
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.identity import kind, names


class StepUp(NamedTuple):
    """The login that a route asks for, by the claims `acr` and `auth_time` (OpenID Connect Core 1.0 section 2).

    `acr`: the accepted values of `acr`. An empty tuple accepts any login.
    `max_age`: how long ago the login may be, in seconds. None: any time.
    """

    acr: tuple[str, ...]
    max_age: int | None

    @classmethod
    def of(cls, acr: str | Iterable[str] | None, max_age: int | None) -> Self | None:
        """None if nothing is asked for. Raises `TypeError` for other types, and `ValueError` for values without use."""
        listed = () if acr is None else names((acr,) if isinstance(acr, str) else acr, "acr values")
        if acr is not None and not listed:
            raise ValueError("acr was given, and none of its values has a character: that would accept any login")
        if any(" " in value for value in listed):
            raise ValueError("an acr value holds no space")
        if max_age is not None and type(max_age) is not int:
            raise TypeError(f"max_age is a whole number of seconds, not {kind(max_age)}")
        if max_age is not None and max_age < 0:
            raise ValueError("max_age is 0 seconds at least")
        return cls(listed, max_age) if listed or max_age is not None else None

    def check(self, claims: Claims, *, now: float, leeway: float) -> None:
        """Raises `InsufficientAuthentication` if the login does not suffice at `now`, in seconds since the epoch.

        `leeway` is in seconds. An `auth_time` that is missing, no number, or in the future does not suffice.
        """
        recent = self.max_age is None or _is_recent(claims.get("auth_time"), self.max_age + leeway, now, leeway)
        if not recent or (self.acr and claims.get("acr") not in self.acr):
            raise InsufficientAuthentication(acr_values=" ".join(self.acr), max_age=self.max_age)


def _is_recent(auth_time: object, age: float, now: float, leeway: float) -> bool:
    if isinstance(auth_time, bool) or not isinstance(auth_time, int | float):
        return False
    return now - age <= auth_time <= now + leeway  # false for NaN
