"""Binding: asks for the proof of a bound token's key, at the resource, at a login and at a refresh. RFC 9449."""

from collections.abc import Awaitable
from typing import Literal, Protocol

from asgi_jwt.errors import InvalidGrant, InvalidGrantProof, InvalidProof, UnboundToken, WrongClaim
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.proof import Proof
from asgi_jwt.tokens.proofs import Proofs, VerifiedProof

Mode = Literal["on", "required", "off"]
"""The setting `DPOP`."""


class Replays(Protocol):
    """Remembers which proofs were shown."""

    async def remember(self, digest: bytes, until: float) -> None:
        """Remember a new digest until `until`, in seconds since the epoch.

        Raises `InvalidProof` for a digest that is remembered, and a child of `Unavailable` if that can't be said.
        """
        ...


class Binding:
    """The rules about bound tokens and their proofs, for one `mode`."""

    def __init__(self, mode: Mode, proofs: Proofs, replays: Replays) -> None:
        self._mode = mode
        self._proofs = proofs
        self._replays = replays

    def check(self, claims: Claims, token_digest: bytes, proof: Proof | None) -> VerifiedProof | None:
        """The proof of the key that an access token is bound to. None: the token is not bound.

        `token_digest`: the SHA-256 digest of the token. `use` has to follow. Raises `InvalidProof`, `WrongClaim` for a
        bound token if DPoP is off, and `UnboundToken` for any other token if it is required.
        """
        if self._mode != "on":
            self.check_mode(claims)
        thumbprint = claims.thumbprint
        return None if thumbprint is None else self._proofs.verify(proof, thumbprint, token_digest)

    def check_mode(self, claims: Claims) -> None:
        """Raises `UnboundToken` or `WrongClaim` for a token that the mode does not allow."""
        if claims.thumbprint is None and self._mode == "required":
            raise UnboundToken
        if claims.thumbprint is not None and self._mode == "off":
            raise WrongClaim("cnf")

    def at_sight(self, claims: Claims | None) -> Claims | None:
        """The claims, if no proof may be asked for. None: `check` has to decide."""
        return None if claims is None or self._mode == "required" or claims.thumbprint is not None else claims

    def use(self, verified: VerifiedProof) -> Awaitable[None]:
        """Have the proof remembered. Raises `InvalidProof` for one that was shown before, and `Unavailable`."""
        _, digest, until = verified
        return self._replays.remember(digest, until)

    def at_login(self, proof: Proof | None) -> VerifiedProof | None:
        """The proof of the key that a new session is to be bound to, or None. A proof without headers is none.

        `use_at_login` has to follow when the user is authenticated: anyone can make keys and proofs, and would else
        fill the memory. Raises `InvalidGrantProof`, also without a proof if DPoP is required.
        """
        if self._mode == "off" or (self._mode == "on" and not _is_shown(proof)):
            return None
        return self._granted(proof, None)

    async def use_at_login(self, verified: VerifiedProof | None) -> str | None:
        """Have the proof of a login remembered. Returns the thumbprint of its key. None stands for no proof.

        Raises `InvalidGrantProof` for a proof that was shown before, and `Unavailable`.
        """
        return None if verified is None else await self._use_granted(verified)

    async def at_refresh(self, thumbprint: str | None, proof: Proof | None) -> None:
        """Ask for the proof of the key that a refresh token is bound to, by its `thumbprint`. None: it is not bound.

        Raises `InvalidGrantProof`, and `InvalidGrant` for a token that is not bound if DPoP is required.
        """
        if thumbprint is None:
            if self._mode == "required":
                raise InvalidGrant("the session is not bound to a key")
            if self._mode == "off" or not _is_shown(proof):
                return
        elif self._mode == "off":
            raise InvalidGrantProof("the session is bound to a key, and DPOP is off")
        await self._use_granted(self._granted(proof, thumbprint))

    def _granted(self, proof: Proof | None, thumbprint: str | None) -> VerifiedProof:
        try:
            return self._proofs.verify(proof, thumbprint)
        except InvalidProof as fault:
            raise InvalidGrantProof(fault.detail) from None

    async def _use_granted(self, verified: VerifiedProof) -> str:
        try:
            await self.use(verified)
        except InvalidProof as fault:
            raise InvalidGrantProof(fault.detail) from None
        return verified[0]


def _is_shown(proof: Proof | None) -> bool:
    return proof is not None and len(proof.headers) > 0
