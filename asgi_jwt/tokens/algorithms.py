"""The signature algorithms of RFC 7518 section 3.1 and RFC 8037, and the key material that they take."""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from hmac import compare_digest
from typing import Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import InvalidKeyError
from jwt.utils import from_base64url_uint

from asgi_jwt.tokens.compact import encode_base64url

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
MAX_RSA_EXPONENT = 2**31 - 1
"""Past these a signature takes milliseconds to verify: anyone who sends tokens could hold up the process."""


class _Row(NamedTuple):
    """One algorithm: its name, the `kty` and `crv` of its keys, how a key is made, and the name of its signature.

    `digest` is the hash of an HMAC, whose secret is as long at least.
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
_SIGNERS = {row.name: get_default_algorithms()[row.signature] for row in _ROWS}
# A secret comes last: nothing else is taken for one.
_FORMS = {row.kty: _SIGNERS[row.name] for row in sorted(_ROWS, key=lambda row: row.digest is not None)}
_CURVES = tuple(dict.fromkeys(row.crv for row in _ROWS if row.crv is not None))
_SAME = {row.name: tuple(each.name for each in _ROWS if each.signature == row.signature) for row in _ROWS}

ALGORITHMS: tuple[str, ...] = tuple(_NAMED)
"""Every algorithm that can be allowed; `EdDSA` and `Ed25519` (RFC 9864) name one signature."""

SYMMETRIC = frozenset(row.name for row in _ROWS if row.digest is not None)
ASYMMETRIC = frozenset(ALGORITHMS) - SYMMETRIC

BROKEN_KEY = (ValueError, TypeError, KeyError, AttributeError, OverflowError, UnsupportedAlgorithm, InvalidKeyError)
"""What cryptography and PyJWT raise for keys that are none."""

_LONGEST_MODULUS = MAX_RSA_BITS // 6 + 2  # in base64url
_THUMBPRINT_MEMBERS = ("crv", "e", "kty", "n", "x", "y")


class UnsupportedKey(ValueError):
    """A key that is whole, but of a kind that is not used here."""


class Secret:
    """An HMAC secret, set up once: a token costs a copy, which cryptography makes faster than the standard library."""

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
    def slow_to_verify(self) -> bool:
        """Whether a signature check takes over 0.25 ms: on the curves past P-256, and with RSA past 4096 bits."""
        quick = 256 if isinstance(self.public, ec.EllipticCurvePublicKey) else 4096
        return getattr(self.public, "key_size", 0) > quick

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Those whose keys are of its kind. Raises `ValueError` for a key that is weak, or slow."""
        members = jwk_of(self.public)
        fitting = tuple(row.name for row in _ROWS if (row.kty, row.crv) == (members["kty"], members.get("crv")))
        if not fitting:
            raise UnsupportedKey(_NO_KIND)
        _check_strength(self.public)
        return fitting

    def public_members(self) -> dict[str, Any]:
        members = jwk_of(self.public)
        return {name: members[name] for name in _THUMBPRINT_MEMBERS if name in members}

    def check_halves(self) -> None:
        """Raises `ValueError` for a private RSA key that is not the public one's: see `_rsa_of`."""
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
"""The y of the eight points whose order divides 8 (RFC 8032 section 5.1)."""


def _is_of_small_order(public: ed25519.Ed25519PublicKey) -> bool:
    # The highest bit is the sign of x; a y past the field's size is another spelling of its remainder.
    return (int.from_bytes(public.public_bytes_raw(), "little") & (1 << 255) - 1) % _P in _SMALL_ORDER


def _listed(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}"


_NO_TYPE = f"its kty is none of {_listed(_FORMS)}"
_NO_CURVE = f"its curve is none of {_listed(_CURVES)}"
_NO_KIND = f"is none of RSA, {_listed(_CURVES)}"


def new_jwk(algorithm: str) -> dict[str, Any]:
    """A new private key for `algorithm`: an RSA key of 2048 bits, a secret as long as its hash."""
    return jwk_of(_NAMED[algorithm].make())


def jwk_of(key: Any) -> dict[str, Any]:
    """A key of cryptography's, or a secret, as a JWK (RFC 7518 section 6), with its private members if it has any.

    Raises `UnsupportedKey`.
    """
    for form in _FORMS.values():
        with suppress(*BROKEN_KEY):
            members: dict[str, Any] = form.to_jwk(key, as_dict=True)
            members.pop("key_ops", None)
            return members
    raise UnsupportedKey(_NO_KIND)


def key_of(jwk: Mapping[str, Any]) -> Any:
    """The key of a JWK, as cryptography has it; the bytes of a secret. Raises `ValueError`, and `UnsupportedKey`."""
    kty = jwk.get("kty")
    form = _FORMS.get(kty or "")
    if form is None:
        raise UnsupportedKey(_NO_TYPE)
    curves = [row.crv for row in _ROWS if row.kty == kty]
    if any(curves) and jwk.get("crv") not in curves:
        raise UnsupportedKey(_NO_CURVE)
    if kty == "RSA" and len(str(jwk.get("n"))) > _LONGEST_MODULUS:
        # Before it is read: with a private exponent and no primes, these would be looked for, for minutes.
        raise ValueError(f"has an RSA key of more than {MAX_RSA_BITS} bits")
    try:
        return _rsa_of(jwk) if kty == "RSA" and {"d", "p"} <= jwk.keys() else form.from_jwk(dict(jwk))
    except BROKEN_KEY:
        raise ValueError("its members are missing or broken") from None


def _rsa_of(jwk: Mapping[str, Any]) -> Any:
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
    return tuple(dict.fromkeys(same for name in names for same in _SAME.get(name, (name,))))


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The SHA-256 thumbprint of an asymmetric key's JWK, as `jwk_of` gives it: RFC 7638 section 3."""
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS if name in jwk}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return encode_base64url(hashlib.sha256(canonical.encode()).digest()).decode()
