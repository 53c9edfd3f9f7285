"""JSON values that can't be changed."""

from collections.abc import Mapping
from typing import Any, NoReturn

from asgi_jwt.tokens.compact import MAX_DEPTH


class FrozenDict(dict[str, Any]):
    """A JSON object that can't be changed. It is a `dict`, because JSON encoders take no other mapping."""

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("the object is read-only: dict(object) is a copy to change")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return type(self), (dict(self),)


def freeze(value: Any, levels: int = MAX_DEPTH) -> Any:
    """A copy of `value`: lists become tuples and objects become `FrozenDict`s, at every depth.

    Raises `ValueError` for nesting past `MAX_DEPTH`.
    """
    if not isinstance(value, (list, tuple, Mapping)):
        return value
    if not levels:
        raise ValueError(f"nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        return FrozenDict({name: freeze(member, levels - 1) for name, member in value.items()})
    return tuple([freeze(member, levels - 1) for member in value])


def thaw(value: Any) -> Any:
    """A plain copy of a frozen value: dicts and lists."""
    if isinstance(value, Mapping):
        return {name: thaw(member) for name, member in value.items()}
    if isinstance(value, tuple):
        return [thaw(member) for member in value]
    return value
