"""What happened, for logs and metrics."""

import logging
from dataclasses import FrozenInstanceError, dataclass
from typing import ClassVar

import anyio
import pytest
from support.waiting import PATIENCE

from asgi_jwt import events
from asgi_jwt.events import Event, EventSink, KeysFetched, StoreFailed, TokenRefused

pytestmark = pytest.mark.anyio

REFUSED = TokenRefused("token_expired", 401, "http")


async def test_the_logger_hears_of_every_event(caplog: pytest.LogCaptureFixture) -> None:
    """An event is one record of the logger `asgi_jwt`, with its fields as attributes."""
    caplog.set_level(logging.INFO, "asgi_jwt")
    await EventSink().emit(REFUSED)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("asgi_jwt", logging.INFO)
    assert record.getMessage() == "token_refused reason=token_expired status=401 transport=http"
    told = {name: value for name, value in vars(record).items() if name.startswith("event")}
    assert told == {
        "event": "token_refused",
        "event_reason": "token_expired",
        "event_status": 401,
        "event_transport": "http",
    }


@pytest.mark.parametrize(
    ("why", "told", "field"),
    [
        ("locked", "locked", "locked"),
        ("", '""', ""),
        ("is locked", '"is locked"', "is locked"),
        ("down operation=none", '"down operation=none"', "down operation=none"),
        ('say "x"', r'"say \"x\""', 'say "x"'),
        ("back\\", r'"back\\"', "back\\"),
        ("x\nINFO:root:all is well", r'"x\nINFO:root:all is well"', r"x\nINFO:root:all is well"),
        ("x\r\u2028y", r'"x\r\u2028y"', r"x\r\u2028y"),
        ("\x1b[2K\x00", r'"\x1b[2K\x00"', r"\x1b[2K\x00"),
        ("\u202edrow", r'"\u202edrow"', r"\u202edrow"),
        ("\ud800", r'"\ud800"', r"\ud800"),
        ("Größe", "Größe", "Größe"),
    ],
)
async def test_no_value_makes_up_a_line_or_a_field(
    why: str, told: str, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Line breaks, control characters and quotes in a value are escaped; the event that the host hears has them."""
    heard: list[Event] = []
    await EventSink(heard.append).emit(StoreFailed("get", why))
    (record,) = caplog.records
    assert record.getMessage() == f"store_failed operation=get why={told}"
    assert vars(record)["event_why"] == field
    assert heard == [StoreFailed("get", why)]


async def test_each_of_several_values_is_escaped(caplog: pytest.LogCaptureFixture) -> None:
    """A value that is a list of texts is one in the line, and a tuple of escaped texts in the record."""
    caplog.set_level(logging.INFO, "asgi_jwt")
    await EventSink().emit(KeysFetched("https://issuer.example", 2, ("a key\nis odd", "another")))
    (record,) = caplog.records
    assert record.getMessage() == (
        r'keys_fetched source=https://issuer.example keys=2 left_out="a key\nis odd; another"'
    )
    assert vars(record)["event_left_out"] == (r"a key\nis odd", "another")


async def test_a_logger_that_is_off_costs_no_record(caplog: pytest.LogCaptureFixture) -> None:
    """Below the logger's level nothing is built, and the host still hears."""
    caplog.set_level(logging.WARNING, "asgi_jwt")
    heard: list[Event] = []
    await EventSink(heard.append).emit(REFUSED)
    assert (caplog.records, heard) == ([], [REFUSED])


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_the_host_hears_of_every_event(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """`on_event` may be sync or async, and is handed the event itself.

    What goes wrong in it is logged with its trace, and harms no request.
    """
    heard: list[Event] = []

    def hear(event: Event) -> None:
        heard.append(event)
        raise LookupError("metrics are down")

    async def hear_later(event: Event) -> None:
        hear(event)

    await EventSink(hear if kind == "sync" else hear_later).emit(REFUSED)
    assert heard == [REFUSED]
    (failure,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert failure.getMessage() == "on_event failed for token_refused"
    assert failure.exc_info is not None
    assert failure.exc_info[0] is LookupError


async def test_an_on_event_that_hangs_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An async `on_event` has a second for each event; then it is cancelled, and the request goes on."""
    assert events.ON_EVENT_TIMEOUT == 1
    monkeypatch.setattr(events, "ON_EVENT_TIMEOUT", 0.01)
    heard: list[str] = []

    async def hang(event: Event) -> None:
        heard.append("begun")
        try:
            await anyio.sleep_forever()
        finally:
            heard.append("cancelled")

    with anyio.fail_after(PATIENCE):
        await EventSink(hang).emit(REFUSED)
    assert heard == ["begun", "cancelled"]
    (failure,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert failure.getMessage() == "on_event took longer than 0.01 s for token_refused, and was cancelled"


async def test_the_requests_own_cancellation_passes(caplog: pytest.LogCaptureFixture) -> None:
    """When the request itself is cancelled, so is `on_event`, and nothing is said of it."""
    with anyio.CancelScope() as request:

        async def hear(event: Event) -> None:
            request.cancel()
            await anyio.sleep_forever()

        await EventSink(hear).emit(REFUSED)
    assert request.cancelled_caught
    assert [record for record in caplog.records if record.levelno == logging.ERROR] == []


async def test_listeners_hear_before_the_host(caplog: pytest.LogCaptureFixture) -> None:
    """Every listener hears of every event, before `on_event`, and one that fails keeps it from nobody."""
    heard: list[str] = []

    def fail(event: Event) -> None:
        heard.append("fails")
        raise LookupError("no meter")

    sink = EventSink(lambda event: heard.append("host"))
    sink.add_listener(fail)
    sink.add_listener(lambda event: heard.append(event.name))
    await sink.emit(REFUSED)
    assert heard == ["fails", "token_refused", "host"]
    (failure,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert failure.getMessage().endswith("failed for token_refused")
    assert failure.exc_info is not None


async def test_events_are_frozen() -> None:
    """One listener can't change what the next one hears."""
    with pytest.raises(FrozenInstanceError):
        REFUSED.reason = "other"  # type: ignore[misc]


async def test_an_event_has_its_level(caplog: pytest.LogCaptureFixture) -> None:
    """The class of an event tells at which level it is logged."""

    @dataclass(frozen=True, slots=True)
    class Alarm(Event):
        name: ClassVar[str] = "alarm"
        level: ClassVar[int] = logging.WARNING

    await EventSink().emit(Alarm())
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.WARNING, "alarm")]
