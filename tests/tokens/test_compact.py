"""The compact form, parsed strictly."""

import base64
import json
import string
from binascii import Error
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_jwt.errors import MalformedToken
from asgi_jwt.tokens.compact import (
    MAX_DEPTH,
    MAX_PARTS,
    decode_base64url,
    encode_base64url,
    parse_claims,
    parse_document,
    parse_object,
    split,
)
from asgi_jwt.tokens.frozen import freeze, thaw

URLSAFE = string.ascii_letters + string.digits + "-_"

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
documents = st.recursive(
    scalars, lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4)
)
objects = st.dictionaries(st.text(), documents, max_size=6)


def reference_decode(segment: bytes) -> bytes | None:
    """What `segment` stands for if it is the one canonical spelling of it, by way of the standard library."""
    try:
        content = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except Error:
        return None
    return content if base64.urlsafe_b64encode(content).rstrip(b"=") == segment else None


@given(st.binary(max_size=200))
def test_base64url_round_trip(content: bytes) -> None:
    """Whatever is encoded decodes to itself, and is spelled as the standard library spells it."""
    assert decode_base64url(encode_base64url(content)) == content
    assert encode_base64url(content) == base64.urlsafe_b64encode(content).rstrip(b"=")


SPELLINGS = [b"A", b"AA==", b"AAA=", b"AAAA====", b"=", b"AA+A", b"AA/A", b"AA A", b"\xffAAA"]
LAST = [f"{'A' * before}{last}".encode() for before in (1, 2) for last in URLSAFE]


def takes(segment: bytes) -> bool:
    try:
        return decode_base64url(segment) == reference_decode(segment)
    except MalformedToken:
        return False


@given(st.text(URLSAFE, max_size=12).map(str.encode) | st.text(URLSAFE + "+/= \n.\0é", max_size=6).map(str.encode))
def test_base64url_takes_canonical_spellings_alone(segment: bytes) -> None:
    """A segment decodes exactly when it is the canonical spelling of something, and to that.

    Padding, the standard alphabet, white space, bytes past ASCII, impossible lengths and unused bits are refused.
    """
    for each in (segment, *SPELLINGS, *LAST):
        assert takes(each) is (reference_decode(each) is not None)
    assert (sum(map(takes, SPELLINGS)), sum(map(takes, LAST))) == (0, 4 + 16)


def test_split_gives_the_signing_input() -> None:
    """A token falls into its three segments, and what was signed is the first two with their dot.

    Only three segments are a JWS: an encrypted token has five.
    """
    assert split(b"aa.bbb.c") == (b"aa", b"bbb", b"c", b"aa.bbb")
    for token in (b"", b"a", b"a.b", b"a.b.c.d", b"a.b.c.d.e"):
        with pytest.raises(MalformedToken):
            split(token)


def assert_frozen(value: Any) -> None:
    """`value` holds nothing that can be changed."""
    if isinstance(value, Mapping):
        assert type(value) is MappingProxyType
        for member in value.values():
            assert_frozen(member)
    elif isinstance(value, tuple):
        for member in value:
            assert_frozen(member)
    else:
        assert type(value) in (str, int, float, bool, type(None))


@given(objects, st.sampled_from(["", " ", "\r\n\t "]), st.booleans())
def test_objects_parse_as_the_standard_library_parses_them(document: dict[str, Any], space: str, escape: bool) -> None:
    """An object without repeated names reads as `json.loads` reads it, plain, or frozen all the way down."""
    content = (space + json.dumps(document, ensure_ascii=escape) + space).encode()
    expected = json.loads(content)
    assert parse_object(content) == expected
    frozen = parse_claims(content)
    assert thaw(frozen) == expected
    assert_frozen(frozen)


@given(st.binary(max_size=60) | st.text(string.printable, max_size=60).map(str.encode))
def test_parsing_raises_nothing_else(content: bytes) -> None:
    """Whatever the bytes are, they are an object or a `MalformedToken`."""
    for parse in (parse_object, parse_document, parse_claims):
        try:
            parsed = parse(content)
        except MalformedToken:
            continue
        assert thaw(parsed) == json.loads(content)


@pytest.mark.parametrize("parse", [parse_object, parse_claims])
@pytest.mark.parametrize(("opening", "closing"), [(b'{"a":', b"}"), (b"[", b"]"), (b'[{"a":', b"}]")])
def test_nesting_ends_at_the_same_depth_whatever_nests(parse: Any, opening: bytes, closing: bytes) -> None:
    """`MAX_DEPTH` levels parse, one more is refused, and what parses can be thawed and frozen again."""
    levels = (MAX_DEPTH - 1) // (opening.count(b"[") + opening.count(b"{"))

    def nested(levels: int) -> bytes:
        return b'{"a":' + opening * levels + b"1" + closing * levels + b"}"

    parsed = parse(nested(levels))
    assert freeze(thaw(parsed)) == freeze(parsed)
    with pytest.raises(MalformedToken):
        parse(nested(levels + 1))


@given(objects)
def test_documents_parse_as_objects_do(document: dict[str, Any]) -> None:
    """An issuer's document reads like any other object, but that all of its numbers are `float`."""
    content = json.dumps(document).encode()
    assert parse_document(content) == json.loads(content, parse_int=float)


@pytest.mark.parametrize("part", [b"{}", b"[]", b"1", b'{"":""}', b'""'])
def test_documents_of_many_parts_are_refused(part: bytes) -> None:
    """Of tens of thousands of members nothing is parsed, whatever they are; an issuer has a few thousand at most."""
    for parts, taken in ((MAX_PARTS // 3, True), (MAX_PARTS, False)):
        content = b'{"keys":[' + b",".join([part] * parts) + b"]}"
        if taken:
            assert len(parse_document(content)["keys"]) == parts
        else:
            with pytest.raises(MalformedToken):
                parse_document(content)


def test_long_numbers_in_documents() -> None:
    """A number of any length is read in the time that its length takes, as `float` or as infinite."""
    assert parse_document(b'{"a": ' + b"1" * 4000 + b', "b": 1}') == {"a": float("inf"), "b": 1.0}


def test_wide_objects_are_no_deep_ones() -> None:
    """Many brackets next to each other are let in, for only their depth counts."""
    content = b'{"a": [' + b"[]," * 500 + b"{}]}"
    assert len(parse_claims(content)["a"]) == 501


def test_nested_objects_are_frozen_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies deep is walked once, not once for every level above: else 6 KB of header would cost 40 ms."""
    walked = 0

    def counting(members: list[Any]) -> tuple[Any, ...]:
        nonlocal walked
        walked += 1
        return tuple(members)

    monkeypatch.setattr("asgi_jwt.tokens.compact._frozen_list", counting)
    parse_claims(b'{"a":' * 60 + b"[1, 2]" + b"}" * 60)
    assert walked == 1


def test_names_are_shared_by_the_claims_of_all_tokens() -> None:
    """The names in payloads are interned: thousands of cached tokens hold one copy of each."""
    first, second = (parse_claims(b'{"https://claims.example/tenant": 1}') for _ in range(2))
    assert next(iter(first)) is next(iter(second))


def test_names_of_strangers_are_not_kept() -> None:
    """The names in a header are not interned, for anyone can send one, and some Pythons keep such names for ever."""
    first, second = (parse_object(b'{"https://claims.example/stranger": 1}') for _ in range(2))
    assert next(iter(first)) is not next(iter(second))
