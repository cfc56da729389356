"""The app's own counters, kept in memory and shown as JSON; in Azure they are exported instead."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric


@cache
def reader() -> InMemoryMetricReader:
    """Return the reader of this process's metrics; the first call starts collecting."""
    collecting = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([collecting]))
    return collecting


def current() -> list[dict[str, Any]]:
    """Return the counters since the process started: name and attributes with a value, or a count and a sum."""
    collected = reader().get_metrics_data()
    if collected is None:
        return []
    return [
        point
        for resource in collected.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in points_of(metric)
    ]


def points_of(metric: Metric) -> Iterator[dict[str, Any]]:
    """Yield the points of one metric, one for each set of attributes."""
    for point in metric.data.data_points:
        named = {"name": metric.name, "attributes": dict(point.attributes or {})}
        if isinstance(point, HistogramDataPoint):
            yield {**named, "count": point.count, "sum": point.sum}
        else:
            yield {**named, "value": getattr(point, "value", None)}
