"""What all contenders are given: the same keys, the same policy, the same tokens."""

import base64
import json
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

ISSUER = "https://issuer.example"
AUDIENCE = "https://api.example"
LEEWAY = 30
LIFE = 6 * 3600
PUBLIC_PATHS = ("/auth/*", "/docs", "/health")
OVERSIZED = 9 * 1024


@dataclass(frozen=True, kw_only=True)
class Fixture:
    """One algorithm's keys and tokens. `odd` are signed all the same, and each wrong in the way its name says."""

    algorithm: str
    secret: str
    private_pem: str
    public_pem: str
    subject: str
    tokens: list[str]
    forged: list[str]
    oversized: str
    odd: dict[str, str]

    @property
    def verifying_key(self) -> str:
        """The secret or the public PEM, for those who take a key as text."""
        return self.secret if self.algorithm.startswith("HS") else self.public_pem

    def mint(self) -> str:
        """Another token of the same kind."""
        key = self.secret if self.algorithm.startswith("HS") else self.private_pem
        return _sign(claims(self.subject), key, self.algorithm)

    @classmethod
    def make(cls, algorithm: str, tokens: int) -> Self:
        """Fresh keys, and `tokens` tokens with about 350 bytes of claims."""
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private_pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        secret = secrets.token_urlsafe(32)
        key = secret if algorithm.startswith("HS") else private_pem
        subject = str(uuid.uuid4())
        signed = [_sign(claims(subject), key, algorithm) for _ in range(tokens)]
        return cls(
            algorithm=algorithm,
            secret=secret,
            private_pem=private_pem,
            public_pem=public.decode(),
            subject=subject,
            tokens=signed,
            forged=[_forge(token) for token in signed],
            oversized=_sign({**claims(subject), "x": "x" * OVERSIZED}, key, algorithm),
            odd={wrong: _sign(odd, key, algorithm, **header) for wrong, (odd, header) in _odd(subject).items()}
            | {"a claim twice": _sign_bytes(_with_a_claim_twice(subject), key, algorithm)}
            | {"past 8 KB": _sign({**claims(subject), "x": "x" * OVERSIZED}, key, algorithm)},
        )


def claims(subject: str) -> dict[str, Any]:
    """An access token's claims as RFC 9068 wants them, about 350 bytes of JSON."""
    now = int(time.time())
    return {
        "iss": ISSUER,
        "sub": subject,
        "aud": [AUDIENCE],
        "exp": now + LIFE,
        "iat": now,
        "jti": secrets.token_urlsafe(16),
        "sid": secrets.token_hex(8),
        "client_id": "web",
        "scope": "orders:read orders:write",
        "type": "access",
        "roles": ["staff"],
        "email": "alice@example.com",
        "name": "Alice Example",
        "tenant": "acme",
    }


def _odd(subject: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    good = claims(subject)
    return {
        "expired": ({**good, "exp": good["iat"] - 3600}, {}),
        "no `exp`": ({name: value for name, value in good.items() if name != "exp"}, {}),
        "`exp` as a string": ({**good, "exp": str(good["exp"])}, {}),
        "`nbf` ahead": ({**good, "nbf": good["iat"] + 3600}, {}),
        "`iat` ahead": ({**good, "iat": good["iat"] + 3600}, {}),
        "`iat` a boolean": ({**good, "iat": True}, {}),
        "another issuer": ({**good, "iss": "https://other.example"}, {}),
        "another audience": ({**good, "aud": ["https://other.example"]}, {}),
        "no `sub`": ({name: value for name, value in good.items() if name != "sub"}, {}),
        "empty `sub`": ({**good, "sub": ""}, {}),
        "a refresh token by its claim": ({**good, "type": "refresh"}, {}),
        "a refresh token by its `typ`": (good, {"typ": "rt+jwt"}),
        "an unknown `crit`": (good, {"crit": ["x"], "x": 1}),
    }


def _with_a_claim_twice(subject: str) -> bytes:
    twice = f'{{"iss": "https://other.example", {json.dumps(claims(subject))[1:]}'
    return twice.encode()


def _sign(payload: dict[str, Any], key: str, algorithm: str, **header: Any) -> str:
    return _sign_bytes(json.dumps(payload, separators=(",", ":")).encode(), key, algorithm, **header)


def _sign_bytes(payload: bytes, key: str, algorithm: str, **header: Any) -> str:
    # Who has public keys names them, by the RFC 7638 thumbprint mostly.
    kid = {} if algorithm.startswith("HS") else {"kid": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"}
    return jwt.PyJWS().encode(payload, key, algorithm, {"typ": "at+jwt", **kid, **header})


def _forge(token: str) -> str:
    signing_input, _, signature = token.rpartition(".")
    size = len(base64.urlsafe_b64decode(signature + "=="))
    forged = base64.urlsafe_b64encode(secrets.token_bytes(size)).rstrip(b"=").decode()
    return f"{signing_input}.{forged}"
