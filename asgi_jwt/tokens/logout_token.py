"""The claims of a logout token. OpenID Connect Back-Channel Logout 1.0, sections 2.4 and 2.6. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from asgi_jwt.errors import ExpiredToken, MalformedClaims, MissingClaim, WrongClaim, WrongType
from asgi_jwt.tokens.claims import LOGOUT_EVENT, TokenPolicy, check_claims

LOGOUT_TYP = frozenset({"JWT", "logout+jwt"})
"""The values of the header's `typ`, if it is there."""

MAX_AGE = 300.0
"""How old (s) a logout token may be, by its `iat`. The leeway is added."""


def check_logout_claims(claims: Mapping[str, Any], policy: TokenPolicy, audience: tuple[str, ...], now: float) -> None:
    """Check the claims of a logout token for the client ids in `audience`. `now` is in seconds since the epoch.

    `policy` has the rules for access tokens of the issuer. Raises a child of `InvalidToken`.
    """
    if "iat" not in claims:
        raise MissingClaim("iat")
    if claims.get("sid") == "":
        raise MalformedClaims("sid is empty")
    # A token may lack `exp`, and `sub` beside a `sid`. Where they are, the rules are those of access tokens.
    lacking = {"exp": now + 1} | ({"sub": claims["sid"]} if "sid" in claims else {})
    common = lacking | {name: claims[name] for name in claims if name != "events"}
    rules = replace(policy, type=None, required_claims=(), audience=audience, audience_claim="aud")
    check_claims(common, rules, now)
    if claims["iat"] + MAX_AGE + policy.leeway <= now:
        raise ExpiredToken("the logout token is older than 5 minutes")
    events = claims.get("events")
    if not isinstance(events, Mapping) or not isinstance(events.get(LOGOUT_EVENT), Mapping):
        raise WrongType("events has no logout event")
    if "nonce" in claims:
        raise WrongClaim("nonce")
