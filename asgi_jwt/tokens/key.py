"""Key: made of a secret, PEM or JWK. It signs, verifies, and gives its public JWK."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from asgi_jwt.tokens.algorithms import MIN_RSA_BITS, KeyPair, Secret, UnsupportedKey, key_of, same_algorithms
from asgi_jwt.tokens.pem import is_no_secret, load_pem, utf8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Key:
    """One key, ready to use. Its repr shows no key material.

    `kid`: the `kid` of the JWK, else the thumbprint (RFC 7638). A secret gets no thumbprint, because it would help to
    guess the secret.
    `declared`: the `kid` comes from the JWK. A key without a declared `kid` fits tokens with any `kid`.
    `algorithms`: those that its family, its curve or length, and the `alg` of its JWK allow.
    `default`: the algorithm that the key is made for.
    `verifies`, `signs`: the allowed uses.
    `begins`, `ends`: the `nbf` and `exp` of the JWK, in seconds since the epoch: when the key begins to sign, and when
    it is no key any more. None is no limit (OpenID Federation 1.0 section 8.7.2).
    `issuer`: the member `issuer` of the JWK, which Entra ID publishes. Among the tenants of a pattern the key verifies
    only tokens of this issuer. `{tenantid}` in it stands for any tenant, which the claim `tid` must then name.
    """

    kid: str | None
    declared: bool
    algorithms: tuple[str, ...]
    default: str
    verifies: bool
    signs: bool
    begins: float | None = None
    ends: float | None = None
    issuer: str | None = None
    _material: Secret | KeyPair

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether this key has made `signature` of `message`. `algorithm` must be one of `algorithms`."""
        return self._material.verify(algorithm, message, signature)

    def sign(self, algorithm: str, message: bytes) -> bytes:
        """The signature of `message`, in the form of RFC 7518. The key must have `signs`."""
        return self._material.sign(algorithm, message)

    def limited_to(self, algorithms: tuple[str, ...]) -> "Key":
        """This key, limited to those of `algorithms` that it has. Without `algorithms`, limited to its default."""
        allowed = algorithms or same_algorithms([self.default])
        return replace(self, algorithms=tuple(name for name in self.algorithms if name in allowed))

    @property
    def identity(self) -> Hashable:
        """Equal for two keys with the same material and the same uses."""
        use = (self.algorithms, self.verifies, self.signs, self.begins, self.ends, self.issuer)
        return (self.kid, self.declared, use, self._material.identity)

    @property
    def slow(self) -> bool:
        """Whether making a signature takes milliseconds: RSA over 2048 bits."""
        return isinstance(self._material, KeyPair) and getattr(self._material.public, "key_size", 0) > MIN_RSA_BITS

    @property
    def slow_to_verify(self) -> bool:
        """Whether two signature checks may take over 0.5 ms."""
        return isinstance(self._material, KeyPair) and self._material.slow_to_verify

    def public_jwk(self) -> dict[str, Any] | None:
        """The public half as a JWK, with `kid`, `use` and `alg` (RFC 7517). None: the key is a secret."""
        if isinstance(self._material, Secret):
            return None
        return {**self._material.public_members(), "kid": self.kid, "use": "sig", "alg": self.default}

    def __repr__(self) -> str:
        return f"Key(kid={self.kid!r}, algorithms={self.algorithms!r})"

    @classmethod
    def from_secret(cls, secret: str | bytes) -> "Key":
        """The key of an HMAC secret, which is its UTF-8 bytes.

        Raises `ValueError` for fewer than 32 bytes, and for public key material.
        """
        return cls._made_of(_secret(utf8(secret)), signs=True)

    @classmethod
    def from_pem(cls, pem: str | bytes) -> "Key":
        """The key of a PEM block: a private key in PKCS#8, PKCS#1 or SEC 1, or a public key. Raises `ValueError`."""
        public, private = load_pem(utf8(pem))
        return cls._made_of(KeyPair(public, private), signs=private is not None)

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> "Key":
        """The key of a JWK (RFC 7517). Raises `ValueError`, and its child `UnsupportedKey` for an unsupported kind."""
        names = ("kty", "kid", "use", "key_ops", "alg", "issuer")
        kty, kid, use, operations, alg, issuer = (jwk.get(name) for name in names)
        if not all(isinstance(member, str | None) for member in (kty, kid, use, alg, issuer)):
            raise ValueError("its kty, kid, use, alg or issuer is no string")
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
            issuer=issuer,
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
        issuer: str | None = None,
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
            issuer=issuer,
            _material=material,
            **times,
        )


def _secret(content: bytes, *spelled: bytes) -> Secret:
    # PyJWT decodes base64url leniently. If a JWK's `k` is the text of a PEM, only the text shows that it is a PEM.
    if any(map(is_no_secret, (content, *spelled))):
        raise ValueError(
            "is a key's PEM, DER, JWK or ssh form, a URL or empty, and no HMAC secret: keys go into ASGI_JWT_KEYS"
        )
    return Secret(content)


def _time(jwk: Mapping[str, Any], name: str) -> float | None:
    time = jwk.get(name)
    if time is None or (type(time) in (int, float) and 0 <= time < 2**53):
        return time
    raise ValueError(f"its {name} is no number of seconds")
