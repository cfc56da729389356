"""Export of telemetry: to a server that stands where Application Insights' ingestion would."""

import gzip
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.authority import Authority
from tests.servers import Answer, Asked, Server, serving

ROOT = Path(__file__).parents[2]

PROGRAM = """
import os, sys, threading
from shared import exporting, telemetry
exporting.start(os.environ)
for thread in threading.enumerate():
    if thread.name == "telemetry":
        thread.join()
telemetry.DELIVERED.add(7)
with telemetry.span("notify_http"):
    parent = telemetry.traceparent()
with telemetry.span("process_queue", parent):
    pass
from opentelemetry import metrics, trace
for provider in (metrics.get_meter_provider(), trace.get_tracer_provider()):
    if hasattr(provider, "force_flush"):
        provider.force_flush()
print(parent)
"""


@pytest.fixture
def ingestion(authority: Authority) -> Iterator[Server]:
    def taken(asked: Asked) -> Answer:
        count = len(sent([asked]))
        body = json.dumps({"itemsReceived": count, "itemsAccepted": count, "errors": []}).encode()
        return Answer(200, body, {"Content-Type": "application/json"})

    with serving(taken, authority) as server:
        yield server


def run(authority: Authority, connection: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={
            "PATH": "",
            "REQUESTS_CA_BUNDLE": str(authority.ca),
            "APPLICATIONINSIGHTS_CONNECTION_STRING": connection,
            "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def sent(asked: list[Asked]) -> list[dict[str, object]]:
    items: list[dict[str, object]] = []
    for one in asked:
        body = gzip.decompress(one.body) if one.headers.get("content-encoding") == "gzip" else one.body
        found = json.loads(body or b"[]")
        items += found if isinstance(found, list) else [found]
    return items


def test_counters_and_one_trace_across_the_queue_are_exported(authority: Authority, ingestion: Server) -> None:
    ended = run(authority, f"InstrumentationKey={uuid.uuid4()};IngestionEndpoint={ingestion.url}/")
    assert ended.returncode == 0, ended.stderr
    text = json.dumps(sent(ingestion.asked))
    trace_id = ended.stdout.strip().split("-")[1]
    assert "graph_relay.delivered" in text
    assert [name for name in ("notify_http", "process_queue") if f'"{name}"' not in text] == []
    tags = [item["tags"] for item in sent(ingestion.asked)]
    operations = [one["ai.operation.id"] for one in tags if isinstance(one, dict) and "ai.operation.id" in one]
    assert set(operations) == {trace_id}


def test_a_wrong_connection_string_is_named_and_costs_nothing_else(authority: Authority) -> None:
    ended = run(authority, "InstrumentationKey=not-a-key-at-all")
    assert ended.returncode == 0
    assert "APPLICATIONINSIGHTS_CONNECTION_STRING" in ended.stderr
    assert "not-a-key-at-all" not in ended.stderr


def test_without_the_setting_nothing_is_traced(authority: Authority) -> None:
    ended = run(authority, "")
    assert (ended.returncode, ended.stdout.strip()) == (0, "")
