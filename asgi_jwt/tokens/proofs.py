"""Proofs: verifies DPoP proofs, and keeps the keys of those that came with a token. RFC 9449 section 4.3."""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256

from asgi_jwt.errors import InvalidProof
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.proof import Proof, check_proof_claims, read_proof, read_proof_header
from asgi_jwt.tokens.proof_key import proof_key, proof_thumbprint

_MAX_SIGNERS = 1024


VerifiedProof = tuple[str, bytes, float]
"""A proof that verified: the thumbprint of its key, its digest, and until when (s since the epoch) it is accepted.

Two proofs of one key with one `jti` have one digest. The proof may have been shown before. A plain tuple costs each
request with a proof 0.4 µs less than a named one.
"""


class _Signer:
    """The key and the algorithm in a proof's header. The key is imported when the first signature is checked."""

    __slots__ = ("_jwk", "algorithm", "header", "key", "thumbprint")

    def __init__(self, header: bytes) -> None:
        self.header = header
        self.algorithm, self._jwk = read_proof_header(header)
        self.thumbprint = proof_thumbprint(self._jwk)
        self.key: Key | None = None

    def imported(self) -> Key:
        self.key = proof_key(self._jwk, self.algorithm)
        return self.key


class Proofs:
    """Verifies proofs. `clock` returns seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._signers: OrderedDict[str, _Signer] = OrderedDict()

    def verify(
        self, proof: Proof | None, thumbprint: str | None = None, token_digest: bytes | None = None
    ) -> VerifiedProof:
        """Verify a proof of the key with this `thumbprint`. None stands for no proof, and for any key.

        `token_digest`: the SHA-256 digest of the access token that the proof came with. None: it came with a login or a
        refresh. Raises `InvalidProof`.
        """
        if proof is None:
            raise InvalidProof("no proof")
        header, claims, message, signature = read_proof(proof.headers)
        known = signer = None if thumbprint is None else self._signers.get(thumbprint)
        if signer is None or signer.header != header:
            signer = _Signer(header)
            if thumbprint not in (None, signer.thumbprint):
                raise InvalidProof("a proof of another key")
        jti, until = check_proof_claims(claims, proof, token_digest, self._clock())
        key = signer.key or signer.imported()
        if not key.verify(signer.algorithm, message, signature):
            raise InvalidProof("the signature does not verify")
        # Nobody fills the memory with keys of tokens that were not issued.
        if thumbprint is not None and signer is not known:
            self._remember(signer)
        of_key = f"{signer.thumbprint}.{jti}".encode("utf-8", "surrogatepass")
        return signer.thumbprint, sha256(of_key).digest(), until

    def _remember(self, signer: _Signer) -> None:
        if signer.thumbprint not in self._signers and len(self._signers) >= _MAX_SIGNERS:
            self._signers.popitem(last=False)
        self._signers[signer.thumbprint] = signer
