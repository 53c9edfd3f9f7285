"""The readers of settings.

A reader takes the text of a setting or the value itself. It raises `ValueError` with a sentence that says how the value
has to be; the sentence lacks its subject.
"""

import json
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from math import inf
from urllib.parse import urlsplit

from asgi_jwt.settings.text import has_loose_quote, unquote
from asgi_jwt.tokens.discovery import LOOPBACK
from asgi_jwt.tokens.issuer_pattern import is_tenant
from asgi_jwt.tokens.uri import normalized, without_query

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_FLAGS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?|[0-9a-f]*:[0-9a-f:.]*:[0-9a-f:.]*")
# Only a whole name may be in quotation marks. A bracket begins a JSON object or list, which is no name.
_QUOTED_OR_PLAIN = r"""(?:"[^"]+"|'[^']+'|[^"'`\[{.\s][^"'`.]*)"""
_CLAIM_NAME = re.compile(rf"{_QUOTED_OR_PLAIN}(?:\.{_QUOTED_OR_PLAIN})*")
_CLAIM = re.compile(r"""(?P<name>(?:"[^"]*"|'[^']*'|[^="'])*)(?P<equals>=?)(?P<value>.*)""", re.DOTALL)


def text(value: object) -> str:
    """A text without surrounding blanks. A quotation mark at only one end raises."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("has to be a text")
    read = value.strip()
    if has_loose_quote(read):
        raise ValueError("has a quotation mark at one end: write it without")
    return read


def quotable(value: object) -> str:
    """A text for a challenge's quoted-string, so without quotes and backslashes (RFC 6750 section 3)."""
    if isinstance(value, str) and not re.fullmatch(r"[ !#-\[\]-~]*", value.strip()):
        raise ValueError("may hold printable ASCII alone, without quotes and backslashes")
    return text(value)


def members(value: object) -> tuple[str, ...]:
    """The members of a list, without repetitions. A list is an iterable, or a text with commas or line breaks.

    A text may also be a list of JSON or YAML.
    """
    if isinstance(value, str):
        listed: list[object] = _split(unquote(value))
    elif isinstance(value, Iterable):
        listed = list(value)
    else:
        raise ValueError("has to be a list")
    read = [member for member in listed if isinstance(member, str)]
    if len(read) < len(listed):
        raise ValueError("has to be a list of texts")
    return tuple(dict.fromkeys(member for member in read if member.strip()))


def _split(text: str) -> list[object]:
    if text.startswith("[") and text.endswith("]"):
        try:
            return list(json.loads(text))
        except ValueError:
            text = text[1:-1]  # a list of YAML or Python
    return [unquote(member.strip().removeprefix("- ")) for member in re.split(r"[,\n]", text)]


def texts(value: object) -> tuple[str, ...]:
    """The texts in a list, by `members`."""
    return tuple(text(member) for member in members(value))


def audience(value: object) -> tuple[str, ...] | None:
    """A list of audiences. None: the value is `*`, which switches the check off."""
    named = texts(value)
    return None if named == ("*",) else named


def client_ids(value: object) -> tuple[str, ...]:
    """A list of client ids."""
    named = texts(value)
    if "*" in named:
        raise ValueError("has to hold client ids, and * is none: every logout token names the client that it is for")
    return named


def tenants(value: object) -> tuple[str, ...] | None:
    """A list of tenants. None: the value is `*`, which allows any."""
    named = texts(value)
    if named == ("*",):
        return None
    for name in named:
        if not is_tenant(name):
            raise ValueError(
                f"has to hold names of letters, digits, `.`, `_` and `-`, 100 at most, or * alone, and not {name!r}"
            )
    return named


def scopes(value: object) -> tuple[str, ...]:
    """A list of scopes, with commas or blanks between them (RFC 6749 section 3.3)."""
    listed = tuple(dict.fromkeys(" ".join(texts(value)).split()))
    if not all(re.fullmatch(r"[!#-\[\]-~]+", name) for name in listed):
        raise ValueError("has to be a list of scopes: printable ASCII without blanks, quotes and backslashes")
    return listed


