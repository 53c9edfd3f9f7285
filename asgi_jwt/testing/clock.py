"""A clock that only the test moves."""

import time


class Clock:
    """Give it to `Auth(..., clock=Clock())`. `now`: where it starts, seconds since the epoch; None: today."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now

    def __call__(self) -> float:
        return self.now

    def turn(self, seconds: float) -> None:
        """Moves it, backwards for a negative number."""
        self.now += seconds
