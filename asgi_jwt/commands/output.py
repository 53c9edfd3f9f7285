"""Prints the output of commands, as text that is safe for any terminal or as JSON, and runs their async work."""

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

LONGEST_VALUE_SHOWN = 200
"""The most characters of a value in text output. A claim may be as long as its token."""

_LISTED = 10
_UNITS = (("year", 31_557_600, 2), ("day", 86400, 2), ("hour", 3600, 2), ("minute", 60, 2), ("second", 1, 0))


class CommandError(Exception):
    """A command failed. The message says what to do. `status` is the exit status: 1, or 2 for wrong usage."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def shown(value: object, most: int = LONGEST_VALUE_SHOWN) -> str:
    """A JSON value for text output: in one line, safe to print, and of `most` characters at most."""
    return shortened(printable(json.dumps(value, ensure_ascii=False)), most)


def shortened(text: str, most: int = LONGEST_VALUE_SHOWN) -> str:
    """The first `most` characters of `text`, with dots if it is longer."""
    return text if len(text) <= most else f"{text[:most]}..."


def listed(texts: Iterable[str]) -> str:
    """The first ten texts, with commas between them, and the number of others; or `none`."""
    several = list(texts)
    more = [f"{len(several) - _LISTED} more"] if len(several) > _LISTED else []
    return ", ".join(several[:_LISTED] + more) or "none"


def counted(number: int, noun: str) -> str:
    """The number and the noun, in the plural if it needs one: `1 key`, `2 keys`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def spelled_duration(seconds: float) -> str:
    """The duration in the largest unit of which there are two: `90 seconds`, `15 minutes`, `40 hours`."""
    unit, size = next((unit, size) for unit, size, least in _UNITS if abs(seconds) >= least * size)
    return counted(round(abs(seconds) / size), unit)


def relative(seconds: float) -> str:
    """The time from now: `in 15 minutes`, `15 minutes ago`, `now`."""
    if abs(seconds) < 1:
        return "now"
    return f"in {spelled_duration(seconds)}" if seconds > 0 else f"{spelled_duration(seconds)} ago"


def moment(time: float, now: float) -> str:
    """The date and the time from now: `2027-01-15 08:00:00 UTC, in 15 minutes`. Times are seconds since the epoch."""
    try:
        date = datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "no date"
    return f"{date}, {relative(time - now)}"


def say(line: str) -> None:
    """Print a line to the standard output, with unprintable characters escaped. Raises `CommandError`."""
    say_text(printable(line) + "\n")


def say_text(text: str) -> None:
    """Print a text to the standard output. Raises `CommandError` if that fails.

    The error has no message if the reader of a pipe has closed it, as `head` does.
    """
    try:
        _write(sys.stdout, text)
    except OSError as error:
        _discard(sys.stdout)
        closed = isinstance(error, BrokenPipeError)
        raise CommandError("" if closed else f"the standard output can't be written: {error.strerror}") from None


def say_json(value: Any) -> None:
    """Print a JSON value to the standard output, in one line of ASCII. Raises `CommandError`."""
    say(json.dumps(_finite(value), allow_nan=False))


def complain(text: str) -> None:
    """Print a line that begins with `asgi-jwt:` to the standard error. A closed standard error is ignored."""
    with suppress(OSError):
        _write(sys.stderr, f"asgi-jwt: {printable(text)}\n")


def _write(stream: Any, text: str) -> None:
    if stream is None:
        return  # the process was started with this stream closed
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _discard(stream: Any) -> None:
    """Discard the rest of the stream's output. Otherwise Python would write it at the exit, and print an error."""
    with open(os.devnull, "wb") as nowhere, suppress(OSError):
        os.dup2(nowhere.fileno(), stream.fileno())


def _finite(value: Any) -> Any:
    """`value` with texts instead of infinite numbers (as 1e400), which JSON can't express."""
    if isinstance(value, dict):
        return {name: _finite(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run `work` under asyncio, which the Redis store needs, and return its result.

    The package logs nothing meanwhile, because the command itself prints what happened.
    """
    nowhere = logging.NullHandler()
    logger.addHandler(nowhere)
    try:
        return anyio.run(work)
    finally:
        logger.removeHandler(nowhere)
