"""Export of telemetry: to a server in place of Application Insights' ingestion."""

import gzip
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from graph_simulator.authority import Authority
from tests.servers import RecordedRequest, ScriptedResponse, Server, serving

pytestmark = pytest.mark.process

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
telemetry.KEY_AGE_SECONDS.set(9)
for _ in range(2):
    exporting.flush()
print(parent, flush=True)
os._exit(0)  # as the host ends the worker: without the collection that a provider makes at its end
"""


@pytest.fixture
def ingestion(authority: Authority) -> Iterator[Server]:
    def taken(request: RecordedRequest) -> ScriptedResponse:
        count = len(sent([request]))
        body = json.dumps({"itemsReceived": count, "itemsAccepted": count, "errors": []}).encode()
        return ScriptedResponse(200, body, {"Content-Type": "application/json"})

    with serving(taken, authority) as server:
        yield server


def run(authority: Authority, connection: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={
            "PATH": "",
            "REQUESTS_CA_BUNDLE": str(authority.ca),
            "APPLICATIONINSIGHTS_CONNECTION_STRING": connection,
            "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def sent(asked: list[RecordedRequest]) -> list[dict[str, object]]:
    items: list[dict[str, object]] = []
    for request in asked:
        body = gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
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
    operations = [tag["ai.operation.id"] for tag in tags if isinstance(tag, dict) and "ai.operation.id" in tag]
    assert set(operations) == {trace_id}


def test_each_value_is_exported_once_a_gauge_too(authority: Authority, ingestion: Server) -> None:
    ended = run(authority, f"InstrumentationKey={uuid.uuid4()};IngestionEndpoint={ingestion.url}/")
    assert ended.returncode == 0, ended.stderr
    text = json.dumps(sent(ingestion.asked))
    assert [text.count(name) for name in ("graph_relay.delivered", "graph_relay.key_age_seconds")] == [1, 1]


def test_a_wrong_connection_string_is_reported_and_affects_nothing_else(authority: Authority) -> None:
    ended = run(authority, "InstrumentationKey=not-a-key-at-all")
    assert ended.returncode == 0
    assert "APPLICATIONINSIGHTS_CONNECTION_STRING" in ended.stderr
    assert "not-a-key-at-all" not in ended.stderr


@pytest.mark.parametrize("environ", [{}, {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "otlp"}])
def test_without_the_setting_nothing_is_exported(authority: Authority, environ: dict[str, str]) -> None:
    ended = run(authority, **environ)
    assert (ended.returncode, ended.stdout.strip()) == (0, "")


def test_the_console_exports_spans_only_on_request(authority: Authority) -> None:
    *spans, parent = run(authority, OTEL_TRACES_EXPORTER="console").stdout.splitlines()
    assert [json.loads(line)["name"] for line in spans] == ["notify_http", "process_queue"]
    assert {json.loads(line)["context"]["trace_id"] for line in spans} == {"0x" + parent.split("-")[1]}


def test_the_console_exports_metrics_only_on_request(authority: Authority) -> None:
    output = run(authority, OTEL_METRICS_EXPORTER="console").stdout
    assert output.count("graph_relay.key_age_seconds") == 1
    assert {key for line in output.splitlines() if line for key in json.loads(line)} == {"resource_metrics"}


def test_the_console_exports_beside_application_insights(authority: Authority, ingestion: Server) -> None:
    connection = f"InstrumentationKey={uuid.uuid4()};IngestionEndpoint={ingestion.url}/"
    ended = run(authority, connection, OTEL_TRACES_EXPORTER="console")
    assert '"notify_http"' in ended.stdout
    assert '"notify_http"' in json.dumps(sent(ingestion.asked))
