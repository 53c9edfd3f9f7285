"""The readers of settings about keys.

As in `values`, a reader takes the text of a setting or the value itself. It raises `ValueError` with a sentence that
says how the value has to be; the sentence lacks its subject.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.settings import values
from asgi_jwt.settings.key_text import plain_keys
from asgi_jwt.settings.text import check_secret, check_utf8
from asgi_jwt.tokens.algorithms import ALGORITHMS
from asgi_jwt.tokens.discovery import check_url
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.keys import MAX_CANDIDATES, KeySet
from asgi_jwt.tokens.token_file import read_token

_MEDIA_TYPE = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+(/[!#$%&'*+\-.^_`|~0-9a-z]+)?")


def keys(value: object) -> KeySet:
    """The keys of a JWK Set, a JWK or PEM, as text or as an object; or a KeySet."""
    if isinstance(value, KeySet):
        if fault := value.fault():
            raise ValueError(fault)
        return value
    if isinstance(value, Mapping):
        value = json.dumps(value)
    if not isinstance(value, (str, bytes)):
        raise ValueError("has to be a JWK Set, a JWK or PEM")
    return KeySet.parse(plain_keys(value) if isinstance(value, str) else value)


def token_file(value: object) -> Path:
    """The absolute path of a file that holds a bearer token now."""
    path = value if isinstance(value, Path) else Path(values.text(value))
    read_token(path)
    return path.absolute()


def https_url(value: object) -> str:
    """An https URL, or http on this machine."""
    return check_url(values.text(value))


def client_secret(value: object) -> str:
    """A secret that another server issued, of any length. It is never changed."""
    if not isinstance(value, str) or not value:
        raise ValueError("has to be a text")
    return check_secret(value)


def secret(value: object) -> str | bytes:
    """An HMAC secret. It is never changed: a text that seems to have additions raises."""
    if isinstance(value, str):
        check_utf8(value)
        _check_length(value)
        if value.startswith("[") and _json_list(value) is not None:
            raise ValueError("is a list of JSON: write the one secret alone")
        return check_secret(value)
    return _check_length(value)


def _check_length(value: object) -> str | bytes:
    if not isinstance(value, (str, bytes)):
        raise ValueError("has to be a text")
    Key.from_secret(value)
    return value


def refresh_secrets(value: object) -> tuple[str | bytes, ...] | KeySet:
    """The secrets of refresh tokens, of which the first signs; or a JWK Set of secrets.

    A text is one secret, several secrets with commas between them, or a JSON list. A text with a comma raises unless
    each part is long enough for a secret. The secrets in an iterable are taken unchanged.
    """
    if isinstance(value, (KeySet, Mapping)) or (isinstance(value, str) and value.lstrip().startswith("{")):
        return _refresh_keys(value)
    if isinstance(value, bytes):
        listed: tuple[object, ...] = (value,)
    elif isinstance(value, Iterable):
        listed = split_secrets(value) if isinstance(value, str) else tuple(value)
    else:
        raise ValueError("has to be a text or a list")
    if len(listed) > MAX_CANDIDATES:
        raise ValueError(f"may hold {MAX_CANDIDATES} secrets: remove the oldest")
    return tuple(_check_length(each) for each in listed)


def _refresh_keys(value: object) -> KeySet:
    try:
        read = keys(value)
    except ConfigurationError as fault:
        begins = "text that begins with { is a JWK Set, and a secret begins with another character"
        raise ValueError(f"{'; '.join(fault.faults)}: {begins}") from None
    if not all("HS256" in key.algorithms for key in read):
        raise ValueError("holds a key that is none for HS256: refresh tokens are signed with secrets")
    return read


def split_secrets(text: str) -> tuple[str, ...]:
    """The secrets in `text`. Raises `ValueError`. The error shows no secret."""
    if text.startswith("[") and text.endswith("]"):
        listed = _json_list(text)
        if listed is None:
            raise ValueError("stands in brackets and is no list of JSON: separate several secrets by commas")
        return listed
    parts = [part.strip() for part in check_secret(text).split(",")]
    if len(parts) > 1:
        for part in parts:
            _check_part(part)
    return tuple(dict.fromkeys(part for part in parts if part))


def _check_part(part: str) -> None:
    try:
        secret(part)
    except ValueError as fault:
        reason = str(fault) if part else "has a comma with nothing on one side"
        raise ValueError(f"{reason}: commas separate secrets here, and one secret may hold none") from None


def _json_list(text: str) -> tuple[str, ...] | None:
    try:
        listed = json.loads(text)
    except ValueError:
        return None
    return tuple(listed) if isinstance(listed, list) and all(isinstance(each, str) for each in listed) else None


def algorithms(value: object) -> tuple[str, ...]:
    """A list of algorithms, each one of `ALGORITHMS`."""
    named = values.texts(value)
    for name in named:
        if name not in ALGORITHMS:
            raise ValueError(f"may hold {', '.join(ALGORITHMS)}, and {name!r} is none of them")
    return named


def typ(value: object) -> frozenset[str]:
    """A list of media types, with or without `application/`. They are returned in lower case."""
    named = frozenset(name.lower() for name in values.texts(value))
    if not all(_MEDIA_TYPE.fullmatch(name) for name in named):
        raise ValueError("may hold media types, as at+jwt, application/at+jwt and JWT")
    return named
