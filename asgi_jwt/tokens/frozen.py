"""Read-only copies of JSON values."""

from collections.abc import Mapping
from typing import Any, NoReturn

from asgi_jwt.tokens.compact import MAX_DEPTH


class FrozenDict(dict[str, Any]):
    """A read-only JSON object. It is a `dict`, because JSON encoders accept no other mapping."""

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("the object is read-only: dict(object) is a copy to change")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return type(self), (dict(self),)


def freeze(value: Any, levels: int = MAX_DEPTH) -> Any:
    """A copy of `value` in which lists are tuples and objects are `FrozenDict`s, at every depth.

    Raises `ValueError` for nesting deeper than `MAX_DEPTH`.
    """
    if not isinstance(value, (list, tuple, Mapping)):
        return value
    if not levels:
        raise ValueError(f"nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        return FrozenDict({name: freeze(member, levels - 1) for name, member in value.items()})
    return tuple([freeze(member, levels - 1) for member in value])


def thaw(value: Any) -> Any:
    """A copy of a frozen value, of plain dicts and lists."""
    if isinstance(value, Mapping):
        return {name: thaw(member) for name, member in value.items()}
    if isinstance(value, tuple):
        return [thaw(member) for member in value]
    return value
