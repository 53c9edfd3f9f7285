"""Millis: the type of times in stores and sessions, with its conversions from and to seconds.

The public face has seconds, as numbers of type `float`.
"""

from math import floor
from typing import TYPE_CHECKING

if TYPE_CHECKING:

    class Millis(int):
        """A time or a duration in whole milliseconds. At run time it is an `int`, and costs nothing."""

        def __add__(self, other: int, /) -> "Millis": ...
        def __radd__(self, other: int, /) -> "Millis": ...
        def __sub__(self, other: int, /) -> "Millis": ...
        def __mul__(self, other: int, /) -> "Millis": ...
        def __rmul__(self, other: int, /) -> "Millis": ...
else:
    Millis = int


def millis(seconds: float) -> Millis:
    """The milliseconds of `seconds`, rounded down."""
    # A binary fraction may be a little too small: 0.57 * 1000 is 569.9999999999999.
    return Millis(floor(round(seconds * 1000, 3)))


def seconds(millis: Millis) -> float:
    """The seconds of `millis`."""
    return millis / 1000
