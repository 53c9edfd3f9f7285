"""What the mirror refuses, until when, and in how much memory."""

import gc
import tracemalloc
from collections.abc import Mapping
from math import floor, inf
from types import MappingProxyType
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_jwt.sessions.mirror import Mirror
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Revocation, log_value

ISSUER = "https://issuer.example"
NOW = Millis(1_700_000_000_000)
MINUTE = Millis(60_000)
HOUR = Millis(60 * MINUTE)
LONG = "x" * 100

Kind = Literal["sid", "jti", "sub"]


def a_mirror(*revocations: Revocation) -> Mirror:
    mirror = Mirror()
    mirror.add(revocations, NOW, NOW)
    return mirror


def revoked(kind: Kind, value: str, *, until: int = NOW + HOUR, **more: Any) -> Revocation:
    return Revocation(kind, more.pop("issuer", ISSUER), log_value(value), Millis(until), **more)


def claims(**members: Any) -> Mapping[str, Any]:
    """Of an access token issued at `NOW`."""
    issued = {"iss": ISSUER, "sub": "alice", "sid": "s1", "jti": "j1", "iat": NOW // 1000}
    kept = {name: value for name, value in {**issued, **members}.items() if value is not None}
    return MappingProxyType(kept)


def test_digest_is_no_value() -> None:
    """A claim that is written like the digest of a revoked value is not that value."""
    assert not a_mirror(revoked("sid", LONG)).covers(claims(sid=log_value(LONG)))


@pytest.mark.parametrize(
    ("spares", "sid", "issued", "covered"),
    [
        *((False, "s1", issued, issued < 1) for issued in (0, 0.9, 1)),
        (False, None, 1, False),
        *((True, "s1", issued, issued <= -60) for issued in (-60, -59, 0)),
        (True, None, 0, True),
        (True, 7, 0, True),
    ],
)
def test_subject(spares: bool, sid: object, issued: float, covered: bool) -> None:
    """A subject's entry is for the tokens issued up to its very second, or a minute before where sessions have entries
    of their own: a token with a `sid` may be of a login right after."""
    mirror = a_mirror(revoked("sub", "alice", time=NOW + 999, spares_sessions=spares))
    assert mirror.covers(claims(sid=sid, iat=NOW // 1000 + issued)) is covered


def test_entries_of_one_subject_add_up() -> None:
    """Two entries of a subject refuse what either does, in whatever order they come, and stay as long as the later."""
    early = revoked("sub", "alice", until=NOW + 3 * HOUR, time=NOW - 5000)
    late = revoked("sub", "alice", until=NOW + HOUR, time=NOW, spares_sessions=True)
    for order in ((early, late), (late, early)):
        mirror = a_mirror(*order)
        assert mirror.covers(claims(sid=None))
        assert not mirror.covers(claims())
        mirror.lapse(NOW + 2 * HOUR)
        assert mirror.covers(claims(sid=None))
        mirror.lapse(NOW + 3 * HOUR + MINUTE)
        assert not mirror.covers(claims(sid=None))


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


values = st.sampled_from(["a", "b", "", LONG, LONG + "x"])
others = st.sampled_from([None, 7, 1.5, True, ("a",), MappingProxyType({"a": 1})])
issuers = st.sampled_from([ISSUER, "https://partner.example"])
seconds = st.integers(-64, -56) | st.integers(-4, 4)
entries = st.builds(
    revoked,
    st.sampled_from(["sid", "jti", "sub"]),
    values,
    until=st.integers(NOW + 3001, NOW + 3 * HOUR),
    issuer=issuers,
    time=st.integers(NOW - 3000, NOW + 3000),
    spares_sessions=st.booleans(),
)
tokens = st.builds(
    claims,
    iss=issuers,
    sub=values,
    sid=values | others,
    jti=values | others,
    iat=st.none() | st.builds(lambda n, part: NOW // 1000 + n + part, seconds, st.sampled_from([0, 0.9])),
)


def refuses(entry: Revocation, token: Mapping[str, Any]) -> bool:
    """What an entry is for, as the design has it: within the issuer, the session or the one token that it names, or
    the subject's tokens issued up to its time, those of the very second included. Where sessions have entries of their
    own, a token with a `sid` of the last minute is spared, as it may be of a login right after."""
    if entry.issuer != token["iss"]:
        return False
    if entry.kind != "sub":
        named = token.get(entry.kind)
        return isinstance(named, str) and log_value(named) == entry.value
    spared = 60 if entry.spares_sessions and isinstance(token.get("sid"), str) else 0
    issued = floor(token["iat"]) if "iat" in token else -inf
    return log_value(token["sub"]) == entry.value and issued <= entry.time // 1000 - spared


@settings(max_examples=500)
@given(st.lists(entries, max_size=6), tokens, st.integers(NOW, NOW + 4 * HOUR))
def test_refuses_what_any_entry_refuses(given: list[Revocation], token: Mapping[str, Any], later: int) -> None:
    """A token is refused when an entry that holds is for it, and only when one was, whatever another issuer's `sid` and
    `jti` are."""
    mirror = a_mirror(*given, *given[:2])
    assert mirror.covers(token) is any(refuses(entry, token) for entry in given)
    mirror.lapse(Millis(later))
    # An entry is kept for its life from when it was read.
    if any(refuses(entry, token) and NOW + entry.until - entry.time > later for entry in given):
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
