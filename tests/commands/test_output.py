"""What commands print is safe for any terminal, and whole for programs."""

import asyncio
import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.tokens import NOW
from support.waiting import PATIENCE

from asgi_jwt.commands import output
from asgi_jwt.events import logger, printable

# A terminal's escape in one byte and in two, a bell, a line break, marks of direction, nothing visible, half a pair.
UNSAFE = "\x9b31m\x1b]0;title\x07\r\n\u202e\u2066\u200b\ud800\x7f\x00"


def test_what_anyone_wrote_is_printed_safely() -> None:
    """Nothing that a terminal obeys and nothing that hides leaves as it is, and all that can be read does."""
    assert printable("żółw \N{SNAKE} 'x' \\") == "żółw \N{SNAKE} 'x' \\"
    safe = printable(UNSAFE)
    assert safe.isprintable()
    assert safe.isascii()
    assert safe.startswith("\\x9b31m\\x1b]0;title\\x07\\r\\n\\u202e")
    assert output.shown({UNSAFE: [UNSAFE]}).isprintable()


def test_values_are_shown_as_json_and_no_longer_than_they_may() -> None:
    """A string can be told from a number, and a long one is cut."""
    assert (output.shown("1"), output.shown(1), output.shown(None), output.shown(["é"])) == (
        '"1"',
        "1",
        "null",
        '["é"]',
    )
    assert output.shown("x" * 300) == '"' + "x" * 199 + "..."
    assert output.shown("x" * 300, 1000) == '"' + "x" * 300 + '"'
    assert (output.shortened("x" * 200), output.shortened("x" * 201)) == ("x" * 200, "x" * 200 + "...")


def test_lists_are_shown_with_their_first_ten() -> None:
    """A list of any length is a few words."""
    assert output.listed([]) == "none"
    assert output.listed("abc") == "a, b, c"
    assert output.listed("abcdefghijkl") == "a, b, c, d, e, f, g, h, i, j, 2 more"
    assert [output.counted(number, "key") for number in range(3)] == ["0 keys", "1 key", "2 keys"]


def test_json_has_no_number_for_what_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    """1e400 and the like are text, for no other parser would take them; all is ASCII."""
    output.say_json({"a": [float("inf"), {"b": -float("inf")}], "c": 1.5, "d": UNSAFE, "e": (True,)})
    told = capsys.readouterr().out
    assert told.isascii()
    assert told.startswith('{"a": ["inf", {"b": "-inf"}], "c": 1.5, "d": "\\u009b31m\\u001b')
    assert told.endswith('"e": [true]}\n')


def test_a_terminal_that_knows_few_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the standard output can't encode is escaped."""
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="\n")
    monkeypatch.setattr(sys, "stdout", narrow)
    output.say("żółw")
    narrow.seek(0)
    assert narrow.read() == "\\u017c\\xf3\\u0142w\n"


def test_no_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was started without one prints nothing, as `print` does."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    output.say("nothing")
    output.complain("nothing")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (BrokenPipeError(32, "Broken pipe"), ""),
        (OSError(28, "No space left on device"), "the standard output can't be written: No space left on device"),
    ],
)
def test_what_can_not_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: OSError, told: str) -> None:
    """A reader who went has seen enough; else the fault is told. What is left goes nowhere."""

    class Broken(io.TextIOWrapper):
        def flush(self) -> None:
            raise fault

    kept = tmp_path / "out"
    stream = Broken(kept.open("wb"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    with pytest.raises(output.CommandError) as raised:
        output.say("lost")
    assert (str(raised.value), raised.value.status) == (told, 1)
    output.complain("lost")
    monkeypatch.undo()
    os.write(stream.fileno(), b"left")
    assert kept.read_bytes() == b""
    with pytest.raises(OSError, match=str(fault.strerror)):
        stream.close()


def test_a_reader_who_leaves() -> None:
    """`asgi-jwt … | head` ends without a word, and so does Python."""
    reader, writer = os.pipe()
    os.close(reader)
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(output.__file__).parents[2])}
    command = [sys.executable, "-m", "asgi_jwt", "check", "--json"]
    with open(writer, "wb") as pipe:
        ended = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, env=environ, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stderr) == (1, b"")


SECONDS = (0, 1, 90, 119.6, 120, 900, 3600, 7200, -172800, 30 * 86400, 1_800_000_000)
TOLD = "0 seconds,1 second,90 seconds,120 seconds,2 minutes,15 minutes,60 minutes,2 hours,2 days,30 days,57 years"


def test_durations() -> None:
    """A duration is told in the largest unit that it has two of, without its sign."""
    assert ",".join(map(output.spelled_duration, SECONDS)) == TOLD


def test_moments() -> None:
    """A time is told in UTC, with how far it is from now, ahead or behind; a token may hold any number."""
    assert [output.relative(seconds) for seconds in (900, -31, 0.4)] == ["in 15 minutes", "31 seconds ago", "now"]
    assert output.moment(NOW + 60, NOW) == "2027-01-15 08:01:00 UTC, in 60 seconds"
    assert output.moment(0, NOW) == "1970-01-01 00:00:00 UTC, 57 years ago"
    assert output.moment(NOW + 0.5, NOW) == "2027-01-15 08:00:00 UTC, now"
    for time in (1e300, float("inf"), -1e20, float("nan"), 2**63, -(2**40) * 1000):
        assert output.moment(time, NOW) == "no date"


def test_it_runs_under_asyncio_and_keeps_the_log_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """The work has asyncio, and what it logs is not printed by Python's last resort; afterwards all is as it was."""
    heard: list[logging.LogRecord] = []

    class Host(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record)

    async def work() -> str:
        logger.warning("said")
        return type(asyncio.get_running_loop()).__name__

    host, before = Host(), list(logger.handlers)
    logging.getLogger().addHandler(host)
    try:
        assert "Loop" in output.run(work)
    finally:
        logging.getLogger().removeHandler(host)
    assert [record.getMessage() for record in heard] == ["said"]
    assert capsys.readouterr() == ("", "")
    assert logger.handlers == before
