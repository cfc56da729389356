"""Telemetry: the cost of exporting counters and traces in the two functions on the hot path, in CPU time.

OpenTelemetry allows one provider per process, so each measurement is a process of its own, with and without in turn.
Run as a module, this is that process: collections on standard input, one a line; seconds of CPU on standard output.
"""

import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import azure.functions as func
from azure.storage.queue import QueueClient
from opentelemetry import metrics, trace

from bench.bystander import Bystander, bodies, function, queue_message, sink
from bench.figure import Figure, at_most
from shared import exporting
from shared.configuration.settings import storage_settings
from shared.relay import storage as storage_clients

MOST = 1.1
"""More than a tenth is not small."""

ROUNDS = 5
POSTS, WARM = 150, 30
ITEMS, SIZE = 8, 2100
INGESTED = b'{"itemsReceived": 1, "itemsAccepted": 1, "errors": []}'
CONNECTION = "APPLICATIONINSIGHTS_CONNECTION_STRING"


def telemetry(around: Bystander) -> list[Figure]:
    """Return the ratio of the CPU time of whole processes, exporters included."""
    with sink(200, INGESTED) as url:
        endpoint = url.removesuffix("events")
        there = {CONNECTION: f"InstrumentationKey={uuid.uuid4()};IngestionEndpoint={endpoint}"}
        pairs = [(_seconds(around, there), _seconds(around, {})) for _ in range(ROUNDS)]
    ratio = sorted(exported / silent for exported, silent in pairs)[ROUNDS // 2]
    each = sorted(exported - silent for exported, silent in pairs)[ROUNDS // 2] / (POSTS - WARM) / ITEMS
    return [
        at_most(
            f"CPU time with telemetry exported, against without ({ITEMS} notifications a POST)",
            ratio,
            MOST,
            f"{ratio:.2f} ({each * 1e6:+.0f} µs a notification)",
        )
    ]


def _seconds(around: Bystander, settings: dict[str, str]) -> float:
    ended = subprocess.run(
        [sys.executable, "-m", __spec__.name],
        input=b"\n".join(bodies(around, POSTS, ITEMS, SIZE)),
        env={**os.environ, **settings, "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true"},
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(ended.stdout)


def _work(collections: list[bytes]) -> float:
    """Process each collection from the POST to the destination; return the CPU seconds of all but the first few."""
    storage_clients().acknowledging.create_missing()
    queue = QueueClient.from_connection_string(storage_settings(os.environ).connection_string, "notifications")
    began = 0.0
    for number, body in enumerate(collections):
        if number == WARM:
            began = time.process_time()
        answer = function("notify_http")(func.HttpRequest("POST", "https://x/api/notifications", body=body))
        if answer.status_code != 202:
            raise AssertionError(answer.status_code)
        for message in queue.receive_messages(max_messages=32):
            function("process_queue")(queue_message(message.id, message.content))
            queue.delete_message(message)
    _flush()
    return time.process_time() - began


def _await_exporter() -> None:
    """The app sets up telemetry in a thread, to be ready sooner; here it must exist from the start."""
    for thread in threading.enumerate():
        if thread.name == exporting.THREAD:
            thread.join()


def _flush() -> None:
    """Send the rest, so that its cost is measured, too."""
    for provider in (metrics.get_meter_provider(), trace.get_tracer_provider()):
        if hasattr(provider, "force_flush"):
            provider.force_flush()


if __name__ == "__main__":
    _await_exporter()
    sys.stdout.write(str(_work(sys.stdin.buffer.read().splitlines())))
