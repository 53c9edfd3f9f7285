"""Sessions and revocations pack into few bytes and come out as they went in."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.packed import FORMAT, pack, pack_revocation, unpack, unpack_revocations
from asgi_jwt.stores.records import Client, Revocation, Session, SessionKey

KEY = SessionKey("alice", "s1")
PLAIN = Session(
    sid="s1", subject="alice", created_at=Millis(1), used_at=Millis(2), expires_at=Millis(3), ends_at=Millis(4)
)

text = st.text(st.characters(codec=None), max_size=10)
times = st.integers(0, 2**53)
claims: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | times | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
NAMED = ("ending_at", "jkt", "acr", "amr", "remember")
sessions = st.builds(
    Session,
    sid=st.just("s1"),
    subject=st.just("alice"),
    client_id=st.none() | text,
    generation=times,
    rotated_branch=st.none() | text,
    window_at=st.none() | times,
    seen=st.booleans(),
    created_at=times,
    used_at=times,
    expires_at=times,
    ends_at=times,
    ended_at=st.none() | times,
    version=times,
    claims=st.dictionaries(text, claims, max_size=3),
    scopes=st.lists(text, max_size=3).map(tuple),
    roles=st.lists(text, max_size=3).map(tuple),
    client=st.builds(Client, st.none() | text, st.none() | text),
    ending_at=st.none() | times,
    jkt=st.none() | text,
    acr=st.none() | text,
    amr=st.lists(text, max_size=3).map(tuple),
    remember=st.sampled_from([None, False]),
    others=st.dictionaries(text.filter(lambda name: name not in NAMED), claims, max_size=3),
)


@given(sessions)
def test_session_comes_out_as_it_went_in(session: Session) -> None:
    """Every field survives, whatever it holds: lone surrogates, NUL, nested claims."""
    back = unpack(KEY, pack(session))
    assert back == session
    assert [type(kept) for kept in (back.scopes, back.roles, back.claims)] == [tuple, tuple, MappingProxyType]


def test_key_is_not_repeated() -> None:
    """The subject, which may be long, stands in the store's key alone."""
    assert b"alice" not in pack(PLAIN)


def test_every_field_is_told() -> None:
    """A record has a place for each field of a session but the two that its key tells, and for its format; a mark, a
    login and members of other releases have names."""
    named = {"ending_at": Millis(7), "jkt": "k", "acr": "phr", "amr": ("pwd",), "remember": False}
    members = 1 + (len(fields(Session)) - len(KEY) - len(named) - 1) + (len(fields(Client)) - 1)
    assert len(json.loads(pack(PLAIN))) == members
    assert json.loads(pack(PLAIN.changed(**named, others={"later": "k"})))[members:] == [
        {"later": "k", "ending_at": 7, "jkt": "k", "acr": "phr", "amr": ["pwd"], "remember": False}
    ]


def test_frozen_claims_are_told() -> None:
    """Claims may be read-only mappings and tuples, as deep as they like."""
    frozen = MappingProxyType({"realm": MappingProxyType({"roles": ("a", "b")})})
    assert unpack(KEY, pack(replace(PLAIN, claims=frozen))).claims == {"realm": {"roles": ["a", "b"]}}


@pytest.mark.parametrize("claims", [{"a": {1}}, {"a": object()}, {"a": float("nan")}, {"a": float("inf")}])
def test_claims_that_are_no_json_are_refused(claims: Mapping[str, Any]) -> None:
    """A claim that JSON can't express raises before anything is written."""
    with pytest.raises((TypeError, ValueError), match="JSON"):
        pack(replace(PLAIN, claims=claims))


@pytest.mark.parametrize(
    "record",
    [
        pack(PLAIN).replace(b"[1,", b"[%d," % (FORMAT + 1), 1),
        b'{"sid": "s1"}',
        b"[]",
        b"[1]",
        b"[1,2,3]",
        b"7",
        b"\xff",
        b"",
        pack(PLAIN)[:-1] + b",null]",
        pack(PLAIN).replace(b"{}", b"7"),
    ],
)
def test_other_formats_are_not_guessed_at(record: bytes) -> None:
    """A record of a later release, or of nobody's, is unavailable rather than garbage."""
    with pytest.raises(StoreUnavailable, match="record"):
        unpack(KEY, record)


revocations = st.builds(
    Revocation,
    st.sampled_from(["sid", "jti", "sub"]),
    text,
    text,
    until=times,
    time=times,
    spares_sessions=st.booleans(),
)


@given(st.lists(revocations, max_size=3))
def test_revocations_come_out_as_they_went_in(entries: list[Revocation]) -> None:
    """Every field survives, whatever it holds, in lines of ASCII."""
    records = [pack_revocation(entry) for entry in entries]
    assert unpack_revocations(records) == entries
    assert all(record.isascii() and b"\n" not in record for record in records)


@pytest.mark.parametrize("record", [b"[2,1,2,3,4,5,6]", b"[1]", b"[]", b"1", b"{}", b"nonsense", b"[1,1,2,3,4,5,6,7]"])
def test_revocation_of_another_format(record: bytes) -> None:
    """A record that this release did not write makes the whole page unavailable."""
    good = pack_revocation(Revocation("sid", "issuer", "s1", Millis(1)))
    with pytest.raises(StoreUnavailable):
        unpack_revocations([good, record])
