"""Renewal: asks again about the opaque tokens of open WebSockets, when the answers about them hold no longer."""

from anyio import CapacityLimiter, move_on_after

from asgi_jwt.auth import Auth
from asgi_jwt.errors import InactiveToken, VerifierUnavailable
from asgi_jwt.tokens.claims import Claims

ASKED_AT_ONCE = 25
"""For how many WebSockets of an event loop verifiers are asked at the same time."""

ASK_TIMEOUT = 10.0
"""How long (s) an answer may take, with the wait for a turn."""

_SHORTEST_HOLD = 1.0
"""The shortest time (s) between two questions about the token of a WebSocket."""


class Renewal:
    """Asks the verifiers of an `Auth` that has some, for the WebSockets of one event loop."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._few = CapacityLimiter(ASKED_AT_ONCE)

    def due_at(self, token: bytes) -> float:
        """When to ask about the token again, in seconds since the epoch."""
        tokens = self._auth.opaque_tokens
        held_until = 0 if tokens is None else tokens.held_until(token)
        return max(held_until, self._auth.clock() + _SHORTEST_HOLD)

    async def ask(self, claims: Claims, token: bytes) -> Claims:
        """The present claims of the token, which had `claims` before.

        Raises `InactiveToken` if they are of another subject, the error of a refused token, and `VerifierUnavailable`.
        """
        with move_on_after(ASK_TIMEOUT):
            async with self._few:
                # The proof of a key was checked when the WebSocket was opened, and revocations are watched anyway.
                present = await self._auth.authentic(token)
            if _holder(present) != _holder(claims):
                raise InactiveToken("the token is another subject's now")
            return present
        raise VerifierUnavailable(f"no answer within {ASK_TIMEOUT:g} s")


def _holder(claims: Claims) -> tuple[str, str, object]:
    return claims.issuer, claims.subject, claims.get("cnf")
