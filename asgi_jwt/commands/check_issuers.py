"""The findings of `asgi-jwt check` about remote issuers and their keys."""

from typing import cast

from asgi_jwt.commands.check_settings import name_key
from asgi_jwt.commands.findings import Finding, ok, problem
from asgi_jwt.commands.output import counted, listed
from asgi_jwt.errors import KeysUnavailable, WrongIssuer
from asgi_jwt.events import printable
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.discovery import ANOTHER_ISSUER
from asgi_jwt.tokens.remote_keys import RemoteKeySet
from asgi_jwt.tokens.verifier import TokenVerifier


async def check_tenant(verifier: TokenVerifier, iss: str) -> list[Finding]:
    """The findings about a tenant of `TENANTS`: whether its server knows it, and those of `check_issuer`."""
    keys, policy = await verifier.trust_in(iss)
    try:
        return await check_issuer(policy, cast("RemoteKeySet", keys))
    except WrongIssuer as why:
        mend = "take it out of ASGI_JWT_TENANTS, or correct it or ASGI_JWT_ISSUER"
        return [problem("issuer", f"{printable(iss)} is no issuer: {printable(str(why))}", mend)]


async def check_issuer(policy: TokenPolicy, keys: RemoteKeySet) -> list[Finding]:
    """The findings about an issuer: whether its keys can be fetched, which keys it has, and which are unusable."""
    issuer = printable(policy.issuer)
    try:
        found = await keys.current()
    except KeysUnavailable as why:
        mend = "set ASGI_JWT_ISSUER to that, to the letter, if it is the one you trust"
        if ANOTHER_ISSUER not in str(why):
            mend = "see that ASGI_JWT_ISSUER, or ASGI_JWT_JWKS_URL, is right, and that this machine reaches it"
        return [problem("issuer", f"the keys of {issuer} can't be had: {printable(str(why))}", mend)]
    verifying = [key for key in found if key.verifies and key.algorithms]
    has = f"{counted(len(verifying), 'key')} to verify with, {listed(map(name_key, verifying))}"
    left_out = [ok("issuer", f"{issuer} has one that is left out: {printable(why)}") for why in keys.left_out]
    return [ok("issuer", f"{issuer} has {has}"), *left_out]
