"""A session reads back from its JSON as it was."""

import json
from types import MappingProxyType

import pytest

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.encoding import decode, encode
from asgi_jwt.stores.records import Client, Session

FULL = Session(
    sid="s1",
    subject="alice",
    client_id="web",
    generation=2**70,
    rotated_branch="b1",
    window_at=7,
    seen=True,
    created_at=1,
    used_at=2,
    expires_at=3,
    ends_at=4,
    ended_at=5,
    version=6,
    claims=MappingProxyType({"a": {"b": [1, None, "\ud800é"]}}),
    scopes=("read",),
    roles=("admin",),
    client=Client("browser", "192.0.2.1"),
)
BARE = Session(sid="s1", subject="alice", created_at=1, used_at=2, expires_at=3, ends_at=4)


@pytest.mark.parametrize("session", [FULL, BARE], ids=["full", "bare"])
def test_round_trip(session: Session) -> None:
    """Every field comes back equal and of its type, the claims read-only; the text is ASCII."""
    text = encode(session)
    back = decode(session.key, text)

    assert text.isascii()
    assert back == session
    assert {type(back.scopes), type(back.roles), type(back.claims)} == {tuple, MappingProxyType}


def test_frozen_claims() -> None:
    """Claims that were frozen all the way down are kept as the JSON they are."""
    session = Session(
        sid="s1",
        subject="alice",
        created_at=1,
        used_at=2,
        expires_at=3,
        ends_at=4,
        claims=MappingProxyType({"address": MappingProxyType({"lines": ("a", "b")})}),
    )
    assert decode(session.key, encode(session)).claims == {"address": {"lines": ["a", "b"]}}


def test_key_is_not_repeated() -> None:
    """The subject, which may be long, stands in the store's key alone."""
    assert "alice" not in encode(BARE)


def test_claims_that_are_no_json() -> None:
    """What JSON has no form for is refused by its type, without its value."""
    session = Session(sid="s", subject="a", created_at=1, used_at=2, expires_at=3, ends_at=4, claims={"x": b"secret"})
    with pytest.raises(TypeError, match=r"^a session can't keep a bytes$"):
        encode(session)


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "null", "{}", json.dumps({**json.loads(encode(BARE)), "later": 1})],
)
def test_damaged_record(damage: str) -> None:
    """A record that is no session, or one of another version, is StoreUnavailable, never half a session."""
    with pytest.raises(StoreUnavailable, match="a session's record can't be read"):
        decode(BARE.key, damage)
