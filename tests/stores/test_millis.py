"""The milliseconds of stores and sessions, and the seconds of the public face."""

import pytest

from asgi_jwt.stores.millis import Millis, millis, seconds


@pytest.mark.parametrize(
    ("given", "expected"),
    [(0, 0), (0.57, 570), (1.0015, 1001), (30, 30_000), (-1.5, -1500), (1_700_000_000.9996, 1_700_000_000_999)],
)
def test_milliseconds_of_seconds(given: float, expected: int) -> None:
    """Seconds become whole milliseconds, rounded down, and a binary fraction that is a little too small loses none."""
    assert millis(given) == expected


def test_there_and_back() -> None:
    """Milliseconds become seconds, and these the same milliseconds, as far as clocks will ever go."""
    times = [Millis(each) for each in (0, 1, 999, 1001, 1_700_000_000_123, 253_402_300_799_999)]
    assert [millis(seconds(each)) for each in times] == times
