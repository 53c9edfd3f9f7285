"""A request's body, read strictly: JSON or a form, 64 KiB at most."""

import re
from binascii import a2b_qp
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Any

from starlette.requests import ClientDisconnect, Request

from asgi_jwt.errors import BodyTooLarge, MalformedBody, MalformedToken, MissingField, UnsupportedMediaType
from asgi_jwt.tokens.compact import parse_object

MAX_BODY = 64 * 1024
_MAX_PARTS = 500
"""How many fields, members and list items a body may have: parsing more could hold the event loop for over 1 ms."""
_MAX_MESSAGES = 1000
"""How many messages of the server may carry a body, for the same reason."""
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Ea-e][0-9A-Fa-f]|[Ff][0-9A-Da-d])")
_EQUALS, _AND = b"\xfe", b"\xff"
"""Bytes that UTF-8 never has."""
_AS_QUOTED_PRINTABLE = bytes.maketrans(b"%+=&", b"= " + _EQUALS + _AND)
_AS_WRITTEN = bytes.maketrans(_EQUALS + _AND, b"=&")


class Credentials(Mapping[str, str]):
    """The body of a login, read-only.

    `credentials["password"]` of a field that is missing or no text raises an `InvalidRequest`, which answers 400;
    `credentials.get("otp")` is None for a missing one.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = MappingProxyType(dict(fields))

    def __getitem__(self, name: str) -> str:
        if name not in self._fields:
            raise MissingField(name, fault="is missing")
        value = self._fields[name]
        if not isinstance(value, str):
            raise MissingField(name, fault="is no text")
        try:
            value.encode()
        except UnicodeEncodeError:
            # JSON can write half a surrogate pair, and hashing such a password would fail (RFC 7493 section 2.1).
            raise MissingField(name, fault="is no text") from None
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """The field's text, or `default` when there is none. Raises `InvalidRequest` when it is no text."""
        return default if name not in self._fields else self[name]

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        # No names either: of a form that is a bare password, that is the name.
        return f"<Credentials: {len(self._fields)} fields>"


async def read_fields(request: Request) -> Credentials:
    """The fields of a JSON object or a form.

    Raises `UnsupportedMediaType`, `BodyTooLarge`, or `InvalidRequest` for broken syntax and repeated names.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("application/json", "application/x-www-form-urlencoded"):
        raise UnsupportedMediaType
    body = await _read(request)
    try:
        return Credentials(_parse_json(body) if media_type == "application/json" else _parse_form(body))
    except (MalformedToken, ValueError):
        raise MalformedBody from None


def form_text(encoded: bytes) -> str:
    """The text that a form's `encoded` name or value stands for (RFC 6749 appendix B).

    Raises `ValueError` for bytes outside ASCII, for a `%` that two hex digits don't follow, and for text that is not
    UTF-8.
    """
    return _unescape(encoded).translate(_AS_WRITTEN).decode()


async def _read(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 10 or int(declared) > MAX_BODY):
        raise BodyTooLarge
    body = bytearray()
    try:
        async with aclosing(request.stream()) as chunks:
            messages = 0
            async for chunk in chunks:
                body += chunk
                messages += 1
                if len(body) > MAX_BODY or messages > _MAX_MESSAGES:
                    raise BodyTooLarge
    except ClientDisconnect:
        # Anyone can hang up: no fault of the server's, and nothing to fill its log with.
        raise MalformedBody from None
    return bytes(body)


def _parse_json(body: bytes) -> dict[str, Any]:
    if body.count(b",") + body.count(b"{") + body.count(b"[") > _MAX_PARTS:
        raise ValueError("too many members")
    return parse_object(body)


def _parse_form(body: bytes) -> dict[str, str]:
    if body.count(b"&") >= _MAX_PARTS:
        raise ValueError("too many fields")
    pairs = [field.partition(_EQUALS) for field in _unescape(body).split(_AND) if field]
    fields = {name.decode(): value.translate(_AS_WRITTEN).decode() for name, _, value in pairs}
    if len(fields) != len(pairs):
        raise ValueError("a repeated field")
    return fields


def _unescape(encoded: bytes) -> bytes:
    """The bytes of a form, with `_EQUALS` and `_AND` in the place of every `=` and `&` that was not escaped."""
    if not encoded.isascii() or _BROKEN_ESCAPE.search(encoded):
        raise ValueError("a broken escape, or one of a byte that UTF-8 never has")
    # Quoted-printable writes `=41` where a form writes `%41`. Its decoder takes one pass in C; `unquote` takes 7 ms for
    # 64 KiB of escapes.
    return a2b_qp(encoded.translate(_AS_QUOTED_PRINTABLE))
