"""The signature algorithms of RFC 7518 section 3.1 and RFC 8037, and the key material that they take."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from hmac import compare_digest
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.hmac import HMAC
from jwt.algorithms import Algorithm, ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms
from jwt.utils import from_base64url_uint

from asgi_jwt.tokens.compact import encode_base64url

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_EDWARDS = ("EdDSA", "Ed25519")
_HMAC_HASHES = {"HS256": SHA256(), "HS384": SHA384(), "HS512": SHA512()}

ALGORITHMS: tuple[str, ...] = (*_HMAC_HASHES, *_RSA, *_CURVES.values(), *_EDWARDS)
"""Every algorithm that can be allowed; `EdDSA` and `Ed25519` (RFC 9864) name one signature."""

SYMMETRIC = frozenset(_HMAC_HASHES)
ASYMMETRIC = frozenset(ALGORITHMS) - SYMMETRIC
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
MAX_RSA_EXPONENT = 2**31 - 1
"""Past these a signature takes milliseconds to verify: anyone who sends tokens could hold up the process."""


class UnsupportedKey(ValueError):
    """A key that is whole, but of a kind that is not used here."""


class Secret:
    """An HMAC secret, set up once: a token costs a copy, which cryptography makes faster than the standard library."""

    __slots__ = ("_prepared",)

    def __init__(self, secret: bytes) -> None:
        hashes = {name: digest for name, digest in _HMAC_HASHES.items() if len(secret) >= digest.digest_size}
        self._prepared = {name: HMAC(secret, digest) for name, digest in hashes.items()}
        if not self._prepared:
            raise ValueError(
                f"has {len(secret)} {'byte' if len(secret) == 1 else 'bytes'}, and HS256 needs 32 at least"
            )

    @property
    def algorithms(self) -> tuple[str, ...]:
        return tuple(self._prepared)

    @property
    def identity(self) -> bytes:
        """Equal for two secrets that are the same. It never leaves the process: it would help to guess the secret."""
        return self.sign(next(iter(self._prepared)), b"")

    def sign(self, algorithm: str, message: bytes) -> bytes:
        state = self._prepared[algorithm].copy()
        state.update(message)
        return state.finalize()

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        return compare_digest(self.sign(algorithm, message), signature)


class KeyPair:
    """An asymmetric key, its private half if there is one."""

    __slots__ = ("_private", "_thumbprint", "public")

    def __init__(self, public: Any, private: Any) -> None:
        self.public = public
        self._private = private
        self._thumbprint: str | None = None

    @property
    def algorithms(self) -> tuple[str, ...]:
        public = self.public
        if isinstance(public, rsa.RSAPublicKey):
            if public.key_size < MIN_RSA_BITS:
                raise ValueError(f"has an RSA key of {public.key_size} bits, and {MIN_RSA_BITS} are the least")
            if public.key_size > MAX_RSA_BITS:
                raise ValueError(f"has an RSA key of {public.key_size} bits, and {MAX_RSA_BITS} are the most")
            if public.public_numbers().e > MAX_RSA_EXPONENT:
                raise ValueError("has an RSA key whose exponent is past 2^31: its signatures take too long")
            return _RSA
        if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in _CURVES:
            return (_CURVES[public.curve.name],)
        if isinstance(public, ed25519.Ed25519PublicKey):
            if _is_of_small_order(public):
                raise ValueError("is an Ed25519 key of small order: anyone can sign for it")
            return _EDWARDS
        raise UnsupportedKey("is none of RSA, EC P-256, P-384, P-521 and Ed25519")

    def public_members(self) -> dict[str, Any]:
        members = jwk_of(self.public)
        return {name: members[name] for name in _THUMBPRINT_MEMBERS[members["kty"]]}

    def check_halves(self) -> None:
        """Raises `ValueError` for a private RSA key that is not the public one's: see `rsa_of`."""
        if isinstance(self._private, rsa.RSAPrivateKey) and not self.verify("RS256", b"", self.sign("RS256", b"")):
            raise ValueError("is an RSA key whose private and public members don't belong together")

    @property
    def thumbprint(self) -> str:
        if self._thumbprint is None:
            self._thumbprint = thumbprint(self.public_members())
        return self._thumbprint

    @property
    def identity(self) -> str:
        return self.thumbprint

    def sign(self, algorithm: str, message: bytes) -> bytes:
        return _SIGNERS[algorithm].sign(message, self._private)

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        return _SIGNERS[algorithm].verify(message, self.public, signature)


_P = 2**255 - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = frozenset({0, 1, _P - 1, _ORDER_8, _P - _ORDER_8})
"""The y of the eight points whose order divides 8 (RFC 8032 section 5.1)."""


def _is_of_small_order(public: ed25519.Ed25519PublicKey) -> bool:
    # The highest bit is the sign of x; a y past the field's size is another spelling of its remainder.
    return (int.from_bytes(public.public_bytes_raw(), "little") & (1 << 255) - 1) % _P in _SMALL_ORDER


_DEFAULTS = get_default_algorithms()
_SIGNERS = {name: _DEFAULTS["EdDSA" if name in _EDWARDS else name] for name in ALGORITHMS if name not in SYMMETRIC}
_KINDS: dict[type[Algorithm], tuple[type, ...]] = {
    RSAAlgorithm: (rsa.RSAPublicKey, rsa.RSAPrivateKey),
    ECAlgorithm: (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey),
    OKPAlgorithm: (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey),
}
_THUMBPRINT_MEMBERS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}


def jwk_of(key: Any) -> dict[str, Any]:
    """The members of a key of cryptography's as a JWK (RFC 7518 section 6), the private ones too if it has them."""
    form = next(form for form, kinds in _KINDS.items() if isinstance(key, kinds))
    members: dict[str, Any] = form.to_jwk(key, as_dict=True)
    members.pop("key_ops", None)
    return members


def rsa_of(jwk: Mapping[str, Any]) -> Any:
    """The private RSA key of a JWK that holds its primes (RFC 7518 section 6.3.2).

    OpenSSL's check of one takes up to a second, in which no thread of the process goes on: signing with it shows what
    it has to show. Raises what cryptography does for keys that are none.
    """
    n, e, d, p, q, dp, dq, qi = (from_base64url_uint(jwk[name]) for name in ("n", "e", "d", "p", "q", "dp", "dq", "qi"))
    public = rsa.RSAPublicNumbers(e, n)
    numbers = rsa.RSAPrivateNumbers(p=p, q=q, d=d, dmp1=dp, dmq1=dq, iqmp=qi, public_numbers=public)
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def same_algorithms(names: Iterable[str]) -> tuple[str, ...]:
    """`names`, with `EdDSA` and `Ed25519` each standing for both."""
    return tuple(dict.fromkeys(same for name in names for same in (_EDWARDS if name in _EDWARDS else (name,))))


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The SHA-256 thumbprint of a public JWK: RFC 7638 section 3."""
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS[jwk["kty"]]}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return encode_base64url(hashlib.sha256(canonical.encode()).digest()).decode()
