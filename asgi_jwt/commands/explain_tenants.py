"""Explains why a token of a tenant was refused: its `iss`, or its claim `tid`. Pure."""

from asgi_jwt.commands.output import shown
from asgi_jwt.commands.refused_token import RefusedToken
from asgi_jwt.events import printable
from asgi_jwt.tokens.issuer_pattern import IssuerPattern, is_tenant


def explain_tenant(refusal: RefusedToken) -> str | None:
    """Why the token's `iss` is that of no tenant. None: it has not the form of an issuer with a placeholder."""
    iss = refusal.claims.get("iss")
    segments = (_segment_of(pattern, iss) for pattern in refusal.patterns if isinstance(iss, str))
    tenant = next((segment for segment in segments if segment is not None), None)
    if tenant is None:
        return None
    found = refusal.found("iss")
    if not is_tenant(tenant):
        return (
            f"{found}, and {shown(tenant)} is no tenant, which is one path segment of up to 100 letters, digits, dots, "
            "underscores and dashes: ask the issuer for a token of a tenant"
        )
    if refusal.error.detail is not None:
        return f"{found}, {printable(str(refusal.error))}: see that it exists, and correct ASGI_JWT_ISSUER"
    return f"{found}, ASGI_JWT_TENANTS lacks {shown(tenant)}: add it there, if you trust it"


def is_nearly_tenant(pattern: IssuerPattern, iss: str) -> bool:
    """Whether `iss` would be that of a tenant, if case and slashes at the end made no difference."""
    loose = IssuerPattern.parse(loosely(pattern.text), None)
    return loose.tenant_of(loosely(iss)) is not None


def loosely(issuer: str) -> str:
    """The issuer without slashes at its end, in lower case."""
    return issuer.rstrip("/").lower()


def explain_tid(refusal: RefusedToken) -> str:
    """Why the token's `tid` was refused, though no setting asks for it."""
    return (
        f"{refusal.found('tid')}, {refusal.found('iss')}: its key signs for every tenant, so both have to name one: "
        "ask the issuer for a new token"
    )


def _segment_of(pattern: IssuerPattern, iss: str) -> str | None:
    long_enough = len(iss) >= len(pattern.before) + len(pattern.after)
    if not (long_enough and iss.startswith(pattern.before) and iss.endswith(pattern.after)):
        return None
    return iss[len(pattern.before) : len(iss) - len(pattern.after)]
