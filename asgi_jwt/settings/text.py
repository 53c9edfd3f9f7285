"""Text as an environment holds it, and the additions of env files and YAML: quotation marks, comments, variables.

Docker's `--env-file` keeps quotation marks and comments, where python-dotenv, systemd and shells take them off. A
setting means the same with all of them. A secret is never changed: two programs that read one variable would have two
secrets, so an addition to a secret is refused.
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
    """`text` without blanks, line breaks and a byte order mark around it."""
    return text.strip(_BLANKS)


def unquote(text: str) -> str:
    """`text` without blanks around it, and without one pair of quotation marks around that."""
    trimmed = trim(text)
    if not is_quoted(trimmed):
        return trimmed
    inner = trimmed[1:-1]
    if trimmed[0] not in inner:
        return trim(inner)
    with suppress(ValueError):
        # Quotation marks inside have backslashes before them: `"[\"a\", \"b\"]"`.
        return trim(str(json.loads(trimmed)))
    return trimmed


def is_quoted(text: str) -> bool:
    """Whether quotation marks of one kind begin and end `text`."""
    return len(text) > 1 and _QUOTES.get(text[0]) == text[-1]


def has_loose_quote(text: str) -> bool:
    """Whether a quotation mark begins or ends `text`."""
    return text[:1] in _QUOTES or text[-1:] in _QUOTES.values()


def clean(text: str) -> str:
    """`text` as it was meant: trimmed and unquoted. Raises `ValueError` for additions that can't be taken off."""
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
    """`text`, a secret. Raises `ValueError` where a part of it seems to be an env file's, YAML's or `echo`'s."""
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
    """Raises `ValueError` for text from bytes that were no UTF-8 (PEP 383)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # Python's own message shows a character of the text.
        raise ValueError("is no UTF-8 text: write it in UTF-8, random bytes in base64") from None


def _check_replaced(text: str) -> None:
    if _UNREPLACED.search(text):
        raise ValueError("holds a variable that nothing replaced, as ${NAME}: write its value")


def _check_comment(text: str) -> None:
    if _COMMENT.search(text):
        raise ValueError("holds a comment, ` #`, which some readers of env files keep: give it a line of its own")
