"""Requests of every mode, as the CloudEvents SDK for JavaScript reads and validates them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops.samples import samples
from shared.configuration.destinations import Mode
from shared.delivery.event import Event
from shared.delivery.request import RequestFormat, partition_key
from tests.examples.conftest import NODE_PACKAGES
from tests.shared.delivery.test_request import event

pytestmark = pytest.mark.process
PROGRAM = Path(__file__).parent / "read_event.mjs"


def read(requests: list[dict[str, Any]], folder: Path) -> list[list[dict[str, Any]]]:
    """Return what the SDK reads from each request."""
    if not NODE_PACKAGES.exists():
        pytest.skip("the CloudEvents SDK is not installed: python tools/setup.py --tests")
    node = shutil.which("node") or str(Path(sys.executable).parent / "node")
    (folder / "node_modules").symlink_to(NODE_PACKAGES)
    program = shutil.copy(PROGRAM, folder)
    lines = "\n".join(map(json.dumps, requests))
    done = subprocess.run([node, program], input=lines, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def request(mode: Mode, *events: Event) -> dict[str, Any]:
    form = RequestFormat(mode)
    (batch,) = form.batches(events)
    headers = {name.lower(): value for name, value in form.content_headers(batch).items()}
    return {"headers": headers, "body": form.body(batch).decode()}


def test_the_sdk_reads_and_validates_the_requests_of_every_mode(tmp_path: Path) -> None:
    single, *others = [event(), *samples()[:4]]
    asked = [request(Mode.STRUCTURED, single), request(Mode.BATCH, single, *others)]
    structured, batch = read(asked, tmp_path)
    for found, sent in zip([*structured, *batch], [single, single, *others], strict=True):
        assert (found["id"], found["source"], found["subject"]) == (sent.id, sent.source, sent.subject)
        assert (found["type"], found["version"], found["partitionkey"]) == (
            sent.type,
            sent.version,
            partition_key(sent),
        )
        assert found["data"] == json.loads(bytes(sent.data))


def test_the_sdk_reads_binary_mode_and_leaves_headers_encoded(tmp_path: Path) -> None:
    """Version 10 of the SDK does not decode percent-encoded headers; ASCII ids need no encoding."""
    plain = samples()[0]
    (found,) = read([request(Mode.BINARY, plain)], tmp_path)[0]
    assert (found["id"], found["type"]) == (plain.id, plain.type)
    assert found["data"] == json.loads(bytes(plain.data))
