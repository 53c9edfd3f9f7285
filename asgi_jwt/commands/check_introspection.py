"""The findings of `asgi-jwt check` about the authorization server that is asked about opaque tokens."""

from asgi_jwt.commands.findings import Finding, ok, problem
from asgi_jwt.errors import VerifierUnavailable
from asgi_jwt.events import printable
from asgi_jwt.tokens.introspection import IntrospectionVerifier

_MADE_UP = "asgi-jwt-check"


async def check_introspection(verifier: IntrospectionVerifier) -> list[Finding]:
    """The findings about its answer to a made-up token, which has to be `"active": false` (RFC 7662 section 2.2)."""
    source = printable(verifier.source)
    try:
        answer = await verifier.introspect(_MADE_UP)
    except VerifierUnavailable as why:
        mend = "see that ASGI_JWT_INTROSPECTION_URL, _CLIENT_ID and _CLIENT_SECRET are right, and that it is reached"
        return [problem("introspection", f"opaque tokens can't be asked about: {printable(str(why))}", mend)]
    if answer.get("active") is not False:
        mend = "see that ASGI_JWT_INTROSPECTION_URL is an endpoint of RFC 7662"
        return [problem("introspection", f"{source} does not call a made-up token inactive", mend)]
    return [ok("introspection", f"{source} is asked about opaque tokens, and answers")]
