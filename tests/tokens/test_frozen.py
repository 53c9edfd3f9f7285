"""JSON values that can't be changed."""

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quart import Quart
from quart.json.provider import DefaultJSONProvider

from asgi_jwt.tokens.frozen import FrozenDict, freeze, thaw

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
documents = st.recursive(
    scalars, lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4)
)


def assert_frozen(value: Any) -> None:
    """Nothing in `value` can be changed."""
    assert type(value) in (FrozenDict, tuple, str, int, float, bool, type(None))
    for member in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ():
        assert_frozen(member)


@given(documents)
def test_freeze_and_thaw_are_each_others_inverse(document: Any) -> None:
    """A frozen document can't be changed, and thaws to an equal plain copy that shares nothing with it."""
    frozen = freeze(document)
    assert_frozen(frozen)
    assert thaw(frozen) == document


def test_freezing_too_deep_raises() -> None:
    """Nesting past `MAX_DEPTH` is a `ValueError`, also where a container holds itself."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="deep"):
        freeze(endless)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda frozen: pickle.loads(pickle.dumps(frozen))])  # noqa: S301
def test_copies_are_frozen_too(copied: Callable[[Any], Any]) -> None:
    """A copy, a deep copy and an unpickled object are equal to the first, and can't be changed."""
    frozen = freeze({"a": [{"b": 1}]})
    assert copied(frozen) == frozen
    assert_frozen(copied(frozen))


@pytest.mark.parametrize(
    "encode",
    [json.dumps, orjson.dumps, msgspec.json.encode, DefaultJSONProvider(Quart(__name__)).dumps],
    ids=["json", "orjson", "msgspec", "quart"],
)
def test_json_encoders_take_it(encode: Callable[[Any], str | bytes]) -> None:
    """The encoders of Starlette, Litestar and Quart write a frozen document like a plain one."""
    document: dict[str, Any] = {"a": [{"b": {"c": []}}], "d": {}}
    assert json.loads(encode(freeze(document))) == document
