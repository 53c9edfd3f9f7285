"""How the values that speak of keys are read. Like `values`, each function takes text or the value itself, and raises
`ValueError` with what the value has to be.
"""

import json
from collections.abc import Iterable, Mapping

from asgi_jwt.settings import values
from asgi_jwt.tokens.algorithms import ALGORITHMS
from asgi_jwt.tokens.discovery import check_url
from asgi_jwt.tokens.keys import MAX_CANDIDATES, Key, KeySet


def keys(value: object) -> KeySet:
    if isinstance(value, KeySet):
        if not any(key.verifies for key in value.keys):
            raise ValueError("holds no key that may verify signatures")
        return value
    if isinstance(value, Mapping):
        value = json.dumps(value)
    if not isinstance(value, (str, bytes)):
        raise ValueError("has to be a JWK Set, a JWK or PEM")
    return KeySet.parse(value)


def jwks_url(value: object) -> str:
    return check_url(values.text(value))


def secret(value: object) -> str | bytes:
    if not isinstance(value, (str, bytes)):
        raise ValueError("has to be a text")
    Key.from_secret(value)
    return value


def refresh_secrets(value: object) -> tuple[str | bytes, ...] | KeySet:
    if isinstance(value, (KeySet, Mapping)) or (isinstance(value, str) and value.lstrip().startswith("{")):
        read = keys(value)
        if not all("HS256" in key.algorithms for key in read.keys):
            raise ValueError("holds a key that is none for HS256: refresh tokens are signed with secrets")
        return read
    if isinstance(value, bytes):
        listed: tuple[object, ...] = (value,)
    elif isinstance(value, Iterable) and not isinstance(value, str):
        listed = tuple(value)
    else:
        listed = values.texts(value)
    if len(listed) > MAX_CANDIDATES:
        raise ValueError(f"may hold {MAX_CANDIDATES} secrets: remove the oldest")
    return tuple(secret(each) for each in listed)


def algorithms(value: object) -> tuple[str, ...]:
    named = values.texts(value)
    for name in named:
        if name not in ALGORITHMS:
            raise ValueError(f"may hold {', '.join(ALGORITHMS)}, and {name!r} is none of them")
    return named


def typ(value: object) -> frozenset[str]:
    return frozenset(name.lower() for name in values.texts(value))
