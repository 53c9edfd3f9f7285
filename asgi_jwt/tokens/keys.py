"""Keys: secrets, PEM and JWK in, prepared once; signatures and public JWKs out."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from asgi_jwt.errors import ConfigurationError, MalformedToken, UnknownKey, UnsuitableKey
from asgi_jwt.tokens.algorithms import MIN_RSA_BITS, KeyPair, Secret, UnsupportedKey, key_of, same_algorithms
from asgi_jwt.tokens.compact import parse_object
from asgi_jwt.tokens.pem import is_no_secret, load_pem, pem_blocks, utf8

MAX_CANDIDATES = 4
"""How many keys a token is tried with at most: anyone may send a token, and a signature check takes up to 1 ms."""

_SHOWN = 64
TOO_MANY_ALIKE = f"more than {MAX_CANDIDATES} keys of one algorithm with the same kid, or without one"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Key:
    """One key, ready to use. Nothing of its material shows in its repr.

    `kid` is the declared one, else the RFC 7638 thumbprint (a secret has none: it would help to guess it).
    `declared` tells whether it was given: a key without one fits a token with any. `algorithms` are those that its
    family, curve or length and its JWK's `alg` allow, `default` is the one it is made for. `verifies` and `signs`
    tell what it may be used for. `begins` and `ends` (seconds since the epoch; None: always) are its JWK's `nbf` and
    `exp` (OpenID Federation 1.0 section 8.7.2): when it begins to sign, and when it is no key any more.
    """

    kid: str | None
    declared: bool
    algorithms: tuple[str, ...]
    default: str
    verifies: bool
    signs: bool
    begins: float | None = None
    ends: float | None = None
    _material: Secret | KeyPair

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether `signature` over `message` is this key's. The caller has checked that the algorithm fits."""
        return self._material.verify(algorithm, message, signature)

    def sign(self, algorithm: str, message: bytes) -> bytes:
        """The signature over `message`, in the form that RFC 7518 gives it. Only for a key that `signs`."""
        return self._material.sign(algorithm, message)

    def limited_to(self, algorithms: tuple[str, ...]) -> "Key":
        """This key for those of `algorithms` that fit it; where none are given, for what it is made for alone."""
        allowed = algorithms or same_algorithms([self.default])
        return replace(self, algorithms=tuple(name for name in self.algorithms if name in allowed))

    @property
    def identity(self) -> Hashable:
        """Equal for two keys that are the same, to be used in the same way."""
        use = (self.algorithms, self.verifies, self.signs, self.begins, self.ends)
        return (self.kid, self.declared, use, self._material.identity)

    @property
    def slow(self) -> bool:
        """Whether a signature takes milliseconds: RSA past 2048 bits."""
        return isinstance(self._material, KeyPair) and getattr(self._material.public, "key_size", 0) > MIN_RSA_BITS

    @property
    def slow_to_verify(self) -> bool:
        """Whether two signature checks may take over 0.5 ms."""
        return isinstance(self._material, KeyPair) and self._material.slow_to_verify

    def public_jwk(self) -> dict[str, Any] | None:
        """The public half as a JWK (RFC 7517), with `kid`, `use` and `alg`; None for a secret."""
        if isinstance(self._material, Secret):
            return None
        return {**self._material.public_members(), "kid": self.kid, "use": "sig", "alg": self.default}

    def __repr__(self) -> str:
        return f"Key(kid={self.kid!r}, algorithms={self.algorithms!r})"

    @classmethod
    def from_secret(cls, secret: str | bytes) -> "Key":
        """An HMAC secret (its UTF-8 bytes). Raises `ValueError` when it is shorter than 32 bytes or no secret."""
        return cls._made_of(_secret(utf8(secret)), signs=True)

    @classmethod
    def from_pem(cls, pem: str | bytes) -> "Key":
        """A private key in PKCS#8, PKCS#1 or SEC 1, or a public one, as PEM. Raises `ValueError`."""
        public, private = load_pem(utf8(pem))
        return cls._made_of(KeyPair(public, private), signs=private is not None)

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> "Key":
        """A JWK (RFC 7517). Raises `ValueError`, and its child `UnsupportedKey` for a kind that is not used here."""
        kty, kid, use, operations, alg = (jwk.get(name) for name in ("kty", "kid", "use", "key_ops", "alg"))
        if not all(isinstance(member, str | None) for member in (kty, kid, use, alg)):
            raise ValueError("its kty, kid, use or alg is no string")
        if not isinstance(operations, list | tuple | None):
            raise ValueError("its key_ops is no array")
        times = {"begins": _time(jwk, "nbf"), "ends": _time(jwk, "exp")}
        key = key_of(jwk)
        private = key if hasattr(key, "private_bytes") else None
        verifies = use in (None, "sig") and (operations is None or "verify" in operations)
        may_sign = verifies and (operations is None or "sign" in operations)
        return cls._made_of(
            _secret(key, utf8(jwk["k"]))
            if isinstance(key, bytes)
            else KeyPair(key.public_key() if private else key, private),
            signs=may_sign and (isinstance(key, bytes) or private is not None),
            verifies=verifies,
            kid=kid,
            alg=alg,
            **times,
        )

    @classmethod
    def _made_of(
        cls,
        material: Secret | KeyPair,
        *,
        signs: bool,
        verifies: bool = True,
        kid: str | None = None,
        alg: str | None = None,
        **times: float | None,
    ) -> "Key":
        algorithms = material.algorithms
        if alg is not None:
            algorithms = tuple(name for name in same_algorithms([alg]) if name in algorithms)
            if not algorithms:
                raise UnsupportedKey("its alg is not one for signatures with a key of its kind and length")
        if isinstance(material, KeyPair):
            material.check_halves()
        declared = kid is not None
        if kid is None and isinstance(material, KeyPair):
            kid = material.thumbprint
        return cls(
            kid=kid,
            declared=declared,
            algorithms=algorithms,
            default=alg or algorithms[0],
            verifies=verifies,
            signs=signs,
            _material=material,
            **times,
        )


