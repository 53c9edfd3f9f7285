"""New keys, and how one takes the place of another: pure, but for the randomness of `generate_jwk`."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

from asgi_jwt.tokens.algorithms import SYMMETRIC, jwk_of, new_jwk, thumbprint
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.pem import load_pem

Jwk = Mapping[str, Any]


def generate_jwk(algorithm: str) -> dict[str, Any]:
    """A new private key for `algorithm`, one of `ALGORITHMS`: an RSA key of 2048 bits, a secret as long as its hash."""
    jwk = new_jwk(algorithm)
    # A secret's thumbprint would help to guess it.
    kid = secrets.token_hex(8) if algorithm in SYMMETRIC else thumbprint(jwk)
    return {**jwk, "kid": kid, "use": "sig", "alg": algorithm}


def secret_jwk(secret: bytes) -> dict[str, Any]:
    """A secret as a JWK (RFC 7518 section 6.4)."""
    return jwk_of(secret)


def pem_jwk(block: bytes) -> dict[str, Any]:
    """A PEM block as a JWK. It gets no `kid`, and so fits tokens with any, as it did. Raises `ValueError`."""
    public, private = load_pem(block)
    return jwk_of(private or public)


def waiting_key(jwks: Sequence[Jwk], now: float) -> float | None:
    """When (seconds since the epoch) the key begins to sign that is so far published only; None: there is none."""
    return min((jwk["nbf"] for jwk in jwks if jwk.get("nbf", 0) > now), default=None)


def rotate(jwks: Iterable[Jwk], new: Jwk, *, now: int, overlap: int, keep: int) -> list[dict[str, Any]]:
    """The JWK Set's keys with `new` before them, which is only published for `overlap` seconds and then signs.

    Each key that could sign ends `keep` seconds after that, when its last token is gone; what has ended leaves the set,
    and so does a key that waited, of which there is no token.
    `nbf` and `exp` say so in each (OpenID Federation 1.0 section 8.7.2). Other keys stay as they are.
    """
    begins = now + overlap
    rotated = [{**new, "iat": now, **({"nbf": begins} if overlap else {})}]
    for jwk in jwks:
        ends = min(jwk.get("exp", inf), begins + keep) if _signs(jwk) else jwk.get("exp")
        if jwk.get("nbf", now) <= now and (ends is None or ends > now):
            rotated.append(dict(jwk) if ends is None else {**jwk, "exp": ends})
    return rotated


def _signs(jwk: Jwk) -> bool:
    keys, _ = KeySet.from_jwks({"keys": [jwk]})
    return keys.signing_key() is not None