def issuers(value: object) -> tuple[str, ...]:
    """A list of issuers."""
    named = texts(value)
    if any(len(name.split()) > 1 for name in named):
        raise ValueError("holds a blank: separate several issuers by commas")
    return named


def hosts(value: object) -> tuple[str, ...]:
    """A list of hosts, in lower case. An IPv6 address may stand in brackets, as in a URL."""
    named = tuple(name.lower().removeprefix("[").removesuffix("]") for name in texts(value))
    for name in named:
        if not _HOST.fullmatch(name):
            raise ValueError(f"may hold hosts, as jwks.auth.svc, without scheme and port, and not {name!r}")
    return named


def flag(value: object) -> bool:
    """A boolean, also as the text true, yes, on, 1 or false, no, off, 0."""
    read = value if isinstance(value, bool) else _FLAGS.get(str(value).strip().lower())
    if read is None:
        raise ValueError("has to be true or false")
    return read


def duration(*, least: float = 0, most: float | None = None) -> Callable[[object], float]:
    """A reader of durations in seconds, from `least` to `most`: a number, a `timedelta`, or text as `15m` or `7d`."""

    def read(value: object) -> float:
        seconds = _seconds(value)
        if seconds is None or not -inf < seconds < inf:
            raise ValueError("has to be a duration: seconds, or a number with s, m, h, d or w behind it, as 15m")
        if seconds < least or (most is not None and seconds > most):
            unit = "second" if least == 1 else "seconds"
            raise ValueError(f"has to be {least:g} {unit} at least" + (f" and {most:g} at most" if most else ""))
        return float(seconds)

    return read


def _seconds(value: object) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return None
    matched = re.fullmatch(r"(-?\d{1,12}(?:\.\d{1,6})?)\s*([smhdw]?)", value.strip(), re.ASCII)
    return float(matched[1]) * _UNITS[matched[2] or "s"] if matched else None


def count(*, least: int) -> Callable[[object], int]:
    """A reader of integers that are not below `least`."""

    def read(value: object) -> int:
        digits = value.strip() if isinstance(value, str) else value
        if isinstance(digits, str) and re.fullmatch(r"\d{1,12}", digits, re.ASCII):
            digits = int(digits)
        if not isinstance(digits, int) or isinstance(digits, bool) or digits < least:
            raise ValueError(f"has to be a whole number, {least} at least")
        return digits

    return read


def outage(value: object) -> str:
    """`closed` or `open`: how requests are answered while revocations are out of reach."""
    if value not in ("closed", "open"):
        raise ValueError("has to be closed, where tokens are then refused, or open, where they are let in")
    return str(value)


def dpop(value: object) -> str:
    """`on`, `required` or `off`: whether tokens may, have to, or can't be bound to a key. YAML makes booleans of it."""
    word = {"true": "on", "false": "off"}.get(str(value).strip().lower(), str(value).strip().lower())
    if word not in ("on", "required", "off"):
        raise ValueError("has to be on, required or off: whether tokens may, have to or can't be bound to a key")
    return word


def dpop_replay(value: object) -> str:
    """`process` or `store`: where it is remembered which proofs were shown."""
    if value not in ("process", "store"):
        raise ValueError("has to be process, or store, where all processes remember together")
    return str(value)


_BASE = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[0-9a-z_-]+(?:\.[0-9a-z_-]+)*)(?::[1-9][0-9]{0,4})?/")


def bases(value: object) -> tuple[str, ...]:
    """A list of URLs to which the path of a request is joined, in their normal form, without a slash at their end."""
    found = []
    for base in texts(value):
        normal = normalized(base)
        # `port` raises `ValueError` past 65535.
        if normal is None or not _BASE.match(normal) or urlsplit(normal).port == 0 or without_query(base) != base:
            raise ValueError(f"has to hold URLs without a query, as https://host or https://host/api, and not {base!r}")
        found.append(normal.removesuffix("/"))
    return tuple(dict.fromkeys(found))


def cookie_name(value: object) -> str:
    """A cookie's name (RFC 6265 section 4.1.1)."""
    name = text(value)
    if not _TOKEN.fullmatch(name):
        raise ValueError("has to be the name of a cookie, as __Secure-refresh_token")
    return name


