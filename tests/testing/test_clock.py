"""A clock that only the test moves."""

from asgi_jwt.testing import Clock


def test_it_stands_still_until_it_is_turned() -> None:
    """Two looks give the same time, and turning moves it by that much, backwards too."""
    clock = Clock(1000)
    assert (clock(), clock()) == (1000, 1000)
    clock.turn(30)
    assert clock() == 1030
    clock.turn(-60.5)
    assert clock() == clock.now == 969.5


def test_it_starts_today() -> None:
    """Without a time it starts at the present, so that tokens of a real issuer hold."""
    assert Clock()() > 1_700_000_000
