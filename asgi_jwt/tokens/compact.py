"""Strict parsing of the JWS compact form: RFC 7515 section 7.1, RFC 8725. Pure."""

import json
from binascii import Error as InvalidBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping
from json.scanner import make_scanner
from sys import intern
from types import MappingProxyType
from typing import Any

from asgi_jwt.errors import MalformedToken

MAX_DEPTH = 64
"""The deepest nesting of JSON. Deeper claims might parse, and then overflow the call stack of an app."""
MAX_PARTS = 4096
"""The most objects, lists and members of an issuer's document, so that parsing it does not take long."""
_MAX_DIGITS = 100
"""The most digits of an integer, because its conversion takes time with the square of its length."""

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# Each byte outside the alphabet, also `+`, `/` and `=`, becomes a byte that the strict decoder refuses.
_TO_STANDARD = bytes({0x2D: 0x2B, 0x5F: 0x2F}.get(byte, byte) if byte in _ALPHABET else 0 for byte in range(256))
_TO_URLSAFE = bytes.maketrans(b"+/", b"-_")
_PADDING = (b"", None, b"==", b"=")
# In the canonical form the unused bits of the last character are zero (RFC 4648 section 3.5).
_CANONICAL_ENDS: tuple[frozenset[int], ...] = (
    frozenset(range(256)),
    frozenset(),
    frozenset(_ALPHABET[::16]),
    frozenset(_ALPHABET[::4]),
)


def decode_base64url(segment: bytes) -> bytes:
    """The decoded bytes of canonical, unpadded base64url. Raises `MalformedToken` for any other text."""
    if not segment:
        return b""
    rest = len(segment) & 3
    padding = _PADDING[rest]
    if padding is None or segment[-1] not in _CANONICAL_ENDS[rest]:
        raise MalformedToken("not canonical base64url")
    try:
        return a2b_base64(segment.translate(_TO_STANDARD) + padding, strict_mode=True)
    except InvalidBase64:
        raise MalformedToken("not base64url") from None


def encode_base64url(content: bytes) -> bytes:
    """`content` in unpadded base64url."""
    return b2a_base64(content, newline=False).translate(_TO_URLSAFE).rstrip(b"=")


def split(token: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """The token's header, payload and signature segments, and the signing input (RFC 7515 section 7.1).

    Raises `MalformedToken` unless the token has exactly three segments.
    """
    segments = token.split(b".", 3)
    if len(segments) != 3:
        raise MalformedToken("not three segments")
    header, payload, signature = segments
    return header, payload, signature, token[: len(header) + 1 + len(payload)]


def _plain_object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(members)
    if len(parsed) != len(members):
        raise ValueError("a repeated name")
    return parsed


def _frozen_object(members: list[tuple[str, Any]]) -> MappingProxyType[str, Any]:
    # The parser freezes each object when it is complete, so that no second pass is needed.
    parsed = {intern(name): _frozen_list(value) if type(value) is list else value for name, value in members}
    if len(parsed) != len(members):
        raise ValueError("a repeated name")
    return MappingProxyType(parsed)


def _frozen_list(members: list[Any]) -> tuple[Any, ...]:
    return tuple([_frozen_list(member) if type(member) is list else member for member in members])


_ATOMS = frozenset({str, int, float, bool, type(None)})


def _is_shallow(container: Any, levels: int) -> bool:
    members = container.values() if isinstance(container, (dict, MappingProxyType)) else container
    return levels > 0 and all(type(member) in _ATOMS or _is_shallow(member, levels - 1) for member in members)


def _short_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a whole number of more than {_MAX_DIGITS} digits")
    return int(digits)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parser(kind: type, decoder: json.JSONDecoder) -> Callable[[bytes], Any]:
    # `JSONDecoder.raw_decode` does the same, and takes 0.4 µs more.
    scan: Any = make_scanner(decoder)  # type: ignore[arg-type]  # typeshed takes the decoder for a scanner

    def parse(content: bytes) -> Any:
        try:
            text = content.decode().strip(" \t\r\n")
            parsed, end = scan(text, 0)
        except (ValueError, RecursionError, StopIteration):
            raise MalformedToken("not JSON in UTF-8 without repeated names") from None
        if type(parsed) is not kind or end != len(text):
            raise MalformedToken("not a JSON object")
        # The first brace is the object's own, and most objects have no other.
        nests = "[" in text or text.find("{", 1) > 0
        if nests and text.count("{") + text.count("[") > MAX_DEPTH and not _is_shallow(parsed, MAX_DEPTH):
            raise MalformedToken(f"nested more than {MAX_DEPTH} deep")
        return parsed

    return parse


parse_object: Callable[[bytes], dict[str, Any]] = _parser(
    dict, json.JSONDecoder(object_pairs_hook=_plain_object, parse_constant=_refuse_constant, parse_int=_short_int)
)
"""The JSON object in `content`, which may come from an attacker.

`content` must be UTF-8 without a byte order mark. Raises `MalformedToken` for repeated names, `NaN`, `Infinity`,
integers of more than 100 digits, and nesting deeper than `MAX_DEPTH`.
"""

parse_floats: Callable[[bytes], dict[str, Any]] = _parser(
    dict, json.JSONDecoder(object_pairs_hook=_plain_object, parse_constant=_refuse_constant, parse_int=float)
)
"""The same with all numbers as `float`, which is faster, and takes integers of any length."""

parse_claims: Callable[[bytes], Mapping[str, Any]] = _parser(
    MappingProxyType, json.JSONDecoder(object_pairs_hook=_frozen_object, parse_constant=_refuse_constant)
)
"""The JSON object in a payload whose signature was verified, frozen at every depth. Raises `MalformedToken`.

Its names are interned, because thousands of cached tokens have the same names. Names of unverified tokens must not be
interned: some versions of Python never free them.
"""


def parse_document(content: bytes) -> dict[str, Any]:
    """The JSON object in a document that an issuer publishes, parsed in 2 ms at most.

    All numbers become `float`. Raises `MalformedToken` as `parse_object` does, and for more than `MAX_PARTS` parts.
    """
    if content.count(b"{") + content.count(b"[") + content.count(b",") > MAX_PARTS:
        raise MalformedToken(f"more than {MAX_PARTS} objects, lists and members")
    return parse_floats(content)
