"""A release and the one before share a store while servers are upgraded one by one."""

from dataclasses import replace

import pytest
from support import release_before

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.sessions.mirror import Mirror
from asgi_jwt.sessions.rotation import Presented, RotationPolicy, Verdict, decide, end_session, open_session
from asgi_jwt.stores import packed
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Client, Revocation, Session, SessionKey

KEY = SessionKey("alice", "s1")
NOW = Millis(1_800_000_000_000)
MINUTE = Millis(60_000)
HOUR = Millis(60 * MINUTE)
POLICY = RotationPolicy(grace=Millis(30_000), recovery=Millis(24 * HOUR), refresh_ttl=Millis(168 * HOUR))

# As commit 1254be8 wrote them.
LIVE = (
    '[1,3,"web",2,"0011223344556677",1800000000000,1,1799996400000,1800000000000,1800604800000,1802588400000,null,'
    '{"email":"é@example.com","nested":{"list":[1,2.5,null,true]}},["read","write"],["admin"],"Mozilla/5.0","192.0.2.1"]'
).encode()
TOMBSTONE = (
    b"[1,4,null,0,null,null,0,1799996400000,1799996400000,1800601200000,1802588400000,1800000000000,{},[],[],null,null]"
)
ENTRIES = [
    b'[1,"sid","https://issuer.example","s1",1800003965000,0,false]',
    b'[1,"sub","https://issuer.example","alice",1800003965000,1800000000000,true]',
    b'[1,"jti","https://issuer.example","j1",1800001200000,0,false]',
]


def a_session() -> Session:
    return open_session(
        *KEY,
        now=NOW,
        refresh_ttl=Millis(168 * HOUR),
        session_ttl=Millis(720 * HOUR),
        client_id="web",
        claims={"a": [1]},
    )


def test_records_of_the_release_before() -> None:
    """Live records and tombstones of the release before read as they were meant, and are written back alike."""
    live, tombstone = packed.unpack(KEY, LIVE), packed.unpack(KEY, TOMBSTONE)
    assert (live.generation, live.rotated_branch, live.seen, live.client) == (
        2,
        "0011223344556677",
        True,
        Client("Mozilla/5.0", "192.0.2.1"),
    )
    assert (live.ending_at, dict(live.others), live.is_live(NOW), tombstone.is_live(NOW)) == (None, {}, True, False)
    for record in (LIVE, TOMBSTONE):
        assert packed.pack(packed.unpack(KEY, record)) == record == release_before.pack(packed.unpack(KEY, record))


def test_both_refresh_one_session() -> None:
    """Servers of both releases take turns in one session: each goes on from the record that the other has written."""
    releases = [release_before, packed]
    record, presented, now, verdicts = release_before.pack(a_session()), Presented(0, "b0"), NOW, []
    for n in range(6):
        now += 2 * POLICY.grace
        reader = releases[n % 2]
        decision = decide(reader.unpack(KEY, record), presented, branch=f"b{n + 1}", now=now, policy=POLICY)
        assert decision.session is not None
        assert decision.branch is not None
        record, presented = reader.pack(decision.session), Presented(decision.session.generation, decision.branch)
        verdicts.append(decision.verdict)
    assert verdicts == [Verdict.ROTATED] * 6


@pytest.mark.parametrize("presented", [Presented(3, "ahead"), Presented(0, "old")])
def test_release_before_reads_what_this_one_writes(presented: Presented) -> None:
    """A session that is live, that caught up, or that ended, reads in the release before as it was meant."""
    stored = replace(a_session(), generation=2, rotated_branch="b1", window_at=NOW)
    kept = decide(stored, presented, branch="-", now=NOW + 1, policy=POLICY).session
    assert kept is not None
    assert release_before.unpack(KEY, packed.pack(kept)) == kept
    assert release_before.unpack(KEY, packed.pack(end_session(kept.marked(NOW), NOW))).ended_at is not None


@pytest.mark.parametrize("changed", [{"ending_at": NOW}, {"others": {"jkt": "thumbprint"}}])
def test_release_before_leaves_alone_what_it_can_not_read(changed: dict[str, object]) -> None:
    """A mark, and members that only a later release knows, make a record unavailable there: no session is refreshed
    past its end, and no member gets lost."""
    with pytest.raises(StoreUnavailable):
        release_before.unpack(KEY, packed.pack(a_session().changed(**changed)))


def test_members_of_the_release_after_are_kept() -> None:
    """Members that this release doesn't know go through its rotations and its tombstones unchanged."""
    others = {"jkt": "thumbprint", "amr": ["pwd"]}
    session = packed.unpack(KEY, packed.pack(replace(a_session(), others=others)))
    rotated = decide(session, Presented(0, "b0"), branch="b1", now=NOW + MINUTE, policy=POLICY).session
    assert rotated is not None
    for kept in (rotated, rotated.marked(NOW), end_session(rotated.marked(NOW), NOW)):
        assert packed.unpack(KEY, packed.pack(kept)).others == others


def test_entries_of_the_release_before() -> None:
    """Entries without a time are mirrored until they lapse by the reader's clock, a subject's for its life."""
    mirror = Mirror()
    mirror.add(packed.unpack_revocations(ENTRIES), Millis(0), NOW)
    assert mirror.has_session("https://issuer.example", "s1")
    assert mirror.has_token("https://issuer.example", "j1")
    assert mirror.has_subject("https://issuer.example", "alice", NOW // 1000)
    mirror.lapse(3_965_000 + MINUTE)
    assert len(mirror) == 0


def test_release_before_reads_the_entries_of_this_one() -> None:
    """The release before reads an entry of this one, and lets it lapse at the same time."""
    entries = [Revocation("sid", "https://issuer.example", "s1", NOW + HOUR, NOW)]
    assert release_before.unpack_revocations([packed.pack_revocation(entry) for entry in entries]) == entries
