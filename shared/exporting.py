"""Where telemetry goes: to Application Insights if it is configured. Set up by the front door.

Without it, the counters and spans of `shared.telemetry` go nowhere and cost next to nothing; logs are the host's.
"""

import logging
import re
import threading
from collections.abc import Mapping

from azure.core.credentials import TokenCredential

_log = logging.getLogger("graph_relay.telemetry")

EXPORTED_EVERY = 60_000
"""Milliseconds between two exports of the counters."""

THREAD = "telemetry"
"""The name of the thread that sets exporting up."""


def start(environ: Mapping[str, str]) -> None:
    """Begin to export metrics and traces to `APPLICATIONINSIGHTS_CONNECTION_STRING`, if that is set.

    Returns at once: the exporter takes a second or two to import, and a cold start has three to answer.
    """
    connection = environ.get("APPLICATIONINSIGHTS_CONNECTION_STRING", "").strip()
    if connection:
        authentication = environ.get("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "")
        threading.Thread(target=_start, args=(connection, authentication), name=THREAD, daemon=True).start()


def _start(connection: str, authentication: str) -> None:
    try:
        _export(connection, authentication)
    except (ImportError, ValueError) as error:
        # The app does its work without; the text of the error may quote the setting.
        _log.error(
            "Telemetry is not exported (%s). APPLICATIONINSIGHTS_CONNECTION_STRING: expected the connection string "
            "of an Application Insights resource",
            type(error).__name__,
        )


def _export(connection: str, authentication: str) -> None:
    from azure.monitor.opentelemetry.exporter import (  # noqa: PLC0415 - see `start`
        AzureMonitorMetricExporter,
        AzureMonitorTraceExporter,
    )
    from opentelemetry import metrics, trace  # noqa: PLC0415
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    # What can't be sent is dropped, not written to the disk of the instance.
    options = {
        "connection_string": connection,
        "credential": _credential(authentication),
        "disable_offline_storage": True,
    }
    reader = PeriodicExportingMetricReader(AzureMonitorMetricExporter(**options), EXPORTED_EVERY)
    metrics.set_meter_provider(MeterProvider([reader]))
    traces = TracerProvider()
    traces.add_span_processor(BatchSpanProcessor(AzureMonitorTraceExporter(**options)))
    trace.set_tracer_provider(traces)


def _credential(authentication: str) -> TokenCredential | None:
    """Read `Authorization=AAD;ClientId=…`, the form that the Functions host has for its own telemetry."""
    if not re.search(r"(?i)Authorization=AAD", authentication):
        return None
    from azure.identity import ManagedIdentityCredential  # noqa: PLC0415

    named = re.search(r"(?i)ClientId=([0-9a-f-]{36})", authentication)
    return ManagedIdentityCredential(client_id=named[1] if named else None)
