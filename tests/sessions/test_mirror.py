"""What the mirror refuses, until when, and in how much memory."""

import gc
import tracemalloc
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_jwt.sessions.mirror import Mirror
from asgi_jwt.stores.records import Revocation, log_value

ISSUER = "https://issuer.example"
NOW = 1_700_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE
LONG = "x" * 100

Kind = Literal["sid", "jti", "sub"]


def a_mirror(*revocations: Revocation) -> Mirror:
    mirror = Mirror()
    mirror.add(revocations, NOW, NOW)
    return mirror


def revoked(kind: Kind, value: str, *, until: int = NOW + HOUR, **more: Any) -> Revocation:
    return Revocation(kind, more.pop("issuer", ISSUER), log_value(value), until, **more)


def claims(**members: Any) -> Mapping[str, Any]:
    """Of an access token issued at `NOW`."""
    issued = {"iss": ISSUER, "sub": "alice", "sid": "s1", "jti": "j1", "iat": NOW // 1000}
    kept = {name: value for name, value in {**issued, **members}.items() if value is not None}
    return MappingProxyType(kept)


@pytest.mark.parametrize("value", ["s1", LONG, ""])
@pytest.mark.parametrize("kind", ["sid", "jti"])
def test_session_and_token(kind: Kind, value: str) -> None:
    """A session's entry is for its tokens, a token's for that one alone: within the issuer, however long the value."""
    mirror = a_mirror(revoked(kind, value))
    assert mirror.covers(claims(**{kind: value}))
    assert not mirror.covers(claims(**{kind: value + "x"}))
    assert not mirror.covers(claims(**{kind: None}))
    assert not mirror.covers(claims(**{kind: value, "iss": "https://partner.example"}))
    other = "jti" if kind == "sid" else "sid"
    assert not mirror.covers(claims(**{kind: None, other: value, "sub": value or "x"}))
    # A claim that is written like the digest of a revoked value is not that value.
    assert log_value(value) == value or not mirror.covers(claims(**{kind: log_value(value)}))
    assert not Mirror().covers(claims(**{kind: value}))


@pytest.mark.parametrize("subject", ["alice", LONG])
def test_subject(subject: str) -> None:
    """A subject's entry is for the tokens issued up to its time, those of the very second included."""
    mirror = a_mirror(revoked("sub", subject, time=NOW + 999))
    for issued, expected in ((NOW // 1000 - 1, True), (NOW // 1000, True), (NOW // 1000 + 0.9, True), (None, True)):
        assert mirror.covers(claims(sub=subject, iat=issued)) is expected
    assert not mirror.covers(claims(sub=subject, iat=NOW // 1000 + 1))
    assert not mirror.covers(claims(sub=subject + "x"))
    assert not mirror.covers(claims(sub=subject, iss="https://partner.example"))


def test_subject_whose_sessions_are_spared() -> None:
    """Where sessions have entries of their own, a token with a `sid` that says it was issued in the last minute is none
    of the subject's entry: it may be of a login right after. An older one is of a session that got no entry."""
    mirror = a_mirror(revoked("sub", "alice", time=NOW, spares_sessions=True))
    assert mirror.covers(claims(sid=None))
    assert not mirror.covers(claims())
    assert not mirror.covers(claims(iat=NOW // 1000 - 59))
    assert mirror.covers(claims(iat=NOW // 1000 - 60))
    assert mirror.covers(claims(sid=7))


def test_entries_of_one_subject_add_up() -> None:
    """Two entries of a subject refuse what either does, in whatever order they come, and stay as long as the later."""
    # The mark of a later entry counts also where it lapses no later.
    assert a_mirror(revoked("sub", "alice", time=NOW - 5000), revoked("sub", "alice", time=NOW)).covers(claims())
    early = revoked("sub", "alice", until=NOW + 3 * HOUR, time=NOW - 5000)
    late = revoked("sub", "alice", until=NOW + HOUR, time=NOW, spares_sessions=True)
    for order in ((early, late), (late, early)):
        mirror = a_mirror(*order)
        assert mirror.covers(claims(sid=None))
        assert not mirror.covers(claims())
        assert mirror.covers(claims(iat=NOW // 1000 - 5))
        mirror.lapse(NOW + 2 * HOUR)
        assert mirror.covers(claims(sid=None))
        mirror.lapse(NOW + 3 * HOUR + MINUTE)
        assert not mirror.covers(claims(sid=None))


@pytest.mark.parametrize("value", [7, 1.5, True, ("a",), MappingProxyType({"a": 1}), None])
def test_claims_of_any_kind(value: Any) -> None:
    """Another issuer's `sid` or `jti` may be anything: what is no string names nothing, and harms nobody."""
    mirror = a_mirror(revoked("sid", "s1"), revoked("jti", "j1"), revoked("sub", "alice", time=NOW))
    assert mirror.covers(claims(sid=value))
    assert mirror.covers(claims(jti=value, sid=value))
    assert not mirror.covers(claims(sub="bob", sid=value, jti=value))


@pytest.mark.parametrize("skew", [-3 * HOUR, 0, 3 * HOUR])
@pytest.mark.parametrize("kind", ["sid", "jti", "sub"])
def test_entries_lapse(kind: Kind, skew: int) -> None:
    """An entry leaves within a minute of its end, not before, by the clock of the process that reads it; it does not
    come in again, and an issuer without entries leaves no trace."""
    entry = revoked(kind, "s1", until=NOW + skew + HOUR, time=NOW + skew)
    mirror, token = a_mirror(entry), claims(**{kind: "s1", "iat": (NOW + skew) // 1000})
    mirror.lapse(NOW + HOUR - 1)
    assert mirror.covers(token)
    assert not mirror.lapse(NOW + HOUR + MINUTE)
    mirror.add([revoked(kind, "s1", until=NOW)], NOW + HOUR + MINUTE, NOW + HOUR + MINUTE)
    assert (mirror.covers(token), len(mirror), mirror._issuers) == (False, 0, {})


def test_entry_that_comes_again() -> None:
    """An entry read once more changes nothing; one that holds for longer keeps it for longer."""
    mirror = a_mirror(*[revoked("sid", "s1")] * 3, revoked("sid", "s1", until=NOW + MINUTE))
    assert (len(mirror), len(mirror._issuers[ISSUER].sid.lapses)) == (1, 1)
    mirror.add([revoked("sid", "s1", until=NOW + 2 * HOUR)], NOW, NOW)
    mirror.lapse(NOW + HOUR + MINUTE)
    assert mirror.covers(claims())
    mirror.lapse(NOW + 2 * HOUR + MINUTE)
    assert not mirror.covers(claims())


def test_lapsing_is_bounded() -> None:
    """However many lapse at once, a call takes on a thousand of them, and says that there is more."""
    mirror = a_mirror(*(revoked(kind, f"{n}", time=NOW) for n in range(900) for kind in ("sid", "jti", "sub")))
    left = [len(mirror)]
    while mirror.lapse(NOW + HOUR + MINUTE):
        left.append(len(mirror))
    assert [*left, len(mirror)] == [2700, 1700, 700, 0]


def test_what_is_held() -> None:
    """A session's or a token's entry is found by its name, a subject's by its time, each within its issuer."""
    mirror = a_mirror(revoked("sid", "s1"), revoked("jti", "j1"), revoked("sub", "alice", time=NOW, until=NOW + HOUR))
    assert [mirror.has_session(ISSUER, sid) for sid in ("s1", "s2", "j1")] == [True, False, False]
    assert [mirror.has_token(ISSUER, jti) for jti in ("j1", "j2", "s1")] == [True, False, False]
    issued = NOW // 1000
    assert [mirror.has_subject(ISSUER, "alice", time) for time in (issued, issued + 1)] == [True, False]
    assert not mirror.has_subject(ISSUER, "bob", issued)
    other = "https://partner.example"
    assert not any([mirror.has_session(other, "s1"), mirror.has_token(other, "j1"), mirror.has_subject(other, "a", 0)])


entries = st.builds(
    revoked,
    st.sampled_from(["sid", "jti", "sub"]),
    st.sampled_from(["a", "b", LONG]),
    until=st.integers(NOW + 1, NOW + 3 * HOUR),
    issuer=st.sampled_from([ISSUER, "https://partner.example"]),
    time=st.integers(NOW - 3000, NOW + 3000),
    spares_sessions=st.booleans(),
)
tokens = st.builds(
    claims,
    iss=st.sampled_from([ISSUER, "https://partner.example"]),
    sub=st.sampled_from(["a", "b", LONG]),
    sid=st.sampled_from(["a", "b", LONG, None, 7]),
    jti=st.sampled_from(["a", "b", LONG, None]),
    iat=st.integers(NOW // 1000 - 4, NOW // 1000 + 4) | st.integers(NOW // 1000 - 64, NOW // 1000 - 56),
)


def refuses(entry: Revocation, token: Mapping[str, Any]) -> bool:
    """What an entry is for, as the design has it."""
    if entry.issuer != token["iss"]:
        return False
    if entry.kind != "sub":
        named = token.get(entry.kind)
        return isinstance(named, str) and log_value(named) == entry.value
    spared = 60 if entry.spares_sessions and isinstance(token.get("sid"), str) else 0
    return log_value(token["sub"]) == entry.value and token["iat"] <= entry.time // 1000 - spared


@given(st.lists(entries, max_size=6), tokens, st.integers(NOW, NOW + 4 * HOUR))
def test_refuses_what_any_entry_refuses(given: list[Revocation], token: Mapping[str, Any], later: int) -> None:
    """A token is refused when an entry that holds is for it, and only when one was."""
    mirror = a_mirror(*given, *given[:2])
    assert mirror.covers(token) is any(refuses(entry, token) for entry in given)
    mirror.lapse(later)
    if any(refuses(entry, token) and entry.until > later for entry in given):
        assert mirror.covers(token)
    elif not any(refuses(entry, token) for entry in given):
        assert not mirror.covers(token)


@pytest.mark.outside
@pytest.mark.parametrize("kind", ["sid", "jti", "sub"])
def test_ten_thousand_revocations_take_four_megabytes(kind: Kind) -> None:
    """Each takes 400 bytes at the most, whatever its kind and however long its value."""
    count = 10_000
    gc.collect()
    tracemalloc.start()
    try:
        mirror = Mirror()
        for n in range(count):
            mirror.add([revoked(kind, f"{n:0100}", until=NOW + HOUR + n, time=NOW + n)], NOW, NOW)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(mirror) == count
    assert taken / count <= 400
