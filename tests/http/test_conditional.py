"""Which answers need not be sent again."""

import pytest
from starlette.requests import Request

from asgi_jwt.http.conditional import client_has, entity_tag

TAG = entity_tag(b"body")


def asking(*lines: str) -> Request:
    return Request({"type": "http", "headers": [(b"if-none-match", line.encode()) for line in lines]})


def test_tags() -> None:
    """A tag is quoted, the same for the same body, and another for another."""
    assert TAG == entity_tag(b"body") != entity_tag(b"")
    assert TAG[0] == TAG[-1] == '"'


@pytest.mark.parametrize(
    "lines", [(TAG,), (f"W/{TAG}",), (f'"a" , {TAG}',), ('"a"', TAG), ("*",), (f"{',' * 900}{TAG}",)]
)
def test_who_has_it(lines: tuple[str, ...]) -> None:
    """The tag is known, weak or strong, in a list, in a second header; whoever has any answer says `*`."""
    assert client_has(asking(*lines), TAG)


@pytest.mark.parametrize("lines", [(), ("",), ('"a"',), (TAG.strip('"'),), (f"W/W/{TAG}",), ("," * 10_000,)])
def test_who_does_not(lines: tuple[str, ...]) -> None:
    """Another tag, one that is not quoted, and nothing at all don't spare the answer."""
    assert not client_has(asking(*lines), TAG)


@pytest.mark.parametrize("lines", [("," * 65_000 + TAG,), (TAG, '"a"' * 400), (TAG,) * 40])
def test_a_list_that_is_too_long(lines: tuple[str, ...]) -> None:
    """A list of more than 1,024 characters costs no search, in one header or in several: the answer is sent whole."""
    assert not client_has(asking(*lines), TAG)
