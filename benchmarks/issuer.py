"""An issuer's keys over https on the loopback.

`/<n>` answers with a JWK Set of n keys, `signing` among them, of which one is another at each request.
"""

import ipaddress
import json
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from starlette.types import Receive, Scope, Send

from asgi_jwt.tokens.compact import encode_base64url
from benchmarks.serving import served
from benchmarks.work import Work


def rsa_jwk() -> dict[str, str]:
    """A public RSA key of 2048 bits, which nobody could sign with: to read it takes what any takes."""
    modulus = secrets.randbits(2048) | 1 << 2047 | 1
    named = {"kid": secrets.token_urlsafe(32), "kty": "RSA", "use": "sig", "alg": "RS256", "e": "AQAB"}
    return {**named, "n": encode_base64url(modulus.to_bytes(256, "big")).decode()}


class KeyServer:
    """An ASGI app that answers with the JWK Set of each size."""

    def __init__(self, sizes: list[int], signing: dict[str, Any]) -> None:
        self._sets = {f"/{size}": [signing, *(rsa_jwk() for _ in range(size - 1))] for size in sizes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        keys = self._sets[scope["path"]]
        keys[-1] = rsa_jwk()
        body = json.dumps({"keys": keys}).encode()
        headers = [(b"content-type", b"application/jwk-set+json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def certify(home: Path) -> None:
    """A certificate for 127.0.0.1, which vouches for itself, as `certificate.pem`, and its key as `key.pem`."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (home / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (home / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def bundle(home: Path) -> tuple[Path, int]:
    """The system's certificates and that one in a file, and how many they are."""
    trusted = ssl.create_default_context()
    trusted.load_verify_locations(home / "certificate.pem")
    pem = [ssl.DER_cert_to_PEM_cert(certificate) for certificate in trusted.get_ca_certs(binary_form=True)]
    path = home / "certificates.pem"
    path.write_text("".join(pem))
    return path, len(pem)


@asynccontextmanager
async def issuing(home: str, keys: list[int], signing: dict[str, Any]) -> AsyncIterator[Work]:
    """Introduced by its `port`, and by `certificates`, a file that has its own among others, and their `count`."""
    folder = Path(home)
    certify(folder)
    files = {"ssl_certfile": folder / "certificate.pem", "ssl_keyfile": folder / "key.pem"}
    async with served(KeyServer(keys, signing), **files) as port:
        certificates, count = bundle(folder)
        yield Work({"port": port, "certificates": str(certificates), "count": count})
