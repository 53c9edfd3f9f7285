"""What the commands print: for people, safe for any terminal, and for programs; and what runs them."""

import json
import logging
import math
import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import anyio

from asgi_jwt.events import logger, printable

T = TypeVar("T")

SHOWN = 200
"""How much of one value is shown to people: a claim may be as long as its token."""

_LISTED = 10
_UNITS = (("year", 31_557_600, 2), ("day", 86400, 2), ("hour", 3600, 2), ("minute", 60, 2), ("second", 1, 0))


class CommandError(Exception):
    """A command that can't be done; the message says what to do. `status`: 1, or 2 for wrong usage."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def shown(value: object, most: int = SHOWN) -> str:
    """A JSON value as people are shown it: on one line, safe to print, and no longer than that."""
    return shortened(printable(json.dumps(value, ensure_ascii=False)), most)


def shortened(text: str, most: int = SHOWN) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def listed(texts: Iterable[str]) -> str:
    """The first ten, and how many more there are; `none` where there is none."""
    several = list(texts)
    more = [f"{len(several) - _LISTED} more"] if len(several) > _LISTED else []
    return ", ".join(several[:_LISTED] + more) or "none"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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


def say(line: str) -> None:
    """Print a line to the standard output, with what is not printable in it escaped. Raises `CommandError` when that
    fails.
    """
    say_text(printable(line) + "\n")


def say_text(text: str) -> None:
    """Print text to the standard output. Raises `CommandError` when that fails, without a message where the reader
    has gone: it has seen enough.
    """
    try:
        _write(sys.stdout, text)
    except OSError as error:
        _leave(sys.stdout)
        told = "" if isinstance(error, BrokenPipeError) else f"the standard output can't be written: {error.strerror}"
        raise CommandError(told) from None


def say_json(value: Any) -> None:
    """Print a JSON value to the standard output, in one line of ASCII."""
    say(json.dumps(_finite(value), allow_nan=False))


def complain(text: str) -> None:
    """Print a line to the standard error, with whose it is, if anyone reads it."""
    with suppress(OSError):
        _write(sys.stderr, f"asgi-jwt: {printable(text)}\n")


def _write(stream: Any, text: str) -> None:
    if stream is None:
        return  # it was closed from the start
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _leave(stream: Any) -> None:
    """What is still to be written goes nowhere: at its end Python would try, and complain, once more."""
    with open(os.devnull, "wb") as nowhere, suppress(OSError):
        os.dup2(nowhere.fileno(), stream.fileno())


def _finite(value: Any) -> Any:
    """`value` with text in the place of 1e400, for which JSON has no number."""
    if isinstance(value, dict):
        return {name: _finite(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def run(work: Callable[[], Awaitable[T]]) -> T:
    """What `work` returns, under asyncio, which the Redis store needs.

    What it tells the log meanwhile the command tells in its own words.
    """
    nowhere = logging.NullHandler()
    logger.addHandler(nowhere)
    try:
        return anyio.run(work)
    finally:
        logger.removeHandler(nowhere)
