"""The table of signature algorithms, and the key material of each: RFC 7518 section 3.1, RFC 8037."""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from hmac import compare_digest
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import InvalidKeyError
from jwt.utils import from_base64url_uint

from asgi_jwt.tokens.compact import encode_base64url

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
MAX_RSA_EXPONENT = 2**31 - 1
"""The limits of RSA keys. Verifying with a larger key takes milliseconds, and anyone can send tokens to verify."""


class _Row(NamedTuple):
    """One algorithm: its name, the `kty` and `crv` of its keys, how a key is made, and PyJWT's name of its signature.

    `digest` is the hash of an HMAC. A secret must be at least as long as the hash.
    """

    name: str
    kty: str
    crv: str | None
    make: Callable[[], Any]
    signature: str
    digest: HashAlgorithm | None = None


def _hmac(name: str, digest: HashAlgorithm) -> _Row:
    return _Row(name, "oct", None, partial(secrets.token_bytes, digest.digest_size), name, digest)


def _rsa(name: str) -> _Row:
    return _Row(name, "RSA", None, partial(rsa.generate_private_key, 65537, MIN_RSA_BITS), name)


def _ec(name: str, crv: str, curve: ec.EllipticCurve) -> _Row:
    return _Row(name, "EC", crv, partial(ec.generate_private_key, curve), name)


def _edwards(name: str) -> _Row:
    return _Row(name, "OKP", "Ed25519", ed25519.Ed25519PrivateKey.generate, "EdDSA")


_ROWS = (
    _hmac("HS256", SHA256()),
    _hmac("HS384", SHA384()),
    _hmac("HS512", SHA512()),
    _rsa("RS256"),
    _rsa("RS384"),
    _rsa("RS512"),
    _rsa("PS256"),
    _rsa("PS384"),
    _rsa("PS512"),
    _ec("ES256", "P-256", ec.SECP256R1()),
    _ec("ES384", "P-384", ec.SECP384R1()),
    _ec("ES512", "P-521", ec.SECP521R1()),
    _edwards("EdDSA"),
    _edwards("Ed25519"),
)
_NAMED = {row.name: row for row in _ROWS}
_ECDSA = {"ES256": ec.ECDSA(SHA256()), "ES384": ec.ECDSA(SHA384()), "ES512": ec.ECDSA(SHA512())}
_SIGNERS = {row.name: get_default_algorithms()[row.signature] for row in _ROWS}
# HMAC comes last, because its `to_jwk` takes any bytes for a secret.
_FORMS = {row.kty: _SIGNERS[row.name] for row in sorted(_ROWS, key=lambda row: row.digest is not None)}
_CURVES = tuple(dict.fromkeys(row.crv for row in _ROWS if row.crv is not None))
_SAME = {row.name: tuple(each.name for each in _ROWS if each.signature == row.signature) for row in _ROWS}

ALGORITHMS: tuple[str, ...] = tuple(_NAMED)
"""Every algorithm that can be allowed. `EdDSA` and `Ed25519` are two names of one signature (RFC 9864)."""

SYMMETRIC = frozenset(row.name for row in _ROWS if row.digest is not None)
ASYMMETRIC = frozenset(ALGORITHMS) - SYMMETRIC

BROKEN_KEY = (ValueError, TypeError, KeyError, AttributeError, OverflowError, UnsupportedAlgorithm, InvalidKeyError)
"""The exceptions that cryptography and PyJWT raise for a broken key."""

_LONGEST_MODULUS = MAX_RSA_BITS // 6 + 2  # in base64url
_THUMBPRINT_MEMBERS = ("crv", "e", "kty", "n", "x", "y")


class UnsupportedKey(ValueError):
    """The key is not broken, but of a kind that is not supported."""


