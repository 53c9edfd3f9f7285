"""How the values that speak of keys are read."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.tokens import jwks, public_pem, rsa_key

from asgi_jwt.settings import key_values
from asgi_jwt.tokens.keys import MAX_CANDIDATES, KeySet

A, B = "a" * 32, "b" * 32
URL = "https://issuer.example/jwks"


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (key_values.secret, A, A),
        (key_values.secret, A.encode(), A.encode()),
        (key_values.refresh_secrets, f"{A}, {B}", (A, B)),
        (key_values.refresh_secrets, A.encode(), (A.encode(),)),
        (key_values.refresh_secrets, iter([A, B.encode()]), (A, B.encode())),
        (key_values.jwks_url, f" {URL} ", URL),
        (key_values.algorithms, "RS256, EdDSA", ("RS256", "EdDSA")),
        (key_values.typ, ["AT+JWT", "JWT"], {"at+jwt", "jwt"}),
    ],
)
def test_values_are_read(read: Callable[[Any], Any], value: object, expected: object) -> None:
    """A value in any of its forms is read as what it stands for."""
    assert read(value) == expected


@pytest.mark.parametrize("value", [jwks(), json.dumps(jwks()), json.dumps(jwks()).encode()])
def test_key_sets_are_read(value: object) -> None:
    """A JWK Set may be text or parsed, and a `KeySet` stays what it is."""
    assert [key.kid for key in key_values.keys(value).keys] == [jwk["kid"] for jwk in jwks()["keys"]]
    keys = KeySet.parse(public_pem(rsa_key()))
    assert key_values.keys(keys) is keys


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (key_values.secret, "a" * 31),
        (key_values.secret, 1),
        (key_values.refresh_secrets, [A] * (MAX_CANDIDATES + 1)),
        (key_values.refresh_secrets, 1),
        (key_values.refresh_secrets, jwks()),
        (key_values.keys, 1),
        (key_values.keys, KeySet(())),
        (key_values.keys, KeySet(KeySet.parse(public_pem(rsa_key())).keys * 5)),
        (key_values.jwks_url, "http://issuer.example/jwks"),
        (key_values.jwks_url, ""),
        (key_values.algorithms, "none"),
        (key_values.typ, 1),
    ],
)
def test_values_that_cant_be_read_are_refused(read: Callable[[Any], Any], value: object) -> None:
    """Any other value is refused with what it has to be."""
    with pytest.raises(ValueError, match=r"^(has|may|holds) "):
        read(value)
