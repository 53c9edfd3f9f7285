"""Keys as PEM, and a certificate."""

from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


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
