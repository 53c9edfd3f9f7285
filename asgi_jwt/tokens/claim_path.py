"""Paths to claims: a dot leads into an object, and a name that contains dots is written in quotation marks."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_NAME = r"""(?:"[^"]+"|'[^']+'|[^"'.]+)"""
_PATH = re.compile(rf"{_NAME}(?:\.{_NAME})*")


@lru_cache(maxsize=128)
def split_path(path: str) -> tuple[str, ...]:
    """The names in `path`: `a."b.c".d` has `a`, `b.c` and `d`. A URL, or a text that is no path, is one name."""
    quoted = '"' in path or "'" in path
    if not _PATH.fullmatch(path) or ("://" in path and not quoted):
        return (path,)
    return tuple(name.strip("\"'") for name in re.findall(_NAME, path))


def find_claim(claims: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """The claim whose name is exactly `path`, else the claim at the path, else `default`."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in split_path(path):
        if not isinstance(value, Mapping) or name not in value:
            return default
        value = value[name]
    return value


def place_claim(payload: dict[str, Any], path: str, value: Any) -> None:
    """Set the claim at `path` of `payload`. Objects along the path are copied, because the caller may share them."""
    *parents, last = split_path(path)
    for parent in parents:
        inner = payload.get(parent)
        payload[parent] = dict(inner) if isinstance(inner, Mapping) else {}
        payload = payload[parent]
    payload[last] = value
