"""What happened, for logs and metrics."""

import logging
from dataclasses import FrozenInstanceError, dataclass
from typing import ClassVar

import pytest

from asgi_jwt.events import Event, EventSink, TokenRefused

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


async def test_a_logger_that_is_off_costs_no_record(caplog: pytest.LogCaptureFixture) -> None:
    """Below the logger's level nothing is built, and the host still hears."""
    caplog.set_level(logging.WARNING, "asgi_jwt")
    heard: list[Event] = []
    await EventSink(heard.append).emit(REFUSED)
    assert (caplog.records, heard) == ([], [REFUSED])


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_the_host_hears_of_every_event(kind: str) -> None:
    """`on_event` may be sync or async, and is handed the event itself."""
    heard: list[Event] = []

    async def hear(event: Event) -> None:
        heard.append(event)

    await EventSink(hear if kind == "async" else heard.append).emit(REFUSED)
    assert heard == [REFUSED]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_failing_on_event_ends_there(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong in the host's `on_event` is logged with its trace, and harms no request."""

    def fail(event: Event) -> None:
        raise LookupError("metrics are down")

    async def fail_later(event: Event) -> None:
        fail(event)

    await EventSink(fail if kind == "sync" else fail_later).emit(REFUSED)
    (failure,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert failure.getMessage() == "on_event failed for token_refused"
    assert failure.exc_info is not None
    assert failure.exc_info[0] is LookupError


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
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.WARNING, "alarm ")]
