"""The functions host as somebody hunting for a fault would have it: every logger at DEBUG, every span printed, and
every exception that leaves a function logged with its traceback, as Azure's host does.
"""

import logging
import sys
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from local.host import __main__ as host
from local.host import http, queues, server, worker
from local.host.functions import Function
from local.host.process import HostProcess

QUIETED = ("azure.core", "azure.storage", "azure.data", "azure.identity", "uvicorn.error", "uvicorn.access")
"""Loggers below those that the host quiets."""


class TalkativeHost(HostProcess):
    """A host process that says all it knows."""

    def _command(self) -> list[str]:
        _, _, _, *arguments = super()._command()
        return [sys.executable, "-m", __name__, *arguments]


class TalkativeWorker(worker.Worker):
    """Says when a function has ended."""

    async def call(self, function: Function, value: object) -> Any:
        try:
            return await super().call(function, value)
        finally:
            logging.getLogger("worker").debug("%s ended", function.name)


def report_in_full(function: Function, error: Exception) -> None:
    """Log what a function raised, whatever its message holds."""
    logging.getLogger("worker").error("%s failed", function.name, exc_info=error)


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG)
    for name in QUIETED:
        logging.getLogger(name).setLevel(logging.DEBUG)
    for module in (worker, http, queues, server):
        module.report_failure = report_in_full  # type: ignore[attr-defined]
    server.Worker = TalkativeWorker  # type: ignore[attr-defined]
    traces = TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    trace.set_tracer_provider(traces)
    host.main()