def cookie_path(value: object) -> str:
    """A path for a cookie's attribute: percent-encoded, without `;` and control characters."""
    path = text(value)
    if not path.startswith("/") or not all("!" <= character <= "~" and character != ";" for character in path):
        raise ValueError("has to be a percent-encoded path that begins with /")
    return path


def same_site(value: object) -> str:
    """`lax` or `strict`: which requests from other sites have the cookie (RFC 6265bis section 5.6.7)."""
    named = text(value).lower()
    if named not in ("lax", "strict"):
        raise ValueError("has to be lax, where who follows a link from another site is logged in, or strict")
    return named


def claim_name(value: object) -> str:
    """The name of a claim, or the path to a claim (see `claim_path`)."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("has to be a text")
    name = value.strip()
    if not _CLAIM_NAME.fullmatch(name):
        raise ValueError('has to be the name of a claim, with dots into objects, as realm_access.roles or a."b.c".d')
    return name


def claim(value: object) -> tuple[str, str | None]:
    """The name and the value of `name=value`. The value of `name` alone is None. The name is read by `claim_name`."""
    parts = _CLAIM.fullmatch(value.strip()) if isinstance(value, str) else None
    if parts is None or not parts["name"].strip() or (parts["equals"] and not parts["value"].strip()):
        raise ValueError("has to be the name of a claim, or name=value")
    return claim_name(parts["name"]), text(unquote(parts["value"])) if parts["equals"] else None


def claims(value: object) -> tuple[tuple[str, str | None], ...]:
    """A list of claims, each read by `claim`."""
    return tuple(claim(member) for member in members(value))


def type_claim(value: object) -> tuple[str, str] | None:
    """The name and the value of `name=value`. None: the value is `*`, which switches the check off."""
    if value == "*":
        return None
    name, expected = claim(value)
    if expected is None:
        raise ValueError("has to be name=value, as type=access, or * for none")
    return name, expected


def token_sources(value: object) -> tuple[str, ...]:
    """A list of sources of tokens: `header`, `header:<Name>`, `subprotocol` and `cookie:<name>`."""
    sources = texts(value)
    for source in sources:
        kind, colon, name = source.partition(":")
        named = kind in ("header", "cookie") and colon and _TOKEN.fullmatch(name)
        if not named and source not in ("header", "subprotocol"):
            known = "header, header:<Name>, subprotocol and cookie:<name>"
            raise ValueError(f"may hold {known}, and {source!r} is none of them")
        if kind == "header" and name.lower() == "authorization":
            raise ValueError(f"may not hold {source!r}: header is the source that reads Authorization")
    if not sources:
        raise ValueError("has to name one source at least")
    return sources


def public_path(value: object) -> str:
    """A public path: an exact path, as `/health`, or all paths below one, as `/auth/*`."""
    path = text(value)
    plain = path.removesuffix("/*")
    if not path.startswith("/") or re.search(r"[*?]|\s/", plain) or "//" in path:
        raise ValueError(f"may hold paths as /health, and as /auth/* for all below /auth, and not {path!r}")
    return path


def public_paths(value: object) -> tuple[str, ...]:
    """A list of public paths, each read by `public_path`."""
    return tuple(public_path(path) for path in texts(value))


def root_path(value: object) -> str:
    """A decoded path, as in an ASGI scope. A slash at its end is removed."""
    path = text(value)
    if not path.startswith("/") or any(sign in path for sign in ("*", "?", "#", "//")):
        raise ValueError(f"has to be a path, as /api, and not {path!r}")
    return path.removesuffix("/")


def resource(value: object) -> str:
    """An https URL without query and fragment. http is allowed on this machine (RFC 9728 section 1.2)."""
    url = quotable(value)
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and not parts.query and "#" not in url and "@" not in parts.netloc
        local = parts.scheme == "http" and parts.hostname in LOOPBACK
        if whole and parts.port != 0 and " " not in url and (parts.scheme == "https" or local):
            return url
    except ValueError:
        pass  # a broken port or IPv6 address
    raise ValueError("has to be an https URL without query and fragment, as https://host/mcp")
