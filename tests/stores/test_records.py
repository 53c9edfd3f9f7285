"""When a record is live, how long a store keeps it, and how long a value of the log is."""

from dataclasses import replace

import pytest

from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import LONGEST_VALUE, Session, SessionKey, log_value

SESSION = Session(
    sid="s1",
    subject="alice",
    created_at=Millis(100),
    used_at=Millis(200),
    expires_at=Millis(1000),
    ends_at=Millis(5000),
)


def test_key() -> None:
    """A session is found by its subject and `sid` together."""
    assert SESSION.key == SessionKey("alice", "s1")


@pytest.mark.parametrize(
    ("session", "now", "live"),
    [
        (SESSION, 999, True),
        (SESSION, 1000, False),
        (replace(SESSION, expires_at=Millis(9000)), 4999, True),
        (replace(SESSION, expires_at=Millis(9000)), 5000, False),
        (replace(SESSION, ended_at=Millis(300)), 250, False),
    ],
)
def test_is_live(session: Session, now: int, live: bool) -> None:
    """A session is live before both of its ends, and never once it was ended, whatever the clock says."""
    assert session.is_live(Millis(now)) is live


@pytest.mark.parametrize(
    ("session", "until", "duration"),
    [
        (SESSION, 1000, 800),
        (replace(SESSION, expires_at=Millis(5000)), 5000, 4800),
        (replace(SESSION, expires_at=Millis(9000)), 5000, 8800),
        (replace(SESSION, ended_at=Millis(300)), 5000, 4700),
        (replace(SESSION, expires_at=Millis(100)), 100, 0),
        (replace(SESSION, ended_at=Millis(6000)), 5000, 0),
    ],
)
def test_retention(session: Session, until: int, duration: int) -> None:
    """A live session is kept to its idle end, a tombstone to the absolute one; a duration is never negative."""
    assert (session.kept_until, session.kept_for) == (until, duration)


def test_values_of_the_log_are_short() -> None:
    """A value stands for itself, and a long one is told by its digest, which none that stands for itself can be."""
    assert [log_value(value) for value in ("", "alice", "x" * LONGEST_VALUE)] == ["", "alice", "x" * LONGEST_VALUE]
    digest = log_value("x" * (LONGEST_VALUE + 1))
    assert digest == log_value("x" * (LONGEST_VALUE + 1)) != log_value("x" * (LONGEST_VALUE + 2))
    assert LONGEST_VALUE < len(digest) < 80
    assert log_value(digest) != digest
    assert log_value("\ud800" * 100).startswith("sha256:")
