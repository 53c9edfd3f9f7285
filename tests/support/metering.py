"""Metrics as OpenTelemetry's SDK reads them, and as Prometheus scrapes them over HTTP."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric, MetricReader
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from support.waiting import PATIENCE

from asgi_jwt.telemetry import Instrumented, instrument

Series = dict[tuple[tuple[str, str], ...], float]
"""A metric's values, by its attributes."""


class Meter:
    """A provider of its own, and what it has measured."""

    def __init__(self, *readers: MetricReader) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader, *readers], shutdown_on_exit=False)

    def metrics(self) -> dict[str, Metric]:
        """Every metric that has a value, by its name."""
        read = self._reader.get_metrics_data()
        found = (
            [] if read is None else [scope for resource in read.resource_metrics for scope in resource.scope_metrics]
        )
        assert {scope.scope.name for scope in found} <= {"asgi_jwt"}
        return {metric.name: metric for scope in found for metric in scope.metrics}

    def series(self, name: str) -> Series:
        """The values of a metric; those of zero, which only wait for their first event, are left out."""
        metric: Any = self.metrics().get(name)
        points = [] if metric is None else metric.data.data_points
        values = {tuple(sorted(point.attributes.items())): point.value for point in points}
        return {attributes: value for attributes, value in values.items() if value}


@contextmanager
def metered(*auths: Instrumented) -> Iterator[Meter]:
    """What happens in `auths`, in numbers."""
    meter = Meter()
    instrument(*auths, meter_provider=meter.provider)
    yield meter
    meter.provider.shutdown()


@contextmanager
def scraped(*auths: Instrumented) -> Iterator["Scrape"]:
    """The same, for Prometheus."""
    registry = CollectorRegistry()
    provider = MeterProvider([PrometheusMetricReader(registry=registry)], shutdown_on_exit=False)
    instrument(*auths, meter_provider=provider)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        yield Scrape(f"http://127.0.0.1:{server.server_port}/metrics")
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)
        provider.shutdown()


class Scrape:
    """Scrapes over HTTP each time it is asked."""

    def __init__(self, url: str) -> None:
        self._url = url

    def text(self) -> str:
        with httpx2.Client(timeout=PATIENCE, trust_env=False) as client:
            return client.get(self._url).raise_for_status().text

    def families(self) -> Mapping[str, Family]:
        """What is ours, by its name."""
        families = {family.name: family for family in text_string_to_metric_families(self.text())}
        return {name: family for name, family in families.items() if name.startswith("asgi_jwt")}

    def samples(self) -> dict[str, Series]:
        """Every value that is not zero, by the name and the labels that rules know it by."""
        found: dict[str, Series] = {}
        for family in self.families().values():
            for sample in family.samples:
                labels = {name: value for name, value in sample.labels.items() if not name.startswith("otel_scope")}
                if sample.value:
                    found.setdefault(sample.name, {})[tuple(sorted(labels.items()))] = sample.value
        return found
