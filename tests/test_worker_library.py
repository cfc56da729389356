"""The app loads in Azure: indexed and invoked by Microsoft's own worker library."""

import base64
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from shared import relay
from tests.builders import change, environment, minted

if TYPE_CHECKING:
    from tests.worker_library import WorkerLibrary

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 13), reason="Microsoft's worker library needs Python 3.13; older ones run another worker"
)


@pytest.fixture(scope="module")
def worker() -> "Iterator[WorkerLibrary]":
    from tests.worker_library import WorkerLibrary  # noqa: PLC0415 - it cannot be imported below 3.13

    library = WorkerLibrary(ROOT)
    yield library
    library.close()


def test_the_three_functions_are_found_with_their_triggers(worker: "WorkerLibrary") -> None:
    triggers = {name: bindings[0]["type"] for name, bindings in worker.functions.items()}
    assert triggers == {"notify_http": "httpTrigger", "process_queue": "queueTrigger", "renew_timer": "timerTrigger"}


def test_each_function_loads(worker: "WorkerLibrary") -> None:
    for name in worker.functions:
        worker.load(name)


@pytest.mark.parametrize(
    "token", ["Validation: Testing client application reachability for subscription Request-Id: 6f", "<b>&\u00f6 %41+"]
)
def test_a_handshake_is_answered_byte_for_byte(worker: "WorkerLibrary", token: str) -> None:
    status, headers, body = worker.post("notify_http", "req", {"validationToken": token}, b"")
    assert (status, body) == (200, token.encode())
    assert headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b"[]", b'{"value": 5}', b'{"value": [{}]}'])
def test_whatever_is_posted_no_exception_leaves_the_function(worker: "WorkerLibrary", body: bytes) -> None:
    status, _, _ = worker.post("notify_http", "req", {}, body)
    assert 200 <= status < 500 or status == 503


def test_the_storage_sdk_logs_nothing_of_the_requests_that_it_makes(
    worker: "WorkerLibrary", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Azure's worker sends what the root logger lets through, from INFO on, to Application Insights."""
    account = "AccountName=a;AccountKey=a2V5;QueueEndpoint=http://127.0.0.1:9/a;BlobEndpoint=http://127.0.0.1:9/a"
    secret = environment()["CLIENT_STATE_SECRET"]
    given = environment(CLIENT_STATE_SECRET=secret, AzureWebJobsStorage=f"{account};TableEndpoint=http://127.0.0.1:9/a")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    relay.forget()
    body = msgspec.json.encode({"value": [change(clientState=minted(secret=base64.b64decode(secret)))]})
    with caplog.at_level(logging.INFO):
        status, _, _ = worker.post("notify_http", "req", {}, body)
    relay.forget()
    assert status == 503  # the SDK was used
    assert [record for record in caplog.records if record.name.startswith(("azure.", "urllib3"))] == []
