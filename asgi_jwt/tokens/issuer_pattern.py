"""IssuerPattern: an issuer with a placeholder for the tenant. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PATTERN = re.compile(r"(?P<before>[^{}/]+//[^{}/?#]+/(?:[^{}]*/)?)\{[A-Za-z_][A-Za-z0-9_-]*\}(?P<after>(?:/[^{}]*)?)")
_FORM = "has to have one placeholder as a whole segment of its path, as https://issuer.example/realms/{realm}"


def is_tenant(name: str) -> bool:
    """Whether `name` may be a tenant: 1 to 100 letters, digits, `.`, `_` and `-`, of which a letter or digit is first.

    So it is one path segment, and has one spelling.
    """
    return _TENANT.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class IssuerPattern:
    """An issuer whose path has a placeholder for the tenant: `before`, a tenant, `after`.

    `tenants`: the allowed tenants. None: any tenant. `text`: the pattern with its placeholder, as in the setting.
    """

    text: str
    before: str
    after: str
    tenants: frozenset[str] | None

    @classmethod
    def parse(cls, text: str, tenants: Iterable[str] | None) -> Self:
        """The pattern of `text`. Raises `ValueError` unless its one placeholder is a whole segment of the path."""
        parts = _PATTERN.fullmatch(text)
        if parts is None:
            raise ValueError(_FORM)
        return cls(text, parts["before"], parts["after"], None if tenants is None else frozenset(tenants))

    def tenant_of(self, iss: str) -> str | None:
        """The tenant of this `iss`, compared byte for byte. None: no allowed tenant has this `iss`."""
        tenant = iss[len(self.before) : len(iss) - len(self.after)]
        if iss != self.issuer_of(tenant) or not is_tenant(tenant):
            return None
        return tenant if self.tenants is None or tenant in self.tenants else None

    @property
    def issuers(self) -> tuple[str, ...]:
        """The `iss` of each allowed tenant, sorted. Empty if any tenant is allowed."""
        return tuple(map(self.issuer_of, sorted(self.tenants or ())))

    def issuer_of(self, tenant: str) -> str:
        """The `iss` of the tenant's tokens."""
        return f"{self.before}{tenant}{self.after}"
