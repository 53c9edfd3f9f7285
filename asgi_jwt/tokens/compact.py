"""Strict parsing of the JWS compact form: RFC 7515 section 7.1, RFC 8725. Pure."""

import json
from binascii import Error as InvalidBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from sys import intern
from types import MappingProxyType
from typing import Any

from asgi_jwt.errors import MalformedToken

MAX_DEPTH = 64
"""How deep JSON may nest: a token that parses in one call stack has to be usable in any other."""
MAX_PARTS = 4096
"""How many objects, lists and members an issuer's document may have: of more, parsing would take long."""
_MAX_DIGITS = 100
"""How many digits a whole number may have: converting one takes the square of its length."""

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# Everything outside the alphabet, `+`, `/` and `=` too, becomes a byte that the strict decoder refuses.
_TO_STANDARD = bytes({0x2D: 0x2B, 0x5F: 0x2F}.get(byte, byte) if byte in _ALPHABET else 0 for byte in range(256))
_TO_URLSAFE = bytes.maketrans(b"+/", b"-_")
_PADDING = (b"", None, b"==", b"=")
# The last character's unused bits are zero in the canonical form (RFC 4648 section 3.5).
_CANONICAL_ENDS: tuple[frozenset[int], ...] = (
    frozenset(range(256)),
    frozenset(),
    frozenset(_ALPHABET[::16]),
    frozenset(_ALPHABET[::4]),
)


def decode_base64url(segment: bytes) -> bytes:
    """The bytes that canonical, unpadded base64url stands for. Raises `MalformedToken` for anything else."""
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
    """Unpadded base64url."""
    return b2a_base64(content, newline=False).translate(_TO_URLSAFE).rstrip(b"=")


def split(token: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Header, payload and signature segment, and the signing input. Raises `MalformedToken` unless there are three."""
    segments = token.split(b".", 3)
    if len(segments) != 3:
        raise MalformedToken("not three segments")
    header, payload, signature = segments
    return header, payload, signature, token[: len(header) + 1 + len(payload)]


def parse_object(content: bytes) -> dict[str, Any]:
    """The JSON object in `content`, which anyone may have written.

    Raises `MalformedToken` unless it is UTF-8 without a byte order mark, an object without repeated names, and
    without `NaN`, `Infinity`, whole numbers of more than 100 digits and nesting past `MAX_DEPTH`.
    """
    parsed: dict[str, Any] = _parse(content, _PLAIN, dict)
    return parsed


def parse_document(content: bytes) -> dict[str, Any]:
    """The same for what an issuer publishes, which may be large, and is parsed within 2 ms whatever it is.

    All numbers in it become `float`: a whole one takes the square of its length.
    """
    if content.count(b"{") + content.count(b"[") + content.count(b",") > MAX_PARTS:
        raise MalformedToken(f"more than {MAX_PARTS} objects, lists and members")
    parsed: dict[str, Any] = _parse(content, _DOCUMENT, dict)
    return parsed


def parse_claims(content: bytes) -> Mapping[str, Any]:
    """The same, frozen, for a payload whose signature verified: its names are interned.

    Thousands of cached tokens have the same names. A stranger's would fill the memory: not every Python frees them.
    """
    parsed: Mapping[str, Any] = _parse(content, _FROZEN, MappingProxyType)
    return parsed


def _parse(content: bytes, decoder: json.JSONDecoder, kind: type) -> Any:
    try:
        text = content.decode().strip(" \t\r\n")
        parsed, end = decoder.raw_decode(text)
    except (ValueError, RecursionError):
        raise MalformedToken("not JSON in UTF-8 without repeated names") from None
    if type(parsed) is not kind or end != len(text):
        raise MalformedToken("not a JSON object")
    if text.count("{") + text.count("[") > MAX_DEPTH and not _is_shallow(parsed, MAX_DEPTH):
        raise MalformedToken(f"nested more than {MAX_DEPTH} deep")
    return parsed


def _plain_object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(members)
    if len(parsed) != len(members):
        raise ValueError("a repeated name")
    return parsed


def _frozen_object(members: list[tuple[str, Any]]) -> MappingProxyType[str, Any]:
    # Frozen while it is parsed, innermost first, so that nothing is walked twice.
    parsed = {intern(name): _frozen_list(value) if type(value) is list else value for name, value in members}
    if len(parsed) != len(members):
        raise ValueError("a repeated name")
    return MappingProxyType(parsed)


def _frozen_list(members: list[Any]) -> tuple[Any, ...]:
    return tuple([_frozen_list(member) if type(member) is list else member for member in members])


def _is_shallow(container: Any, levels: int) -> bool:
    members = container.values() if isinstance(container, (dict, MappingProxyType)) else container
    return levels > 0 and all(type(member) in _ATOMS or _is_shallow(member, levels - 1) for member in members)


def _short_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a whole number of more than {_MAX_DIGITS} digits")
    return int(digits)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_PLAIN = json.JSONDecoder(object_pairs_hook=_plain_object, parse_constant=_refuse_constant, parse_int=_short_int)
_DOCUMENT = json.JSONDecoder(object_pairs_hook=_plain_object, parse_constant=_refuse_constant, parse_int=float)
_FROZEN = json.JSONDecoder(object_pairs_hook=_frozen_object, parse_constant=_refuse_constant)
_ATOMS = frozenset({str, int, float, bool, type(None)})
