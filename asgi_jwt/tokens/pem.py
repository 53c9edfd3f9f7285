"""Reads keys in PEM, and recognises key material that must not be used as a secret."""

import re
from base64 import b32decode, b64decode
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import unquote_to_bytes

from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import InvalidKeyError

from asgi_jwt.tokens.algorithms import BROKEN_KEY

_MENDS = {
    b"CERTIFICATE REQUEST-----": "a certificate request: openssl req -in FILE -noout -pubkey writes its public key",
    b"CERTIFICATE-----": "a certificate: openssl x509 -in FILE -noout -pubkey writes its public key",
    b"OPENSSH PRIVATE KEY-----": "one in OpenSSH's own form: ssh-keygen -p -m PKCS8 -f FILE makes it PKCS#8",
    b"ENCRYPTED": "an encrypted one: openssl pkey -in FILE -out NEW writes it without a passphrase",
    b"PGP ": "one of OpenPGP: asgi-jwt keygen makes keys for tokens",
}
"""The unusable things that a PEM block may hold, by a part of its text, each with its mend."""


def is_no_secret(content: bytes) -> bool:
    """Whether `content`, in any encoding, is empty, a URL, or a key or certificate in PEM, DER, JWK or ssh form.

    Issuers publish their public keys in these forms. If a public key were used as a secret, everyone could sign (RFC
    8725 section 2.1).
    """
    readings = {content}
    for _ in range(_LAYERS):
        readings |= {inner for reading in readings for inner in _decoded(reading)}
    return not content.strip() or any(_MARKS.search(reading) or _is_key(reading) for reading in filter(None, readings))


_LAYERS = 5
_BLANKS = b" \t\r\n\v\f\0\xef\xbb\xbf\xff\xfe"
_MARKS = re.compile(
    rb"""-----BEGIN\ | ----\ BEGIN\ | ["']kty\\*["'] | \A\s*https?://
    | (?:ssh-|ecdsa-sha2-|sk-)\S+\s+AAAA | \A\0\0\0.(?:ssh-|ecdsa-sha2-|sk-)
    | \x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01
    | \x06\x07\x2a\x86\x48\xce\x3d\x02\x01
    | \x06\x03\x2b\x65[\x70\x71]""",
    re.VERBOSE | re.DOTALL,
)
"""Marks of PEM, JWK, URLs, ssh (as text and as bytes), and DER (the object identifiers of RSA, EC and Edwards keys)."""
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


def _decoded(content: bytes) -> Iterator[bytes]:
    """The possible meanings of `content`: without blanks, without quotes, without the zeros of UTF-16, and decoded.

    The encodings are percent-encoding, hex, base32, base64 and base64url.
    """
    bare = content.strip(_BLANKS)
    yield bare
    yield bare.replace(b"\0", b"")
    yield unquote_to_bytes(bare)
    if bare[:1] == bare[-1:] and bare[:1] in (b"'", b'"', b"`"):
        yield bare[1:-1]
    # Removed are the name of an encoding, the first and last line of PEM, blanks, and line breaks as JSON writes them.
    bare = re.sub(rb"\A(?:data:[^,]*,|hex:|base\d\d:)|-----[^-]*-----|\\[nrt]|\s", b"", bare)
    with suppress(ValueError):
        yield bytes.fromhex(re.sub(rb"[0\\]x|[:,]", b"", bare).decode())
    unpadded = bare.rstrip(b"=").translate(_TO_STANDARD)
    with suppress(ValueError):
        yield b32decode(unpadded + b"=" * (-len(unpadded) % 8), casefold=True)
    with suppress(ValueError):
        yield b64decode(unpadded + b"=" * (-len(unpadded) % 4), validate=True)


def _is_key(content: bytes) -> bool:
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(content)
    except InvalidKeyError:
        return True
    return False


def utf8(text: str | bytes) -> bytes:
    """The UTF-8 bytes of `text`. Raises `ValueError` if there are none, as for a lone surrogate."""
    try:
        return text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError:
        # Python's own message would show a character of the secret.
        raise ValueError("is no UTF-8 text") from None


def pem_blocks(content: bytes) -> list[bytes]:
    """The PEM blocks that may be keys. Raises `ValueError` if there is none, or if one has no last line."""
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
    """The public key, and the private key or None, of a block in PKCS#8, PKCS#1, SEC 1 or SPKI.

    Raises `ValueError`.
    """
    try:
        if b" PRIVATE KEY-----" not in block:
            return load_pem_public_key(block), None
        # OpenSSL's check of an RSA key takes up to a second. `KeyPair.check_halves` checks it instead.
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
