"""A request's body, read strictly: JSON or a form, 64 KiB at most."""

import re
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from asgi_jwt.errors import BodyTooLarge, InvalidRequest, MalformedToken, UnsupportedMediaType
from asgi_jwt.tokens.compact import parse_object

MAX_BODY = 64 * 1024
_MAX_FIELDS = 1000
_MAX_BRACKETS = 64
# JSON can write one, and no encoding takes it: what hashes the password would fail (RFC 7493 section 2.1).
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class MalformedBody(InvalidRequest):
    """The body is broken JSON or a broken form, or names a field twice."""

    reason = "body_malformed"
    description = "The body is malformed"
    challenges = False


class MissingField(InvalidRequest):
    """The body lacks a field, or it is no text."""

    reason = "field_missing"
    description = "A field of the body is missing or no text"
    challenges = False


class Credentials(Mapping[str, str]):
    """The body of a login, read-only.

    `credentials["password"]` of a field that is missing or no text raises an `InvalidRequest`, which answers 400;
    `credentials.get("otp")` is None for a missing one.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = MappingProxyType(dict(fields))

    def __getitem__(self, name: str) -> str:
        value = self._fields.get(name)
        if not isinstance(value, str) or _LONE_SURROGATE.search(value):
            raise MissingField(name)
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
    if body.count(b"{") + body.count(b"[") > _MAX_BRACKETS and media_type == "application/json":
        # No form of ours nests: parsing 64 KB of empty lists would keep everyone waiting.
        raise MalformedBody
    try:
        return Credentials(parse_object(body) if media_type == "application/json" else _parse_form(body))
    except (MalformedToken, ValueError):
        raise MalformedBody from None


async def _read(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 10 or int(declared) > MAX_BODY):
        raise BodyTooLarge
    body = bytearray()
    try:
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > MAX_BODY:
                    raise BodyTooLarge
    except ClientDisconnect:
        # Anyone can hang up: no fault of the server's, and nothing to fill its log with.
        raise MalformedBody from None
    return bytes(body)


def _parse_form(body: bytes) -> dict[str, str]:
    pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a repeated field")
    return fields
