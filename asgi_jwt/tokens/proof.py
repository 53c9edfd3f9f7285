"""DPoP proofs: reads a proof and checks its claims. RFC 9449 sections 4.2 and 4.3. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from asgi_jwt.errors import InvalidProof, MalformedToken
from asgi_jwt.tokens.algorithms import ASYMMETRIC
from asgi_jwt.tokens.compact import decode_base64url, encode_base64url, parse_floats, parse_object, split
from asgi_jwt.tokens.uri import normalized, without_query

PROOF_LIFE = 60
"""How far (s) the `iat` of a proof may be from the clock, in both directions."""

PROOF_ALGORITHMS = tuple(sorted(ASYMMETRIC))
"""The algorithms of proofs, as the metadata and the challenges name them (RFC 9449 sections 5.1 and 7.1)."""

OTHER_URL = "htu is another URL"

_LARGEST = 4096
_ALGS = " ".join(PROOF_ALGORITHMS)


class Proof(NamedTuple):
    """The proof that came with a token: the values of the request's `DPoP` headers, its method, and its URL.

    `url` is the URL as the client sees it; its query and fragment are ignored. A tuple holds several URLs, of which the
    client may have used any.
    """

    headers: Sequence[bytes]
    method: str
    url: str | tuple[str, ...]


def read_proof(headers: Sequence[bytes]) -> tuple[bytes, Mapping[str, Any], bytes, bytes]:
    """The encoded header, the claims, the signing input and the signature of the proof in the one `DPoP` header.

    Raises `InvalidProof`.
    """
    if len(headers) != 1:
        raise InvalidProof("several DPoP headers" if headers else "no DPoP header")
    if len(headers[0]) > _LARGEST:
        raise InvalidProof(f"more than {_LARGEST} bytes")
    try:
        header, payload, signature, message = split(headers[0])
        return header, parse_floats(decode_base64url(payload)), message, decode_base64url(signature)
    except MalformedToken as fault:
        raise InvalidProof(fault.detail) from None


def read_proof_header(segment: bytes) -> tuple[str, dict[str, Any]]:
    """The `alg` and the `jwk` of a proof's header. Raises `InvalidProof`."""
    try:
        header = parse_object(decode_base64url(segment))
    except MalformedToken as fault:
        raise InvalidProof(fault.detail) from None
    typ, alg, jwk = header.get("typ"), header.get("alg"), header.get("jwk")
    if type(typ) is not str or typ.lower() not in ("dpop+jwt", "application/dpop+jwt"):
        raise InvalidProof("typ is not dpop+jwt")
    if type(alg) is not str or alg not in ASYMMETRIC:
        raise InvalidProof(f"alg is none of {_ALGS}")
    if "crit" in header or "b64" in header:
        raise InvalidProof("an extension that is not understood")
    if type(jwk) is not dict:
        raise InvalidProof("jwk is no object")
    return alg, jwk


def check_proof_claims(
    claims: Mapping[str, Any], proof: Proof, token_digest: bytes | None, now: float
) -> tuple[str, float]:
    """Check the claims of `proof`. Returns its `jti`, and until when (s since the epoch) it is accepted.

    `token_digest`: the SHA-256 digest of the access token that came with it, or None for a login and a refresh. Raises
    `InvalidProof`.
    """
    issued: Any = claims.get("iat")
    if type(issued) is not float or not -PROOF_LIFE <= now - issued <= PROOF_LIFE:
        raise InvalidProof(f"iat is not within {PROOF_LIFE} s of this server's clock")
    if claims.get("htm") != proof.method:
        raise InvalidProof("htm is another method")
    htu = claims.get("htu")
    if htu != proof.url and not _is_of(htu, proof.url):
        raise InvalidProof(OTHER_URL)
    if token_digest is not None and claims.get("ath") != encode_base64url(token_digest).decode():
        raise InvalidProof("ath is of another token")
    jti = claims.get("jti")
    if type(jti) is not str or not jti:
        raise InvalidProof("jti is no string or empty")
    return jti, issued + PROOF_LIFE


def _is_of(htu: object, url: str | tuple[str, ...]) -> bool:
    urls = (url,) if isinstance(url, str) else url
    if type(htu) is not str:
        return False
    if htu in urls:
        return True
    said = normalized(without_query(htu))
    return said is not None and said in [normalized(without_query(each)) for each in urls]
