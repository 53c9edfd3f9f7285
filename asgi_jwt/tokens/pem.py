"""Keys as text: PEM taken apart, and what is no secret though it looks like one."""

import re
from base64 import b64decode
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

BROKEN_KEY = (ValueError, TypeError, KeyError, AttributeError, OverflowError, UnsupportedAlgorithm)
"""What cryptography raises for keys that are none."""

_MENDS = {
    b"CERTIFICATE REQUEST-----": "a certificate request: openssl req -in FILE -noout -pubkey writes its public key",
    b"CERTIFICATE-----": "a certificate: openssl x509 -in FILE -noout -pubkey writes its public key",
    b"OPENSSH PRIVATE KEY-----": "one in OpenSSH's own form: ssh-keygen -p -m PKCS8 -f FILE makes it PKCS#8",
    b"ENCRYPTED": "an encrypted one: openssl pkey -in FILE -out NEW writes it without a passphrase",
    b"PGP ": "one of OpenPGP: asgi-jwt keygen makes keys for tokens",
}
"""What PEM may hold instead of a key that can be used, by a part of the block, and its mend."""


def unarmoured(content: bytes) -> bytes:
    """What the text is in base64, with or without PEM's first and last line; the text itself if it is none.

    Issuers show their public keys in this form: taken for a secret, everyone could sign with it.
    """
    bare = re.sub(rb"-----[^-]*-----|\s", b"", content)
    if bare.startswith((b"https://", b"http://")):
        return b""
    try:
        return b64decode(bare, validate=True) or content
    except ValueError:
        return content


def utf8(text: str | bytes) -> bytes:
    """Raises `ValueError` for text that has no UTF-8."""
    try:
        return text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError:
        # Python's own message shows a character of the secret.
        raise ValueError("is no UTF-8 text") from None


def pem_blocks(content: bytes) -> list[bytes]:
    """The blocks that may be keys. Raises `ValueError` when there are none, or one is cut off."""
    end = b"-----END "
    begun = [b"-----BEGIN " + block for block in content.split(b"-----BEGIN ")[1:]]
    if not all(end in block for block in begun):
        raise ValueError("holds a PEM block without its last line: the file is cut off")
    blocks = [block for block in begun if b" PARAMETERS-----" not in block]
    if not blocks and content.lstrip().startswith((b"ssh-", b"ecdsa-sha2-")):
        raise ValueError("holds an OpenSSH public key: ssh-keygen -e -m PKCS8 -f FILE writes it as PEM")
    if not blocks:
        raise ValueError("holds neither a JWK, a JWK Set nor PEM; a path to one goes into ASGI_JWT_KEYS_FILE")
    return blocks


def load_pem(block: bytes) -> tuple[Any, Any]:
    """The public and the private key, or None, of a block in PKCS#8, PKCS#1, SEC 1 or SPKI. Raises `ValueError`."""
    try:
        if b" PRIVATE KEY-----" not in block:
            return load_pem_public_key(block), None
        # As `rsa_of` does.
        private: Any = load_pem_private_key(block, password=None, unsafe_skip_rsa_key_validation=True)
        return private.public_key(), private
    except BROKEN_KEY:
        raise ValueError(
            f"holds PEM that is neither an unencrypted private key nor a public one{_mend(block)}"
        ) from None


def _mend(block: bytes) -> str:
    for mark, mend in _MENDS.items():
        if mark in block:
            return f", but {mend}"
    return ""
