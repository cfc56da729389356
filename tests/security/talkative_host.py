"""The functions host with maximum logging: every logger at DEBUG, records of every thread, and
every span printed.
"""

import logging
import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from local.host import __main__ as host
from local.host import invoker
from local.host.process import HostProcess

QUIETED = (
    "azure.core",
    "azure.storage",
    "azure.data",
    "azure.identity",
    "urllib3.connectionpool",
    "uvicorn.error",
    "uvicorn.access",
    "urllib3",
    "msal",
)
"""Loggers below those that the app, the host or its worker silences: the worker sets the root to INFO."""


CATEGORIES = ("default", "Function", "Function.*.User")
"""The categories whose level host.json sets."""


class TalkativeHost(HostProcess):
    """A host process with maximum logging."""

    def _command(self) -> list[str]:
        _, _, _, *arguments = super()._command()
        return [sys.executable, "-m", __name__, *arguments]

    def _environment(self) -> dict[str, str]:
        levels = {f"AzureFunctionsJobHost__logging__logLevel__{name}": "Trace" for name in CATEGORIES}
        return {**super()._environment(), **levels}


def every_record(_: invoker.InvocationFilter, record: logging.LogRecord) -> bool:
    """Pass a record, with or without an invocation."""
    record.__dict__["function"] = invoker.invocation.get()
    return True


if __name__ == "__main__":  # of the host, and of its worker
    for name in QUIETED:
        logging.getLogger(name).setLevel(logging.DEBUG)
    invoker.InvocationFilter.filter = every_record  # type: ignore[assignment, method-assign]
    traces = TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    trace.set_tracer_provider(traces)
    host.main()
