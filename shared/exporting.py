"""The export of telemetry: to Application Insights, to the console, or disabled. Set up by `function_app.py`.

Without an exporter, the counters and spans of `shared.telemetry` cost almost nothing. The host exports logs.
"""

import logging
import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from azure.core.credentials import TokenCredential

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_log = logging.getLogger("graph_relay.telemetry")

EXPORTED_EVERY = 60_000
"""Milliseconds between two exports of the counters."""

FLUSH_WITHIN = 5_000
"""Milliseconds that `flush` may take for each provider."""

THREAD = "telemetry"
"""The name of the thread that sets up the export."""

_INSIGHTS = "APPLICATIONINSIGHTS_CONNECTION_STRING"
_METRICS = "OTEL_METRICS_EXPORTER"
_TRACES = "OTEL_TRACES_EXPORTER"
_CONSOLE = "console"

_providers: "list[MeterProvider | TracerProvider]" = []
_problems: list[str] = []
"""Why nothing is exported: logged by `flush`, since the worker drops log records of threads without an invocation."""


def start(environ: Mapping[str, str]) -> None:
    """Begin to export metrics and traces, if the environment configures it.

    `APPLICATIONINSIGHTS_CONNECTION_STRING`: to that resource. `OTEL_METRICS_EXPORTER` and `OTEL_TRACES_EXPORTER`,
    standard OpenTelemetry variables: `console` for standard output, a line each.

    Returns at once: importing an exporter takes one or two seconds, and a cold start has three to answer.
    """
    exporters = {name: environ.get(name, "").strip() for name in (_INSIGHTS, _METRICS, _TRACES)}
    if exporters[_INSIGHTS] or _CONSOLE in (exporters[_METRICS], exporters[_TRACES]):
        authentication = environ.get("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "")
        threading.Thread(target=_start, args=(exporters, authentication), name=THREAD, daemon=True).start()


def flush() -> None:
    """Export the current counts. Call it at the end of an invocation whose counts must not be lost: the Functions host
    kills the worker without a signal, before the next regular export.
    """
    for problem in _problems:
        _log.error("%s", problem)
    for provider in _providers:
        provider.force_flush(FLUSH_WITHIN)


def _start(exporters: Mapping[str, str], authentication: str) -> None:
    metrics, traces = _to_console(exporters)
    if exporters[_INSIGHTS]:
        try:
            to_insights = _to_insights(exporters[_INSIGHTS], authentication)
        except (ImportError, ValueError) as error:
            # The app works without telemetry. The text of the error may quote the setting.
            _problems.append(
                f"Telemetry is not exported ({type(error).__name__}). APPLICATIONINSIGHTS_CONNECTION_STRING: expected "
                "the connection string of an Application Insights resource"
            )
        else:
            metrics.append(to_insights[0])
            traces.append(to_insights[1])
    _export(metrics, traces)


def _to_console(exporters: Mapping[str, str]) -> "tuple[list[MetricExporter], list[SpanExporter]]":
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter  # noqa: PLC0415 - see `start`
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415

    metrics: list[MetricExporter] = []
    traces: list[SpanExporter] = []
    if exporters[_METRICS] == _CONSOLE:
        in_line = ConsoleMetricExporter(
            formatter=lambda data: f"{data.to_json(indent=None)}\n", preferred_temporality=_temporality()
        )
        metrics.append(in_line)
    if exporters[_TRACES] == _CONSOLE:
        traces.append(ConsoleSpanExporter(formatter=lambda span: f"{span.to_json(indent=None)}\n"))
    return metrics, traces


def _to_insights(connection: str, authentication: str) -> "tuple[MetricExporter, SpanExporter]":
    from azure.monitor.opentelemetry.exporter import (  # noqa: PLC0415
        AzureMonitorMetricExporter,
        AzureMonitorTraceExporter,
    )
    from opentelemetry.sdk.metrics.export import MetricExporter  # noqa: PLC0415

    # Unsent telemetry is dropped, not written to the disk of the instance.
    options = {
        "connection_string": connection,
        "credential": _credential(authentication),
        "disable_offline_storage": True,
    }
    metrics = AzureMonitorMetricExporter(**options)
    # Its own table omits gauges, and it accepts no other table.
    MetricExporter.__init__(metrics, preferred_temporality=_temporality())
    return metrics, AzureMonitorTraceExporter(**options)


def _temporality() -> "dict[type, AggregationTemporality]":
    """Export each value once: a repeated gauge would look current when nobody measures any more."""
    from opentelemetry.sdk.metrics import Counter, Histogram  # noqa: PLC0415
    from opentelemetry.sdk.metrics._internal.instrument import Gauge  # noqa: PLC0415 - has no public name
    from opentelemetry.sdk.metrics.export import AggregationTemporality  # noqa: PLC0415

    return dict.fromkeys((Counter, Gauge, Histogram), AggregationTemporality.DELTA)


def _export(metric_exporters: "list[MetricExporter]", span_exporters: "list[SpanExporter]") -> None:
    from opentelemetry import metrics, trace  # noqa: PLC0415
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    if metric_exporters:
        readers = [PeriodicExportingMetricReader(exporter, EXPORTED_EVERY) for exporter in metric_exporters]
        meters = MeterProvider(readers)
        metrics.set_meter_provider(meters)
        _providers.append(meters)
    if span_exporters:
        provider = TracerProvider()
        for exporter in span_exporters:
            provider.add_span_processor(BatchSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        _providers.append(provider)


def _credential(authentication: str) -> TokenCredential | None:
    """Read `Authorization=AAD;ClientId=…`, the form that the Functions host uses for its own telemetry."""
    if not re.search(r"(?i)Authorization=AAD", authentication):
        return None
    from azure.identity import ManagedIdentityCredential  # noqa: PLC0415

    named = re.search(r"(?i)ClientId=([0-9a-f-]{36})", authentication)
    return ManagedIdentityCredential(client_id=named[1] if named else None)
