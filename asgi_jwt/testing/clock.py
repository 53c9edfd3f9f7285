"""Clock: a clock that only the test moves."""

import time


class Clock:
    """A clock for `Auth(..., clock=Clock())`. `now` is its first time, in seconds since the epoch. None: today."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now

    def __call__(self) -> float:
        return self.now

    def turn(self, seconds: float) -> None:
        """Move the clock by `seconds`, back if they are negative."""
        self.now += seconds
