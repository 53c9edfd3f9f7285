"""A release and the one before share a store while servers are upgraded one by one.

The records are those of commit 1254be8, byte for byte: it reads what it writes.
"""

import json
from dataclasses import replace
from types import MappingProxyType

import pytest

from asgi_jwt.sessions.mirror import Mirror
from asgi_jwt.sessions.rotation import Presented, RotationPolicy, decide, end_session, open_session
from asgi_jwt.stores import packed
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Client, Revocation, Session, SessionKey

KEY = SessionKey("alice", "s1")
NOW = Millis(1_800_000_000_000)
MINUTE = Millis(60_000)
HOUR = 60 * MINUTE
DAY = 24 * HOUR
POLICY = RotationPolicy(grace=Millis(30_000), recovery=DAY, refresh_ttl=7 * DAY)
ISSUER = "https://issuer.example"

OPENED = open_session(*KEY, now=NOW - HOUR, refresh_ttl=7 * DAY, session_ttl=30 * DAY)
LIVE = replace(
    OPENED,
    version=3,
    client_id="web",
    generation=2,
    rotated_branch="0011223344556677",
    window_at=NOW,
    seen=True,
    used_at=NOW,
    expires_at=NOW + 7 * DAY,
    claims=MappingProxyType({"email": "é@example.com", "nested": {"list": [1, 2.5, None, True]}}),
    scopes=("read", "write"),
    roles=("admin",),
    client=Client("Mozilla/5.0", "192.0.2.1"),
)
RECORDS = {
    "live": (
        LIVE,
        (
            '[1,3,"web",2,"0011223344556677",1800000000000,1,1799996400000,1800000000000,1800604800000,1802588400000,null,'
            '{"email":"é@example.com","nested":{"list":[1,2.5,null,true]}},["read","write"],["admin"],"Mozilla/5.0",'
            '"192.0.2.1"]'
        ),
    ),
    "healed": (
        replace(OPENED, version=2, generation=7, rotated_branch="*", window_at=NOW, seen=True),
        '[1,2,null,7,"*",1800000000000,1,1799996400000,1799996400000,1800601200000,1802588400000,null,{},[],[],null,null]',
    ),
    "tombstone": (
        end_session(replace(OPENED, version=4).marked(NOW), NOW),
        "[1,4,null,0,null,null,0,1799996400000,1799996400000,1800601200000,1802588400000,1800000000000,{},[],[],null,null]",
    ),
}
ENTRIES = {
    b'[1,"sid","https://issuer.example","s1",1800003965000,0,false]': Revocation("sid", ISSUER, "s1", NOW + 3_965_000),
    b'[1,"sub","https://issuer.example","alice",1800003965000,1800000000000,true]': Revocation(
        "sub", ISSUER, "alice", NOW + 3_965_000, NOW, True
    ),
    b'[1,"jti","https://issuer.example","j1",1800001200000,0,false]': Revocation("jti", ISSUER, "j1", NOW + 1_200_000),
}


@pytest.mark.parametrize(("session", "record"), RECORDS.values(), ids=RECORDS.keys())
def test_both_releases_write_one_record(session: Session, record: str) -> None:
    """A session that is live, that caught up, or that ended, is the same record in both releases, and reads as it was
    meant."""
    assert packed.pack(session) == record.encode()
    assert packed.unpack(KEY, record.encode()) == session


@pytest.mark.parametrize("presented", [Presented(2, "b2"), Presented(1, "0011223344556677"), Presented(9, "b9")])
@pytest.mark.parametrize("elapsed", [0, HOUR])
def test_both_refresh_one_session(presented: Presented, elapsed: int) -> None:
    """Whatever a refresh makes of a session has the format that the release before reads, and its members."""
    kept = decide(LIVE, presented, branch="b", now=NOW + elapsed, policy=POLICY).session
    assert kept is not None
    number, *members = json.loads(packed.pack(kept))
    assert (number, len(members)) == (1, 16)


@pytest.mark.parametrize(
    "changed", [{"ending_at": NOW}, {"others": {"of a later release": "x"}}, {"acr": "phr"}, {"amr": ("pwd",)}]
)
def test_release_before_leaves_alone_what_it_can_not_read(changed: dict[str, object]) -> None:
    """A mark, and members that only a later release knows, have a format which the release before refuses: no session
    is refreshed past its end, and no member gets lost."""
    assert json.loads(packed.pack(LIVE.changed(**changed)))[0] == 2


def test_members_of_the_release_after_are_kept() -> None:
    """Members that this release doesn't know go through its rotations and its tombstones unchanged."""
    others = {"of a later release": "x", "list": ["y"]}
    session = packed.unpack(KEY, packed.pack(replace(OPENED, others=others)))
    rotated = decide(session, Presented(0, "b0"), branch="b1", now=NOW + MINUTE, policy=POLICY).session
    assert rotated is not None
    for kept in (rotated, rotated.marked(NOW), end_session(rotated.marked(NOW), NOW)):
        assert packed.unpack(KEY, packed.pack(kept)).others == others


def test_both_releases_write_one_entry() -> None:
    """Entries are the same records in both releases; those without a time are mirrored until they lapse by the
    reader's clock, a subject's for its life."""
    assert [packed.pack_revocation(entry) for entry in ENTRIES.values()] == list(ENTRIES)
    assert packed.unpack_revocations([*ENTRIES]) == list(ENTRIES.values())
    mirror = Mirror()
    mirror.add(ENTRIES.values(), Millis(0), NOW)
    assert (mirror.has_session(ISSUER, "s1"), mirror.has_token(ISSUER, "j1")) == (True, True)
    assert mirror.has_subject(ISSUER, "alice", NOW // 1000)
    mirror.lapse(3_965_000 + MINUTE)
    assert len(mirror) == 0
