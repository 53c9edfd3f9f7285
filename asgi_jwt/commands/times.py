"""Times and durations as people read them."""

from datetime import UTC, datetime

from asgi_jwt.commands.output import count

_UNITS = (("year", 31_557_600, 2), ("day", 86400, 2), ("hour", 3600, 2), ("minute", 60, 2), ("second", 1, 0))


def duration(seconds: float) -> str:
    """In the largest unit that there are two of: `90 seconds`, `15 minutes`, `40 hours`."""
    unit, size = next((unit, size) for unit, size, least in _UNITS if abs(seconds) >= least * size)
    return count(round(abs(seconds) / size), unit)


def relative(seconds: float) -> str:
    """How far ahead: `in 15 minutes`, `15 minutes ago`, `now`."""
    if abs(seconds) < 1:
        return "now"
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(seconds)} ago"


def moment(time: float, now: float) -> str:
    """`2027-01-15 08:00:00 UTC, in 15 minutes`; times are seconds since the epoch."""
    try:
        date = datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "no date"
    return f"{date}, {relative(time - now)}"
