"""What the README says of events, metrics and alerts is what there is."""

import inspect
import logging
import re
from dataclasses import fields
from importlib.resources import files

import pytest
from readme import SECTIONS, TEXT
from support.metering import scraped

from asgi_jwt import events
from asgi_jwt.telemetry import COUNTED, OBSERVED, Counted


def test_events_table() -> None:
    """Every event is in the table, in its order, with its level and its fields."""
    _, *rows = SECTIONS["Events"].table
    kinds = [kind for kind in vars(events).values() if inspect.isclass(kind) and issubclass(kind, events.Event)]
    expected = [
        [f"`{kind.__name__}`", logging.getLevelName(kind.level), ", ".join(f"`{each.name}`" for each in fields(kind))]
        for kind in kinds
        if kind is not events.Event
    ]
    assert [row[:3] for row in rows] == expected
    assert all(row[3] for row in rows)


def test_metrics_table() -> None:
    """Every metric is in the table, in its order, with its name in a scrape, its attributes and what it is."""
    _, *rows = SECTIONS["Metrics"].table
    expected = []
    for metric in (*COUNTED, *OBSERVED):
        prometheus = metric.name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "_total")
        attributes: set[str] = set()
        if isinstance(metric, Counted):
            for kind, attributes_of in metric.attributes.items():
                attributes |= attributes_of(kind(*["x" for _ in fields(kind)])).keys()
        else:
            attributes |= {name for _, named in metric.observe([ObservedAuth()]) for name in named}
        expected.append(
            [
                f"`{metric.name}`",
                f"`{prometheus}`",
                ", ".join(f"`{name}`" for name in sorted(attributes)),
                metric.description,
            ]
        )
    assert rows == expected


class ObservedAuth:
    """What metrics read of an `Auth`, and an event of each kind, so that every metric is there."""

    class Verifier:
        verified = cache_hits = 1

        def key_ages(self) -> dict[str, float]:
            return {"https://issuer.example": 1.0}

    class Revocations:
        age = 1.0

    events = events.EventSink()
    verifier = Verifier()
    revocations = Revocations()


@pytest.mark.anyio
async def test_the_metrics_are_scraped_by_these_names() -> None:
    """The names and labels that the table has are those of a real scrape over HTTP."""
    _, *rows = SECTIONS["Metrics"].table
    auth = ObservedAuth()
    with scraped(auth) as scrape:
        for metric in COUNTED:
            for kind in metric.attributes:
                await auth.events.emit(kind(*["x" for _ in fields(kind)]))
        samples = scrape.samples()
    assert samples.keys() == {name.strip("`") for _, name, *_ in rows}
    for _, name, attributes, _ in rows:
        labels = {label for series in samples[name.strip("`")] for label, _ in series}
        assert labels == {each.replace(".", "_") for each in re.findall(r"`(\S+)`", attributes)}, name


def test_alerts_table() -> None:
    """Every alert of the file is in the table, with its threshold."""
    _, *rows = SECTIONS["Alerts"].table
    rules = (files("asgi_jwt") / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    found = re.findall(r"- alert: (\w+)\n.*?\[5m\]\)\) / 5 > (\d+)\"", rules, re.DOTALL)
    assert [row[:2] for row in rows] == [[f"`{name}`", f"{threshold} a minute"] for name, threshold in found]
    assert "asgi_jwt/prometheus/alerts.yml" in TEXT