class Secret:
    """An HMAC secret. The HMAC states are made once, and each signature copies one.

    cryptography copies a state faster than the standard library. Raises `ValueError` for a secret below 32 bytes.
    """

    __slots__ = ("_prepared",)

    def __init__(self, secret: bytes) -> None:
        digests = {row.name: row.digest for row in _ROWS if row.digest and len(secret) >= row.digest.digest_size}
        self._prepared = {name: HMAC(secret, digest) for name, digest in digests.items()}
        if not self._prepared:
            raise ValueError(
                f"has {len(secret)} {'byte' if len(secret) == 1 else 'bytes'}, and HS256 needs 32 at least"
            )

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms for which the secret is long enough."""
        return tuple(self._prepared)

    @property
    def identity(self) -> bytes:
        """Equal for equal secrets. It must not leave the process, because it would help to guess the secret."""
        return self.sign(next(iter(self._prepared)), b"")

    def sign(self, algorithm: str, message: bytes) -> bytes:
        """The HMAC of `message`."""
        state = self._prepared[algorithm].copy()
        state.update(message)
        return state.finalize()

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is the HMAC of `message`, compared in constant time."""
        return compare_digest(self.sign(algorithm, message), signature)


class KeyPair:
    """An asymmetric key: its public half, and its private half or None."""

    __slots__ = ("_private", "_size", "_thumbprint", "public")

    def __init__(self, public: Any, private: Any) -> None:
        self.public = public
        self._private = private
        self._size = (public.key_size + 7) // 8 if isinstance(public, ec.EllipticCurvePublicKey) else 0
        self._thumbprint: str | None = None

    @property
    def slow_to_verify(self) -> bool:
        """Whether a signature check takes over 0.25 ms: on curves larger than P-256, and with RSA over 4096 bits."""
        quick = 256 if isinstance(self.public, ec.EllipticCurvePublicKey) else 4096
        return getattr(self.public, "key_size", 0) > quick

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms for keys of this type and curve. Raises `ValueError` for a weak or a slow key."""
        members = jwk_of(self.public)
        fitting = tuple(row.name for row in _ROWS if (row.kty, row.crv) == (members["kty"], members.get("crv")))
        if not fitting:
            raise UnsupportedKey(_NO_KIND)
        _check_strength(self.public)
        return fitting

    def public_members(self) -> dict[str, Any]:
        """The members of the public JWK that its thumbprint covers (RFC 7638 section 3.2)."""
        members = jwk_of(self.public)
        return {name: members[name] for name in _THUMBPRINT_MEMBERS if name in members}

    def check_halves(self) -> None:
        """Raises `ValueError` if the private RSA key does not belong to the public one. `_rsa_of` skips that check."""
        if isinstance(self._private, rsa.RSAPrivateKey) and not self.verify("RS256", b"", self.sign("RS256", b"")):
            raise ValueError("is an RSA key whose private and public members don't belong together")

    @property
    def thumbprint(self) -> str:
        """The thumbprint of the public key (RFC 7638 section 3)."""
        if self._thumbprint is None:
            self._thumbprint = thumbprint(self.public_members())
        return self._thumbprint

    @property
    def identity(self) -> str:
        """Equal for equal keys."""
        return self.thumbprint

    def sign(self, algorithm: str, message: bytes) -> bytes:
        """The signature of `message` by the private half."""
        return _SIGNERS[algorithm].sign(message, self._private)

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether the private half has made `signature` of `message`."""
        size = self._size
        if not size:
            return _SIGNERS[algorithm].verify(message, self.public, signature)
        if len(signature) != 2 * size:
            return False
        try:
            self.public.verify(der_of(signature[:size], signature[size:]), message, _ECDSA[algorithm])
        except InvalidSignature:
            return False
        return True


def der_of(r: bytes, s: bytes) -> bytes:
    """The two halves of a JWS signature in the form of DER (RFC 7518 section 3.4, RFC 3279 section 2.2.3).

    cryptography takes 1.5 µs more for it, and PyJWT 6 µs.
    """
    # An integer has no zeros in front, but for one where its first bit would be a minus.
    r, s = r.lstrip(b"\0"), s.lstrip(b"\0")
    r = b"\0" + r if not r or r[0] > 127 else r
    s = b"\0" + s if not s or s[0] > 127 else s
    length = len(r) + len(s) + 4
    form = b"\x30%c\x02%c%b\x02%c%b" if length < 128 else b"\x30\x81%c\x02%c%b\x02%c%b"
    return form % (length, len(r), r, len(s), s)


