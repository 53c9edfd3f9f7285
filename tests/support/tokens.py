"""Keys, claims and tokens, signed with the bare primitives of `cryptography` and `hmac`."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from asgi_jwt.auth import Auth
from asgi_jwt.errors import AuthError
from asgi_jwt.settings import Settings
from asgi_jwt.testing import Clock

NOW = 1_800_000_000
ISSUER = "https://issuer.example"
AUDIENCE = "https://api.example"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
SECRET = "a secret of sixty-four bytes, long enough for every hash there is"

Sign = Callable[[bytes], bytes]
Part = bytes | Mapping[str, Any]


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """The key `rsa`, made for RS256."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    """The key `p256`, made for ES256."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def p384_key() -> ec.EllipticCurvePrivateKey:
    """The key `p384`, made for ES384."""
    return ec.generate_private_key(ec.SECP384R1())


@cache
def p521_key() -> ec.EllipticCurvePrivateKey:
    """A P-521 key, which is in no key set: for those who make one of their own."""
    return ec.generate_private_key(ec.SECP521R1())


@cache
def ed25519_key() -> ed25519.Ed25519PrivateKey:
    """The key `ed25519`, made for EdDSA."""
    return ed25519.Ed25519PrivateKey.generate()


@cache
def thief_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key that is in no key set."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def jwks() -> dict[str, list[dict[str, Any]]]:
    """The public keys that `keys_auth` verifies with; `enc` and `no-verify` are the RSA key, barred from verifying."""
    rsa_jwk: dict[str, Any] = RSAAlgorithm.to_jwk(rsa_key().public_key(), as_dict=True)
    del rsa_jwk["key_ops"]
    return {
        "keys": [
            {**rsa_jwk, "kid": "rsa"},
            {**ECAlgorithm.to_jwk(ec_key().public_key(), as_dict=True), "kid": "p256"},
            {**ECAlgorithm.to_jwk(p384_key().public_key(), as_dict=True), "kid": "p384"},
            {**OKPAlgorithm.to_jwk(ed25519_key().public_key(), as_dict=True), "kid": "ed25519"},
            {**rsa_jwk, "kid": "enc", "use": "enc"},
            {**rsa_jwk, "kid": "no-verify", "key_ops": ["encrypt", "wrapKey"]},
        ]
    }


def keys_auth() -> Auth:
    """Verifies with the public keys of `jwks`, at `NOW`."""
    return Auth(Settings(issuer=ISSUER, audience=AUDIENCE, keys=jwks()), clock=Clock(NOW))


def secret_auth() -> Auth:
    """Verifies with `SECRET`, at `NOW`."""
    return Auth(Settings(issuer=ISSUER, audience=AUDIENCE, secret=SECRET), clock=Clock(NOW))


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of an access token that is accepted, with `changes`."""
    genuine = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "exp": NOW + 600,
        "iat": NOW,
        "jti": "1",
        "type": "access",
        "scope": "orders:read",
    }
    return genuine | changes


def without(name: str) -> dict[str, Any]:
    """The claims of an access token but for one."""
    return {member: value for member, value in claims().items() if member != name}


def segment(part: Part) -> str:
    """base64url of bytes, or of an object's JSON."""
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def hs256(secret: str | bytes) -> Sign:
    """Signs with HMAC."""
    key = secret.encode() if isinstance(secret, str) else secret
    return lambda message: hmac.digest(key, message, hashlib.sha256)


def rs256(message: bytes) -> bytes:
    """Signs with the RSA key."""
    return rsa_key().sign(message, padding.PKCS1v15(), hashes.SHA256())


def ecdsa(key: ec.EllipticCurvePrivateKey) -> Sign:
    """Signs with an EC key: R and S behind each other (RFC 7518 section 3.4)."""
    size = (key.curve.key_size + 7) // 8
    digest = {32: hashes.SHA256(), 48: hashes.SHA384(), 66: hashes.SHA512()}[size]

    def sign(message: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(digest)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    return sign


def genuine(message: bytes) -> bytes:
    """Signs with the key `p256`."""
    return ecdsa(ec_key())(message)


def jws(header: Part, payload: Part, sign: Sign) -> str:
    """A token with any header and payload, signed over exactly them."""
    signing_input = f"{segment(header)}.{segment(payload)}"
    return f"{signing_input}.{segment(sign(signing_input.encode()))}"


def head(**changes: Any) -> dict[str, Any]:
    """The header of a token that is accepted, with `changes`."""
    return {"alg": "ES256", "kid": "p256", "typ": "at+jwt"} | changes


def genuine_token(**changes: Any) -> str:
    """A token that `keys_auth` accepts, but for what `changes` do to its claims."""
    return jws(head(), claims(**changes), genuine)


def secret_token(**changes: Any) -> str:
    """A token that `secret_auth` accepts, but for what `changes` do to its claims."""
    return jws({"alg": "HS256", "typ": "at+jwt"}, claims(**changes), hs256(SECRET))


def jwk_of(key: Any, kid: str | None = None, **members: Any) -> dict[str, Any]:
    """The public JWK of an EC key."""
    jwk: dict[str, Any] = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**jwk, **({"kid": kid} if kid is not None else {}), **members}


def token_by(key: Any, kid: str | None, *, alg: str = "ES256", sign: Sign | None = None, **changes: Any) -> bytes:
    """A token signed by an EC key that names it `kid`, with `changes` to its claims."""
    header = {name: value for name, value in head(kid=kid, alg=alg).items() if value is not None}
    return jws(header, claims(**changes), sign or ecdsa(key)).encode()


async def reason(auth: Auth, token: str | bytes) -> str | None:
    """The reason for which the token is refused. None: it is accepted."""
    try:
        await auth.verify(token)
    except AuthError as refused:
        return refused.reason
    return None


def private_pem(key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, form, NoEncryption())
    return pem


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def self_signed(key: Any) -> x509.Certificate:
    """A certificate of the key by itself."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer.example")])
    times = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), *times)
    return builder.sign(key, hashes.SHA256())
