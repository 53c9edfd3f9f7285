"""What `asgi-jwt check` finds at remote issuers: their keys, and the time of their clocks."""

from collections.abc import Iterator

from asgi_jwt.commands.check_settings import name_key
from asgi_jwt.commands.findings import Finding, ok, problem, warning
from asgi_jwt.commands.output import count, listed, printable
from asgi_jwt.commands.times import duration
from asgi_jwt.errors import KeysUnavailable
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.discovery import ANOTHER_ISSUER
from asgi_jwt.tokens.jwks import RemoteKeySet

AGREES = 5.0
"""Seconds by which clocks may differ without a word."""


async def check_issuer(policy: TokenPolicy, keys: RemoteKeySet) -> list[Finding]:
    """Whether its keys can be had now, which they are, why others are left out, and whether the clocks agree."""
    issuer = printable(policy.issuer)
    try:
        found = await keys.current()
    except KeysUnavailable as why:
        mend = "set ASGI_JWT_ISSUER to that, to the letter, if it is the one you trust"
        if ANOTHER_ISSUER not in str(why):
            mend = "see that ASGI_JWT_ISSUER, or ASGI_JWT_JWKS_URL, is right, and that this machine reaches it"
        fetched = [problem("issuer", f"the keys of {issuer} can't be had: {printable(str(why))}", mend)]
    else:
        verifying = [key for key in found.keys if key.verifies and key.algorithms]
        has = f"{count(len(verifying), 'key')} to verify with, {listed(map(name_key, verifying))}"
        fetched = [ok("issuer", f"{issuer} has {has}")]
        fetched += [ok("issuer", f"{issuer} has one that is left out: {printable(why)}") for why in keys.left_out]
    return [*fetched, *_check_clock(issuer, keys.clock_ahead, policy.leeway)]


def _check_clock(issuer: str, ahead: float | None, leeway: float) -> Iterator[Finding]:
    if ahead is None:
        return
    if abs(ahead) <= AGREES:
        yield ok("clock", f"it agrees with that of {issuer}")
        return
    told = f"it is {duration(ahead)} {'behind' if ahead > 0 else 'ahead of'} that of {issuer}"
    mend = "have it set by NTP"
    if abs(ahead) > leeway:
        refused = "new tokens are refused as of the future" if ahead > 0 else "tokens are refused before they expire"
        yield problem("clock", f"{told}, past ASGI_JWT_LEEWAY ({duration(leeway)}): {refused}", mend)
    else:
        yield warning("clock", told, mend)