def _secret(content: bytes, *spelled: bytes) -> Secret:
    # base64url is read leniently: the text of a PEM as a JWK's `k` gives bytes that nobody recognises.
    if any(map(is_no_secret, (content, *spelled))):
        raise ValueError(
            "is a key's PEM, DER, JWK or ssh form, a URL or empty, and no HMAC secret: keys go into ASGI_JWT_KEYS"
        )
    return Secret(content)


def _named(jwk: object) -> str:
    """Its `kid`, safe to print: anyone may have written it."""
    kid = jwk.get("kid") if isinstance(jwk, Mapping) else None
    return f" ({kid[:_SHOWN]!r})" if isinstance(kid, str) else ""


def _time(jwk: Mapping[str, Any], name: str) -> float | None:
    time = jwk.get(name)
    if time is None or (type(time) in (int, float) and 0 <= time < 2**53):
        return time
    raise ValueError(f"its {name} is no number of seconds")


class KeySet:
    """Keys to verify with, and one to sign with: the first private one.

    `KeySet.parse(text)` reads a JWK Set, a JWK or PEM; `KeySet.from_secret(secret)` an HMAC secret.
    """

    __slots__ = ("keys",)

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)

    @classmethod
    def from_secret(cls, secret: str | bytes) -> "KeySet":
        """One HMAC secret. Raises `ConfigurationError`."""
        try:
            return cls([Key.from_secret(secret)])
        except ValueError as fault:
            raise ConfigurationError(str(fault)) from None

    @classmethod
    def from_jwks(cls, jwks: Mapping[str, Any]) -> tuple["KeySet", tuple[ValueError, ...]]:
        """The keys of a JWK Set (RFC 7517 section 5) that can be used, and what is wrong with each of the others.

        Those of a kind that isn't used here are an `UnsupportedKey`, the broken and weak ones a plain `ValueError`.
        Raises `ConfigurationError` when it is no JWK Set.
        """
        members = jwks.get("keys")
        if not isinstance(members, list | tuple):
            raise ConfigurationError("is no JWK Set: its member `keys` is no array")
        keys: list[Key] = []
        faults: list[ValueError] = []
        for position, jwk in enumerate(members, 1):
            try:
                if not isinstance(jwk, Mapping):
                    raise ValueError("is no object")
                keys.append(Key.from_jwk(jwk))
            except ValueError as fault:
                faults.append(type(fault)(f"key {position} of the JWK Set{_named(jwk)} can't be used: {fault}"))
        return cls(keys), tuple(faults)

    @classmethod
    def parse(cls, text: str | bytes) -> "KeySet":
        """A JWK Set, a JWK, or one or more PEM blocks.

        Raises `ConfigurationError` when a key in it is broken or too short, or none of them may verify signatures.
        """
        faults: tuple[ValueError, ...] = ()
        try:
            content = utf8(text)
            if content.lstrip().startswith(b"{"):
                document = parse_object(content)
                keys, faults = cls.from_jwks(document if "keys" in document else {"keys": [document]})
            else:
                keys = cls([Key.from_pem(block) for block in pem_blocks(content)])
        except MalformedToken:
            raise ConfigurationError("is broken JSON") from None
        except ConfigurationError:
            raise
        except ValueError as fault:
            raise ConfigurationError(str(fault)) from None
        broken = [str(fault) for fault in faults if not isinstance(fault, UnsupportedKey)]
        if not broken and (whole := keys.fault()):
            broken = [*map(str, faults), whole]
        if broken:
            raise ConfigurationError(broken)
        return keys

    def fault(self) -> str | None:
        """Why these keys as a whole can't verify every token that they should; None when they can."""
        if not any(key.verifies for key in self.keys):
            return "holds no key that may verify signatures"
        if self.surplus():
            return f"holds {TOO_MANY_ALIKE}: give each a kid of its own, in a JWK Set, or remove the oldest"
        return None

    def surplus(self) -> tuple[Key, ...]:
        """The keys behind the first `MAX_CANDIDATES` with the same `kid`, or without one, for the same algorithm.

        A token is not tried with so many, and nothing in it tells them apart.
        """
        alike = Counter[tuple[str, str | None]]()
        surplus = []
        for key in filter(lambda key: key.verifies, self.keys):
            uses = [(algorithm, key.kid if key.declared else None) for algorithm in key.algorithms]
            if any(alike[use] == MAX_CANDIDATES for use in uses):
                surplus.append(key)
            else:
                alike.update(uses)
        return tuple(surplus)

    def candidates(self, kid: str | None, algorithm: str) -> tuple[Key, ...]:
        """The keys that may have signed a token with this header, first those that would have given it its `kid`.

        A token is tried with `MAX_CANDIDATES` of them at most. Raises `UnknownKey` when no key has that `kid`,
        `UnsuitableKey` when none that has it fits `algorithm`.
        """
        # A secret without a name names none: it would come too late behind those that were made after it.
        named = [key for key in self.keys if kid is None or key.kid == kid or not key.declared]
        named.sort(key=lambda key: key.kid != kid)
        if not named:
            raise UnknownKey
        fitting = tuple(key for key in named if key.verifies and algorithm in key.algorithms)
        if not fitting:
            raise UnsuitableKey
        return fitting

    def keeping(self, old: "KeySet") -> "KeySet":
        """These keys, each as the very object that `old` has for it, if it does."""
        kept = {key.identity: key for key in old.keys}
        return KeySet(kept.get(key.identity, key) for key in self.keys)

    def at(self, now: float) -> "KeySet":
        """These keys as of `now` (seconds since the epoch): without those that have ended, and with those that don't
        sign yet behind all others."""
        left = (key for key in self.keys if key.ends is None or now < key.ends)
        return KeySet(sorted(left, key=lambda key: key.begins is not None and now < key.begins))

    def holds_until(self, now: float) -> float:
        """Until when (seconds since the epoch) these keys are what they are at `now`."""
        times = (time for key in self.keys for time in (key.begins, key.ends) if time is not None and now < time)
        return min(times, default=inf)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What the keys are made for: an RSA key for RS256 unless its JWK says otherwise."""
        return same_algorithms(key.default for key in self.keys if key.verifies)

    def signing_key(self) -> Key | None:
        """The first private key; None when all are public."""
        return next((key for key in self.keys if key.signs), None)

    def public_jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The JWK Set to publish: public members alone, and no secret."""
        return {"keys": [jwk for key in self.keys if key.verifies and (jwk := key.public_jwk()) is not None]}
