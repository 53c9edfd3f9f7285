"""How the values that speak of keys are read."""

from collections.abc import Callable
from typing import Any

import pytest
from support.tokens import jwks, public_pem, rsa_key

from asgi_jwt.settings import key_values
from asgi_jwt.tokens.keys import MAX_CANDIDATES, KeySet

A, B = "a" * 32, "b" * 32


RSA = KeySet.parse(public_pem(rsa_key()))


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (key_values.secret, A, A),
        (key_values.secret, A.encode(), A.encode()),
        (key_values.refresh_secrets, f"{A}, {B}", (A, B)),
        (key_values.refresh_secrets, A.encode(), (A.encode(),)),
        (key_values.refresh_secrets, iter([A, B.encode()]), (A, B.encode())),
        (key_values.keys, RSA, RSA),
        (key_values.algorithms, "RS256, EdDSA", ("RS256", "EdDSA")),
        (key_values.typ, ["AT+JWT", "JWT"], {"at+jwt", "jwt"}),
    ],
)
def test_values_are_read(read: Callable[[Any], Any], value: object, expected: object) -> None:
    """A value in any of its forms is read as what it stands for."""
    assert read(value) == expected


@pytest.mark.parametrize(
    ("read", "value"),
    [
        *((key_values.secret, value) for value in ("a" * 31, 1)),
        *((key_values.refresh_secrets, value) for value in ([A] * (MAX_CANDIDATES + 1), 1, jwks())),
        *((key_values.keys, value) for value in (1, KeySet(()), KeySet(tuple(RSA) * 5))),
        *((key_values.algorithms, value) for value in ("none", ["HS256", "None"], 256)),
        *((key_values.typ, value) for value in (1,)),
    ],
)
def test_values_that_cant_be_read_are_refused(read: Callable[[Any], Any], value: object) -> None:
    """Any other value is refused with what it has to be."""
    with pytest.raises(ValueError, match=r"^(has|may|holds) "):
        read(value)
