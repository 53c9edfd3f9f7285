"""Restores the text of keys that an environment changed: PEM or JSON in quotation marks, on one line, or in base64."""

import binascii
import json
import re
from base64 import b64decode
from contextlib import suppress

from asgi_jwt.settings.text import check_utf8, is_quoted, trim

_BEGIN = "-----BEGIN "
_BLOCK = re.compile(r"(-----BEGIN [^-]+-----)([^-]*)(-----END [^-]+-----)")
_LEAST_BASE64 = 32
_DER = b"\x30"


def plain_keys(text: str) -> str:
    """The intended PEM or JSON: without quotation marks around it, decoded, and with the line breaks of PEM.

    Raises `ValueError`. The error shows nothing of the text.
    """
    check_utf8(text)
    read = _unquoted(trim(text))
    decoded = _from_base64(read)
    if decoded is not None:
        read = _unquoted(trim(decoded))
    if _BEGIN in read:
        return _BLOCK.sub(_with_line_breaks, read.replace("\\r", "").replace("\\n", "\n"))
    if read.startswith("{"):
        _check_json(read)
    if read.startswith("["):
        raise ValueError('is a list: write a JWK Set, {"keys": [...]}, or PEM blocks one after the other')
    return read


def _unquoted(text: str) -> str:
    if not is_quoted(text):
        return text
    with suppress(ValueError):
        return trim(str(json.loads(text, strict=False)))
    return trim(text[1:-1])


def _from_base64(text: str) -> str | None:
    """The PEM or JSON in base64 text, as it is in a Kubernetes Secret. None: `text` is not base64 of PEM or JSON.

    Raises `ValueError` for base64 of a key in another form.
    """
    bare = "".join(text.split())
    if len(bare) < _LEAST_BASE64:
        return None
    try:
        content = b64decode(bare, validate=True)
        if content.startswith(_DER):
            raise ValueError
        decoded = content.decode()
    except binascii.Error:
        return None
    except ValueError:
        raise ValueError(
            "is base64 of other bytes than PEM or JSON, as of a key in DER or PKCS#12: write the key as PEM, from "
            "its line -----BEGIN to its line -----END"
        ) from None
    return decoded if _BEGIN in decoded or decoded.lstrip().startswith("{") else None


def _with_line_breaks(block: re.Match[str]) -> str:
    """The PEM block with line breaks where it has blanks. Its base64 may be a single line of any length."""
    begin, content, end = block.groups()
    return "\n".join([begin, *content.split(), end, ""])


def _check_json(text: str) -> None:
    if re.match(r"\{\s*'", text):
        raise ValueError("is no JSON, for its names stand in single quotes: write double ones")
    if re.match(r'\{\s*\\"', text):
        raise ValueError("is no JSON, for its quotation marks have backslashes before them: write it without those")
