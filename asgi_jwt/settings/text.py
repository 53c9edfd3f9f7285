"""Removes what env files and YAML add to a text: quotation marks, comments and unreplaced variables.

Docker's `--env-file` keeps quotation marks and comments, and python-dotenv, systemd and shells remove them. A setting
has the same value with all of them. A secret is never changed, because other programs that read the same variable would
have another secret. So an addition to a secret raises.
"""

import json
import re
import string
from contextlib import suppress

_BLANKS = string.whitespace + "\x85\xa0\u200b\ufeff"
_QUOTES = {"'": "'", '"': '"', "`": "`", "\u2018": "\u2019", "\u201c": "\u201d"}
_COMMENT = re.compile(r"\s#")
_UNREPLACED = re.compile(r"\$\{[A-Za-z_]\w*(:?[-+?=][^}]*)?\}|\$\([A-Za-z_]\w*\)|\A\$[A-Z_][A-Z0-9_]*\Z", re.ASCII)
_ESCAPED_BREAK = ("\\n", "\\r")


def trim(text: str) -> str:
    """`text` without surrounding blanks, line breaks and byte order marks."""
    return text.strip(_BLANKS)


def unquote(text: str) -> str:
    """`text` without surrounding blanks, and then without one surrounding pair of quotation marks."""
    trimmed = trim(text)
    if not is_quoted(trimmed):
        return trimmed
    inner = trimmed[1:-1]
    if trimmed[0] not in inner:
        return trim(inner)
    with suppress(ValueError):
        # Inner quotation marks are escaped by backslashes: `"[\"a\", \"b\"]"`.
        return trim(str(json.loads(trimmed)))
    return trimmed


def is_quoted(text: str) -> bool:
    """Whether `text` begins and ends with quotation marks of one kind."""
    return len(text) > 1 and _QUOTES.get(text[0]) == text[-1]


def has_loose_quote(text: str) -> bool:
    """Whether `text` begins or ends with a quotation mark."""
    return text[:1] in _QUOTES or text[-1:] in _QUOTES.values()


def clean(text: str) -> str:
    """The intended text: trimmed and unquoted. Raises `ValueError` for an addition that can't be removed safely."""
    plain = unquote(text)
    check_utf8(plain)
    _check_replaced(plain)
    if plain == trim(text):
        _check_comment(plain)
    hidden = next((each for each in plain if not each.isprintable() and each not in "\r\n\t"), None)
    if hidden is not None:
        raise ValueError(f"holds the invisible character U+{ord(hidden):04X}: type the value instead of pasting it")
    return plain


def check_secret(text: str) -> str:
    """The secret `text` itself. Raises `ValueError` if an env file, YAML or `echo` seems to have added to it."""
    check_utf8(text)
    if text != trim(text) or text.endswith(_ESCAPED_BREAK):
        raise ValueError("begins or ends with a blank or a line break, as echo adds one: write it with printf '%s'")
    if is_quoted(text):
        raise ValueError("stands in quotation marks, which some readers of env files keep: write it without them")
    if text.startswith("- "):
        raise ValueError("begins with a dash and a blank, as a list of YAML: write the secret alone")
    _check_replaced(text)
    _check_comment(text)
    return text


def check_utf8(text: str) -> None:
    """Raises `ValueError` for a text that was decoded from bytes that are no UTF-8 (PEP 383)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # Python's own message would show a character of the text.
        raise ValueError("is no UTF-8 text: write it in UTF-8, random bytes in base64") from None


def _check_replaced(text: str) -> None:
    if _UNREPLACED.search(text):
        raise ValueError("holds a variable that nothing replaced, as ${NAME}: write its value")


def _check_comment(text: str) -> None:
    if _COMMENT.search(text):
        raise ValueError("holds a comment, ` #`, which some readers of env files keep: give it a line of its own")
