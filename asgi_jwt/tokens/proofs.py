"""Proofs: verifies DPoP proofs, and keeps the keys of those that came with a token. RFC 9449 section 4.3."""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from asgi_jwt.errors import InvalidProof
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.proof import Proof, check_proof_claims, read_proof, read_proof_header
from asgi_jwt.tokens.proof_key import proof_key, proof_thumbprint

_MAX_SIGNERS = 1024


class VerifiedProof(NamedTuple):
    """A proof that verified. It may have been shown before.

    `thumbprint`: the thumbprint of its key.
    `digest`: equal for two proofs of one key with one `jti`.
    `until`: the proof is accepted until then, in seconds since the epoch.
    """

    thumbprint: str
    digest: bytes
    until: float


class _Signer:
    """The key and the algorithm in a proof's header. The key is imported when the first signature is checked."""

    __slots__ = ("_algorithm", "_jwk", "_key", "header", "thumbprint")

    def __init__(self, header: bytes) -> None:
        self.header = header
        self._algorithm, self._jwk = read_proof_header(header)
        self.thumbprint = proof_thumbprint(self._jwk)
        self._key: Key | None = None

    def verify(self, message: bytes, signature: bytes) -> bool:
        if self._key is None:
            self._key = proof_key(self._jwk, self._algorithm)
        return self._key.verify(self._algorithm, message, signature)


class Proofs:
    """Verifies proofs. `clock` returns seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._signers: OrderedDict[str, _Signer] = OrderedDict()

    def verify(
        self, proof: Proof | None, *, thumbprint: str | None = None, access_token: bytes | None = None
    ) -> VerifiedProof:
        """Verify a proof of the key with this `thumbprint`. None stands for no proof, and for any key.

        `access_token`: the token that the proof came with. None: it came with a login or a refresh. Raises
        `InvalidProof`.
        """
        if proof is None:
            raise InvalidProof("no proof")
        header, claims, message, signature = read_proof(proof.headers)
        signer = None if thumbprint is None else self._signers.get(thumbprint)
        if signer is None or signer.header != header:
            signer = _Signer(header)
        if thumbprint not in (None, signer.thumbprint):
            raise InvalidProof("a proof of another key")
        jti, until = check_proof_claims(claims, proof, access_token=access_token, now=self._clock())
        if not signer.verify(message, signature):
            raise InvalidProof("the signature does not verify")
        if thumbprint is not None:  # nobody fills the memory with keys of tokens that were not issued
            self._remember(signer)
        of_key = f"{signer.thumbprint}.{jti}".encode("utf-8", "surrogatepass")
        return VerifiedProof(signer.thumbprint, sha256(of_key).digest(), until)

    def _remember(self, signer: _Signer) -> None:
        if signer.thumbprint not in self._signers and len(self._signers) >= _MAX_SIGNERS:
            self._signers.popitem(last=False)
        self._signers[signer.thumbprint] = signer
