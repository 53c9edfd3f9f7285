"""Keys as environments hold them: PEM on one line, in base64 or in quotation marks, and what is no key."""

import json
from base64 import b64encode, encodebytes
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from support.tokens import ec_key, jwks, private_pem, public_pem, rsa_key

from asgi_jwt import ConfigurationError, Settings

PEM = private_pem(ec_key()).decode()
DER = ec_key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
JWKS = json.dumps(jwks())


def read(keys: str) -> Settings:
    return Settings.from_env({"ASGI_JWT_ISSUER": "i", "ASGI_JWT_AUDIENCE": "a", "ASGI_JWT_KEYS": keys})


def in_base64(text: str) -> str:
    return b64encode(text.encode()).decode()


PEM_FORMS: dict[str, Callable[[str], str]] = {
    "line breaks as two characters": lambda pem: pem.replace("\n", "\\n"),
    "CRLF as four characters": lambda pem: pem.replace("\n", "\\r\\n"),
    "CRLF": lambda pem: pem.replace("\n", "\r\n"),
    "blanks for line breaks": lambda pem: pem.replace("\n", " "),
    "one line": lambda pem: pem.replace("\n", ""),
    "indented": lambda pem: pem.replace("\n", "\n    "),
    "quoted": lambda pem: f"'{pem}'",
    "a string of JSON": json.dumps,
    "a byte order mark": lambda pem: f"\ufeff{pem}",
    "base64": in_base64,
    "base64 in lines": lambda pem: encodebytes(pem.encode()).decode(),
    "base64 in quotes": lambda pem: f'"{in_base64(pem)}"',
}


@pytest.mark.parametrize("form", PEM_FORMS.values(), ids=PEM_FORMS)
def test_pem_as_it_was_meant(form: Callable[[str], str]) -> None:
    """PEM is the same key however its lines were lost, and so is each of several blocks."""
    expected = next(iter(read(PEM).key_set)).identity
    assert [key.identity for key in read(form(PEM)).key_set] == [expected]
    both = read(form(PEM + public_pem(rsa_key()).decode())).key_set
    assert (next(iter(both)).identity, len(both)) == (expected, 2)


@pytest.mark.parametrize("form", [lambda text: f"'{text}'", json.dumps, in_base64, lambda text: f"\ufeff {text}\r\n"])
def test_json_as_it_was_meant(form: Callable[[str], str]) -> None:
    """A JWK Set is the same in quotation marks and in base64."""
    assert len(read(form(JWKS)).key_set) == len(jwks()["keys"])


def encrypted(form: PrivateFormat) -> str:
    return ec_key().private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"hunter2")).decode()


REFUSED = {
    "a certificate": ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "openssl x509 -in"),
    "an encrypted key": (encrypted(PrivateFormat.PKCS8), "an encrypted one: openssl pkey -in"),
    "an encrypted key of the older form": (encrypted(PrivateFormat.TraditionalOpenSSL), "an encrypted one: openssl"),
    "an OpenSSH key": (
        ec_key().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(),
        "ssh-keygen -p -m PKCS8",
    ),
    "a public OpenSSH key": (
        ec_key().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
        "ssh-keygen -e -m PKCS8",
    ),
    "DER in base64": (b64encode(DER).decode(), "a key in DER or PKCS#12: write the key as PEM"),
    "PEM without its first and last line": ("".join(PEM.splitlines()[1:-1]), "from its line -----BEGIN"),
    "random bytes in base64": (b64encode(b"\xff" * 40).decode(), "base64 of other bytes than PEM or JSON"),
    "base64 of other text": (in_base64("hunter2" * 9), "holds neither a JWK, a JWK Set nor PEM"),
    "a path": ("/run/secrets/the-keys-of-this-service.pem", "ASGI_JWT_KEYS_FILE"),
    "JSON of Python": (str(jwks()), "single quotes: write double ones"),
    "JSON with backslashes": (JWKS.replace('"', '\\"'), "write it without those"),
    "a list of keys": (json.dumps(jwks()["keys"]), 'write a JWK Set, {"keys": [...]}'),
    "bytes that are no UTF-8": (f"{PEM}\udcff", "is no UTF-8 text"),
}


@pytest.mark.parametrize(("keys", "mend"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_key_is_refused_with_the_mend(keys: str, mend: str) -> None:
    """A key in another form is refused by a sentence that says what to do, and shows none of it."""
    with pytest.raises(ConfigurationError) as refused:
        read(keys)
    (fault,) = refused.value.faults
    assert fault.startswith("ASGI_JWT_KEYS ")
    assert mend in fault
    assert not [part for part in keys.split() if len(part) > 20 and part in fault]
