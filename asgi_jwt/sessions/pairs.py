"""The pair of tokens that a login or a refresh returns."""

from math import ceil, floor
from typing import NamedTuple

from asgi_jwt.sessions.rotation import TOKEN_STAYS, Decision, Verdict
from asgi_jwt.stores.millis import Millis, seconds
from asgi_jwt.stores.records import Session
from asgi_jwt.tokens.identity import Described
from asgi_jwt.tokens.issuer import TokenIssuer


class TokenPair(NamedTuple):
    """The tokens of a login or a refresh.

    With the verdicts SAME and HEALED `refresh_token` is the presented one. `expires_in` is the life of the access token
    in seconds. `refresh_expires_in` is the life of the session in seconds if it is not refreshed. `scope` has the
    scopes of the access token, separated by spaces. `verdict` is None for a login. `remember`: whether the browser
    keeps the cookies when it is closed. `is_bound`: the tokens are bound to a key (RFC 9449 section 5).
    """

    access_token: str
    refresh_token: str
    expires_in: int
    scope: str
    verdict: Verdict | None
    refresh_expires_in: int
    remember: bool = True
    is_bound: bool = False

    @property
    def token_type(self) -> str:
        """The scheme by which the access token is sent (RFC 6749 section 7.1)."""
        return "DPoP" if self.is_bound else "Bearer"

    def __repr__(self) -> str:
        return f"TokenPair(verdict={self.verdict!s}, scope={self.scope!r}, expires_in={self.expires_in})"


def issued_pair(
    issuer: TokenIssuer,
    decision: Decision,
    session: Session,
    access_token: str,
    identity: Described,
    *,
    now: Millis,
    presented: str | bytes | None = None,
    shared: bool = False,
) -> TokenPair:
    """The pair for a decision about `session`. Its refresh token is a new one, or the `presented` one.

    `presented` is None for a login. `now` is in ms since the epoch. `shared`: several processes have copies of the
    refresh token. It then lives as long as the session, because an old copy is answered, too.
    """
    ends_at = session.ends_at if shared else session.expires_at
    verdict, branch = decision.verdict, decision.branch
    if verdict in TOKEN_STAYS and presented is not None:
        refresh_token = presented if isinstance(presented, str) else presented.decode()
    else:
        refresh_token = issuer.refresh_token(
            session.subject,
            session.sid,
            generation=session.generation,
            branch=branch or "",
            expires_at=ceil(seconds(ends_at)),
            jkt=session.jkt,
        )
    return TokenPair(
        access_token=access_token,
        refresh_token=refresh_token,
        expires_in=min(issuer.access_ttl, max(0, floor(seconds(session.ends_at - now)))),
        scope=" ".join(identity.scopes),
        verdict=None if presented is None else verdict,
        refresh_expires_in=max(0, floor(seconds(ends_at - now))),
        remember=session.remember is not False,
        is_bound=session.jkt is not None,
    )
