"""Makes new keys, and replaces keys of a JWK Set by new ones. Pure, except that `generate_jwk` is random."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

from asgi_jwt.tokens.algorithms import SYMMETRIC, jwk_of, new_jwk, thumbprint
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.pem import load_pem

Jwk = Mapping[str, Any]


def generate_jwk(algorithm: str) -> dict[str, Any]:
    """A new private key for `algorithm`, one of `ALGORITHMS`. RSA keys have 2048 bits; a secret is as long as its hash.

    The JWK has `kid`, `use` and `alg`.
    """
    jwk = new_jwk(algorithm)
    # The thumbprint of a secret would help to guess it.
    kid = secrets.token_hex(8) if algorithm in SYMMETRIC else thumbprint(jwk)
    return {**jwk, "kid": kid, "use": "sig", "alg": algorithm}


def secret_jwk(secret: bytes) -> dict[str, Any]:
    """The JWK of a secret (RFC 7518 section 6.4)."""
    return jwk_of(secret)


def pem_jwk(block: bytes) -> dict[str, Any]:
    """The JWK of a PEM block. Without a `kid` it fits tokens with any `kid`, as the PEM did. Raises `ValueError`."""
    public, private = load_pem(block)
    return jwk_of(private or public)


def waiting_key(jwks: Sequence[Jwk], now: float) -> float | None:
    """When the next key begins to sign that is only published now, in s since the epoch. None: no key is waiting."""
    return min((jwk["nbf"] for jwk in jwks if jwk.get("nbf", 0) > now), default=None)


def rotate(jwks: Iterable[Jwk], new: Jwk, *, now: int, overlap: int, keep: int) -> list[dict[str, Any]]:
    """The keys of a JWK Set after the key `new` was added as the first.

    The new key is only published for `overlap` seconds, and then signs. Keys that could sign end `keep` seconds later,
    when their last tokens have expired. Keys that have ended are removed. A key that had not begun to sign is removed,
    too, because it has signed no token. Other keys stay unchanged. The times become `nbf` and `exp` of the keys
    (OpenID Federation 1.0 section 8.7.2). `now` is in seconds since the epoch.
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