def _check_strength(public: Any) -> None:
    if isinstance(public, rsa.RSAPublicKey):
        if public.key_size < MIN_RSA_BITS:
            raise ValueError(f"has an RSA key of {public.key_size} bits, and {MIN_RSA_BITS} are the least")
        if public.key_size > MAX_RSA_BITS:
            raise ValueError(f"has an RSA key of {public.key_size} bits, and {MAX_RSA_BITS} are the most")
        if public.public_numbers().e > MAX_RSA_EXPONENT:
            raise ValueError("has an RSA key whose exponent is past 2^31: its signatures take too long")
    if isinstance(public, ed25519.Ed25519PublicKey) and _is_of_small_order(public):
        raise ValueError("is an Ed25519 key of small order: anyone can sign for it")


_P = 2**255 - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = frozenset({0, 1, _P - 1, _ORDER_8, _P - _ORDER_8})
"""The y coordinates of the eight points whose order divides 8 (RFC 8032 section 5.1)."""


def _is_of_small_order(public: ed25519.Ed25519PublicKey) -> bool:
    # The highest bit is the sign of x. A y that exceeds the field's size means its remainder.
    return (int.from_bytes(public.public_bytes_raw(), "little") & (1 << 255) - 1) % _P in _SMALL_ORDER


def _listed(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}"


_NO_TYPE = f"its kty is none of {_listed(_FORMS)}"
_NO_CURVE = f"its curve is none of {_listed(_CURVES)}"
_NO_KIND = f"is none of RSA, {_listed(_CURVES)}"


def new_jwk(algorithm: str) -> dict[str, Any]:
    """A new private key for `algorithm`, as a JWK. RSA keys have 2048 bits, and a secret is as long as its hash."""
    return jwk_of(_NAMED[algorithm].make())


def jwk_of(key: Any) -> dict[str, Any]:
    """The JWK of a cryptography key or of a secret's bytes. A private key's JWK has its private members.

    Raises `UnsupportedKey` (RFC 7518 section 6).
    """
    for form in _FORMS.values():
        with suppress(*BROKEN_KEY):
            members: dict[str, Any] = form.to_jwk(key, as_dict=True)
            members.pop("key_ops", None)
            return members
    raise UnsupportedKey(_NO_KIND)


def key_of(jwk: Mapping[str, Any]) -> Any:
    """The cryptography key of a JWK, or the bytes of a secret.

    Raises `ValueError` for a broken key, and its child `UnsupportedKey` for a key of an unsupported kind.
    """
    kty = jwk.get("kty")
    form = _FORMS.get(kty or "")
    if form is None:
        raise UnsupportedKey(_NO_TYPE)
    curves = [row.crv for row in _ROWS if row.kty == kty]
    if any(curves) and jwk.get("crv") not in curves:
        raise UnsupportedKey(_NO_CURVE)
    if kty == "RSA" and len(str(jwk.get("n"))) > _LONGEST_MODULUS:
        # The size is checked first: the primes of a key that has none would be computed, which takes minutes.
        raise ValueError(f"has an RSA key of more than {MAX_RSA_BITS} bits")
    try:
        return _rsa_of(jwk) if kty == "RSA" and {"d", "p"} <= jwk.keys() else form.from_jwk(dict(jwk))
    except BROKEN_KEY:
        raise ValueError("its members are missing or broken") from None


def _rsa_of(jwk: Mapping[str, Any]) -> Any:
    """The private RSA key of a JWK that has its primes (RFC 7518 section 6.3.2).

    OpenSSL's check of the key is skipped: it takes up to a second and blocks all threads of the process. A signature
    proves the same (`KeyPair.check_halves`). Raises an exception of `BROKEN_KEY`.
    """
    n, e, d, p, q, dp, dq, qi = (from_base64url_uint(jwk[name]) for name in ("n", "e", "d", "p", "q", "dp", "dq", "qi"))
    public = rsa.RSAPublicNumbers(e, n)
    numbers = rsa.RSAPrivateNumbers(p=p, q=q, d=d, dmp1=dp, dmq1=dq, iqmp=qi, public_numbers=public)
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def same_algorithms(names: Iterable[str]) -> tuple[str, ...]:
    """`names`, in which each of `EdDSA` and `Ed25519` is followed by the other."""
    return tuple(dict.fromkeys(same for name in names for same in _SAME.get(name, (name,))))


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The SHA-256 thumbprint of an asymmetric key's JWK, which `jwk_of` made (RFC 7638 section 3)."""
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS if name in jwk}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return encode_base64url(hashlib.sha256(canonical.encode()).digest()).decode()
