"""Parses a token leniently, to show its contents and the faults of its form. It decides nothing about acceptance."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from asgi_jwt.commands.output import shown
from asgi_jwt.errors import MalformedToken
from asgi_jwt.tokens.compact import decode_base64url, parse_object

_HEADER = re.compile(rb"(?:[a-z][a-z0-9-]*:\s*)?(?:bearer\s+)?", re.IGNORECASE)
_QUOTES = b"\"'`"
_TO_URLSAFE = bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """A token, with its header and its claims as far as they can be read. None: unreadable.

    `token` is the text that is verified.
    """

    token: bytes
    header: Mapping[str, Any] | None
    claims: Mapping[str, Any] | None


def parse_token(given: bytes) -> ParsedToken:
    """The token in `given`, which may have surrounding blanks, or the scheme before it, as in an HTTP header.

    `given` may also be the JSON answer that contains the access token (RFC 6749 section 5.1).
    """
    token = given.strip()
    if token.startswith(b"{"):
        token = _in_answer(token)
    token = _HEADER.sub(b"", token, count=1)
    # Contents are shown also for a token with quotes, blanks or percent-encoding, although it would be refused.
    repaired = unquote_to_bytes(b"".join(token.split()).strip(_QUOTES))
    header, payload, *_ = [*repaired.split(b"."), b"", b""]
    return ParsedToken(token, _read(header), _read(payload))


def _in_answer(answer: bytes) -> bytes:
    with suppress(MalformedToken):
        token = parse_object(answer).get("access_token")
        if isinstance(token, str):
            return token.encode("utf-8", "surrogatepass").strip()
    return answer


def _read(segment: bytes) -> dict[str, Any] | None:
    with suppress(MalformedToken):
        return parse_object(decode_base64url(segment.rstrip(b"=").translate(_TO_URLSAFE)))
    return None


def fault_of_form(parsed: ParsedToken) -> str | None:
    """Why the token is no JWS in compact form, and the mend. None: its form is good (RFC 7515 section 7.1)."""
    token = parsed.token
    segments = token.split(b".")
    if token.startswith(b"{"):
        return "it is JSON in which no access_token stands: give the token alone"
    if token[:1] in _QUOTES or token[-1:] in _QUOTES:
        return "it stands in quotes: take them off"
    if b"%" in token:
        return "it is URL-encoded, as its % shows: decode it"
    if len(token.split()) > 1:
        return "there is a space or a line break in it: put it together as one line"
    if b"..." in token or "\u2026".encode() in token:
        return "it is cut short with dots: copy the whole token"
    if len(segments) == 5:
        return _encrypted(parsed.header or {})
    if len(segments) == 1:
        return (
            "it is opaque, one part where a signed JWT has three: ask the issuer for JWT access tokens, "
            "which many give where a token is asked for this service's audience, or have its server asked about it, by "
            "ASGI_JWT_INTROSPECTION_URL"
        )
    if len(segments) != 3:
        return f"it has {len(segments)} parts where a signed JWT has three: copy the whole token, and nothing else"
    for name, segment in zip(("header", "payload", "signature"), segments, strict=True):
        if fault := _fault_of_part(name, segment):
            return fault
    return None


def _encrypted(header: Mapping[str, Any]) -> str:
    enc = f", enc is {shown(header['enc'])}" if "enc" in header else ""
    return (
        f"it is encrypted (JWE, five parts{enc}), and signed JWTs alone are read here: "
        "ask the issuer for a signed one, which many give where a token is asked for this service's audience"
    )


def _fault_of_part(name: str, segment: bytes) -> str | None:
    try:
        content = decode_base64url(segment)
    except MalformedToken:
        if segment.endswith(b"="):
            return f"its {name} is padded with =: have it made with unpadded base64url (RFC 7515 section 2)"
        if b"+" in segment or b"/" in segment:
            return f"its {name} is in standard base64, with + and /: have it made with base64url (RFC 7515 section 2)"
        return f"its {name} is no base64url, as when characters are lost or added: copy the whole token again"
    if name != "signature":
        try:
            parse_object(content)
        except MalformedToken as fault:
            return f"its {name} is {fault}: have the issuer send plain JSON, or copy the whole token again"
    return None
