"""Reads the body of a request, strictly: JSON or a form, of 64 KiB at most."""

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
"""The most fields, members and list items of a body. Parsing more could block the event loop for over 1 ms."""
_MAX_MESSAGES = 1000
"""The most ASGI messages of a body, for the same reason."""
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Ea-e][0-9A-Fa-f]|[Ff][0-9A-Da-d])")
_EQUALS, _AND = b"\xfe", b"\xff"
"""Stand for the separators `=` and `&` in an unescaped form. UTF-8 never contains these bytes."""
_AS_QUOTED_PRINTABLE = bytes.maketrans(b"%+=&", b"= " + _EQUALS + _AND)
_AS_WRITTEN = bytes.maketrans(_EQUALS + _AND, b"=&")


class Credentials(Mapping[str, str]):
    """The fields of a login's body, as a read-only mapping.

    `credentials["password"]` raises an `InvalidRequest`, which is answered with 400, if the field is missing or no
    text. `credentials.get("otp")` is None if the field is missing.
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
            # JSON can contain half a surrogate pair, and no password hash could encode it (RFC 7493 section 2.1).
            raise MissingField(name, fault="is no text") from None
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """The field's text, or `default` if the field is missing. Raises `InvalidRequest` if its value is no text."""
        return default if name not in self._fields else self[name]

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        # Names may be secret too: if a form's body is only a password, the password is the field's name.
        return f"<Credentials: {len(self._fields)} fields>"


async def read_fields(request: Request) -> Credentials:
    """The fields of the body, which is a JSON object or a form.

    Raises `UnsupportedMediaType`, `BodyTooLarge`, and `MalformedBody` for broken syntax and repeated names.
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
    """The decoded text of a form's `encoded` name or value.

    Raises `ValueError` for bytes outside ASCII, for a `%` without two hex digits behind it, and for text that is not
    UTF-8 (RFC 6749 appendix B).
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
        # A client may close the connection at any time. That is no fault of the server, so it is not logged.
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
    """The unescaped bytes of a form, with `_EQUALS` and `_AND` in the place of each separator `=` and `&`."""
    if not encoded.isascii() or _BROKEN_ESCAPE.search(encoded):
        raise ValueError("a broken escape, or one of a byte that UTF-8 never has")
    # Quoted-printable writes `=41` for a form's `%41`, and its decoder is written in C. `unquote` takes 7 ms for 64 KiB
    # of escapes.
    return a2b_qp(encoded.translate(_AS_QUOTED_PRINTABLE))
