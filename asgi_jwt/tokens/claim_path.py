"""Paths to claims: dots lead into objects, and a name with dots stands in quotation marks."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_NAME = r"""(?:"[^"]+"|'[^']+'|[^"'.]+)"""
_PATH = re.compile(rf"{_NAME}(?:\.{_NAME})*")


@lru_cache(maxsize=128)
def split_path(path: str) -> tuple[str, ...]:
    """The names along `path`: `a."b.c".d` has `a`, `b.c` and `d`. A URL is one name, and so is text that is no path."""
    quoted = '"' in path or "'" in path
    if not _PATH.fullmatch(path) or ("://" in path and not quoted):
        return (path,)
    return tuple(name.strip("\"'") for name in re.findall(_NAME, path))


def find_claim(claims: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """The claim of the very name `path`, or else the one that the path leads to; `default` where there is none."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in split_path(path):
        if not isinstance(value, Mapping) or name not in value:
            return default
        value = value[name]
    return value


def place_claim(payload: dict[str, Any], path: str, value: Any) -> None:
    """Puts `value` where `path` leads, into copies of the objects on the way: no other holder of those sees it."""
    *parents, last = split_path(path)
    for parent in parents:
        inner = payload.get(parent)
        payload[parent] = dict(inner) if isinstance(inner, Mapping) else {}
        payload = payload[parent]
    payload[last] = value
