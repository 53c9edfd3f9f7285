"""Times as people read them."""

import pytest
from forgeries import NOW

from asgi_jwt.commands.times import duration, moment, relative


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (90, "90 seconds"),
        (119.6, "120 seconds"),
        (120, "2 minutes"),
        (900, "15 minutes"),
        (3600, "60 minutes"),
        (7200, "2 hours"),
        (-172800, "2 days"),
        (30 * 86400, "30 days"),
        (1_800_000_000, "57 years"),
    ],
)
def test_durations(seconds: float, told: str) -> None:
    """A duration is told in the largest unit that it has two of, without its sign."""
    assert duration(seconds) == told


def test_how_far_a_time_is() -> None:
    """What is ahead, what is behind, and what is now."""
    assert relative(900) == "in 15 minutes"
    assert relative(-31) == "31 seconds ago"
    assert relative(0.4) == "now"


def test_moments() -> None:
    """A time is told in UTC, with how far it is from now."""
    assert moment(NOW + 60, NOW) == "2027-01-15 08:01:00 UTC, in 60 seconds"
    assert moment(0, NOW) == "1970-01-01 00:00:00 UTC, 57 years ago"
    assert moment(NOW + 0.5, NOW) == "2027-01-15 08:00:00 UTC, now"


@pytest.mark.parametrize("time", [1e300, float("inf"), -1e20, float("nan"), 2**63, -(2**40) * 1000])
def test_what_is_no_date(time: float) -> None:
    """No number is an error: a token may hold any."""
    assert moment(time, NOW) == "no date"
