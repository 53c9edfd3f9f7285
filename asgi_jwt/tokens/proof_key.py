"""The public key in a proof's header: its thumbprint, and the key itself. RFC 9449 section 4.3, RFC 7638. Pure."""

from collections.abc import Mapping
from typing import Any

from asgi_jwt.errors import InvalidProof, MalformedToken
from asgi_jwt.tokens.algorithms import MIN_RSA_BITS, thumbprint
from asgi_jwt.tokens.compact import decode_base64url
from asgi_jwt.tokens.key import Key

_MEMBERS = {"EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "RSA": ("e", "n")}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_MAX_RSA_BITS = 4096
"""Anyone may send a proof of any key, and larger keys take longer to verify."""


def proof_thumbprint(jwk: Mapping[str, Any]) -> str:
    """The SHA-256 thumbprint of the public key `jwk` (RFC 7638). Each key has only one. Raises `InvalidProof`."""
    names = _MEMBERS.get(kty) if type(kty := jwk.get("kty")) is str else None
    if names is None:
        raise InvalidProof("jwk is no asymmetric key")
    if not _PRIVATE.isdisjoint(jwk):
        raise InvalidProof("jwk is a private key")
    members = {name: jwk.get(name) for name in ("kty", *names)}
    if any(type(value) is not str for value in members.values()):
        raise InvalidProof("jwk lacks a member of its key")
    if kty == "RSA":
        _check_rsa(jwk["n"], jwk["e"])
    return thumbprint(members)


def _check_rsa(modulus: str, exponent: str) -> None:
    if exponent != "AQAB":
        raise InvalidProof("jwk is an RSA key whose exponent is not 65537")
    bits = int.from_bytes(number := _decoded(modulus)).bit_length()
    if number[:1] == b"\0" or not MIN_RSA_BITS <= bits <= _MAX_RSA_BITS:
        raise InvalidProof(f"jwk is an RSA key of {bits} bits")


def proof_key(jwk: Mapping[str, Any], algorithm: str) -> Key:
    """The key `jwk`, whose thumbprint `proof_thumbprint` gave. Raises `InvalidProof` if it does not fit `algorithm`."""
    for name in ("x", "y"):
        _decoded(jwk.get(name, ""))  # PyJWT decodes other texts of the same bytes, too, and their thumbprints differ
    try:
        key = Key.from_jwk(jwk)
    except ValueError as fault:
        raise InvalidProof(f"jwk {fault}") from None
    if not key.verifies or algorithm not in key.algorithms:
        raise InvalidProof("jwk is not made for alg")
    return key


def _decoded(member: str) -> bytes:
    try:
        return decode_base64url(member.encode())
    except (MalformedToken, UnicodeEncodeError):
        raise InvalidProof("jwk is not canonical base64url") from None
