"""Queue functions on the local host, against Azurite: the semantics of the Functions host's listener."""

import base64
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import azure.functions as func
import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from local.host.queues import polling_delays
from local.host.waits import LEASE_SETTING
from shared.configuration.settings import StorageSettings
from tests.local.host.conftest import Settings, queue_app
from tests.local.host.in_thread import running
from tests.rerouted import all_but_deletion, rerouted
from tests.servers import ScriptedResponse, serving
from tests.waiting import LIMIT, eventually

HostJson = Callable[..., Path]


def is_empty(queue: QueueClient) -> bool:
    """Whether the queue has no messages, hidden ones included."""
    return queue.get_queue_properties().approximate_message_count == 0


def poison_of(queue: QueueClient, settings: Settings) -> list[str]:
    """The content of the poison queue; empty if the queue does not exist."""
    name = f"{queue.queue_name}-poison"
    with QueueClient.from_connection_string(settings["AzureWebJobsStorage"], name) as client:
        try:
            return [message.content for message in client.peek_messages(32)]
        except ResourceNotFoundError:
            return []


def test_a_message_arrives_whole_and_is_then_gone(queue: QueueClient, settings: Settings, host_json: HostJson) -> None:
    seen: list[func.QueueMessage] = []
    queue.create_queue()
    with running(queue_app(seen.append), settings, host_json=host_json()):
        sent = queue.send_message('{"text": "<ö>"}')
        eventually(lambda: seen)
        eventually(lambda: is_empty(queue))
    (message,) = seen
    assert message.get_json() == {"text": "<ö>"}
    assert (message.id, message.dequeue_count) == (sent.id, 1)
    assert message.pop_receipt
    assert message.insertion_time is not None
    assert message.expiration_time is not None
    assert message.insertion_time <= datetime.now(UTC) < message.expiration_time


def test_what_fails_is_tried_again_and_at_last_set_aside(
    queue: QueueClient, settings: Settings, host_json: HostJson
) -> None:
    counts: list[int | None] = []

    def call(message: func.QueueMessage) -> None:
        counts.append(message.dequeue_count)
        raise ValueError

    queue.create_queue()
    queue.send_message("hopeless")
    with running(queue_app(call), settings, host_json=host_json(maxDequeueCount=3)):
        eventually(lambda: poison_of(queue, settings) == ["hopeless"])
        eventually(lambda: is_empty(queue))
    assert counts == [1, 2, 3]


def test_a_failed_message_is_hidden_for_the_visibility_timeout(
    queue: QueueClient, settings: Settings, host_json: HostJson
) -> None:
    tries: list[float] = []

    def call(_: func.QueueMessage) -> None:
        tries.append(time.monotonic())
        if len(tries) == 1:
            raise ValueError

    queue.create_queue()
    queue.send_message("again")
    with running(queue_app(call), settings, host_json=host_json(visibilityTimeout="00:00:03")):
        eventually(lambda: len(tries) == 2)
    assert tries[1] - tries[0] > 2  # Azurite counts whole seconds


def test_base64_is_decoded_where_host_json_asks_for_it(
    queue: QueueClient, settings: Settings, host_json: HostJson
) -> None:
    bodies: list[bytes] = []
    queue.create_queue()
    queue.send_message(base64.b64encode(b"\xffbytes").decode())
    queue.send_message("no base64!")
    options = {"messageEncoding": "base64", "maxDequeueCount": 5}
    with running(
        queue_app(lambda message: bodies.append(message.get_body())), settings, host_json=host_json(**options)
    ):
        eventually(lambda: poison_of(queue, settings) == ["no base64!"])  # at its first receive
        eventually(lambda: is_empty(queue))
    assert bodies == [b"\xffbytes"]


def test_no_more_messages_run_at_once_than_a_batch_and_a_threshold(
    queue: QueueClient, settings: Settings, host_json: HostJson
) -> None:
    lock, release = threading.Lock(), threading.Event()
    at_work: list[int] = [0]
    most: list[int] = [0]

    def call(_: func.QueueMessage) -> None:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        release.wait(0.05)
        with lock:
            at_work[0] -= 1

    queue.create_queue()
    for number in range(40):
        queue.send_message(str(number))
    threads = {"PYTHON_THREADPOOL_THREAD_COUNT": "20"}
    with running(queue_app(call), {**settings, **threads}, host_json=host_json(batchSize=4, newBatchThreshold=2)):
        eventually(lambda: is_empty(queue))
    assert 4 <= most[0] <= 6


def test_a_function_may_take_longer_than_the_lease(queue: QueueClient, settings: Settings, host_json: HostJson) -> None:
    calls: list[int | None] = []

    def call(message: func.QueueMessage) -> None:
        calls.append(message.dequeue_count)
        time.sleep(7)  # while the lease of four seconds is renewed every two

    queue.create_queue()
    queue.send_message("slow")
    with running(queue_app(call), {**settings, LEASE_SETTING: "4"}, host_json=host_json()):
        eventually(lambda: is_empty(queue))
    assert calls == [1]


@pytest.mark.parametrize("lasts", [0, 3], ids=["until-it-settles", "until-it-renews-the-lease"])
def test_a_message_that_another_host_has_taken_over_is_left_to_it(
    lasts: int, queue: QueueClient, settings: Settings, host_json: HostJson
) -> None:
    bodies: list[bytes] = []

    def call(message: func.QueueMessage) -> None:
        bodies.append(message.get_body())
        if message.get_body() == b"taken":
            queue.update_message(str(message.id), message.pop_receipt, visibility_timeout=600)
            time.sleep(lasts)

    queue.create_queue()
    queue.send_message("taken")
    with running(queue_app(call), {**settings, LEASE_SETTING: "4"}, host_json=host_json(batchSize=1)):
        eventually(lambda: bodies == [b"taken"])
        queue.send_message("next")
        eventually(lambda: bodies == [b"taken", b"next"])
        eventually(lambda: queue.get_queue_properties().approximate_message_count == 1)


@pytest.mark.parametrize("code", ["QueueBeingDeleted", "QueueDisabled"])
def test_a_message_that_no_host_can_delete_now_does_not_end_the_host(
    code: str, queue: QueueClient, settings: Settings, host_json: HostJson
) -> None:
    bodies: list[bytes] = []
    account = StorageSettings("any", settings["AzureWebJobsStorage"])
    refusal = ScriptedResponse(409, headers={"x-ms-error-code": code})
    queue.create_queue()
    queue.send_message("first")
    with serving(all_but_deletion(account, "Queue", refusal)) as server:
        away = {"AzureWebJobsStorage": rerouted(account, "Queue", server.url).connection_string}
        with running(queue_app(lambda m: bodies.append(m.get_body())), settings | away, host_json=host_json()):
            eventually(lambda: bodies == [b"first"])
            eventually(lambda: any(asked.method == "DELETE" for asked in server.asked))
            queue.send_message("second")
            eventually(lambda: bodies == [b"first", b"second"])


def test_what_runs_when_the_host_is_asked_to_end_is_finished(
    queue: QueueClient, settings: Settings, host_json: HostJson
) -> None:
    begun = threading.Event()

    def call(_: func.QueueMessage) -> None:
        begun.set()
        time.sleep(1)

    queue.create_queue()
    queue.send_message("last")
    with running(queue_app(call), settings, host_json=host_json()):
        assert begun.wait(LIMIT)
    assert is_empty(queue)


@pytest.mark.process
def test_an_outage_of_storage_only_delays(host_json: HostJson, tmp_path: Path) -> None:
    seen: list[bytes] = []
    with Azurite(tmp_path / "azurite") as azurite:
        settings = {"AzureWebJobsStorage": azurite.connection_string, "SOME_QUEUE": "outage"}
        queue = QueueClient.from_connection_string(azurite.connection_string, "outage")
        queue.create_queue()
        with queue, running(queue_app(lambda m: seen.append(m.get_body())), settings, host_json=host_json()):
            azurite.stop()
            azurite.start()
            queue.send_message("after")
            eventually(lambda: seen == [b"after"])


@pytest.mark.parametrize("seed", range(5))
def test_polling_slows_down_to_the_longest_interval_while_nothing_comes(seed: int) -> None:
    delays = list(islice(polling_delays(timedelta(seconds=1), random.Random(seed)), 8))
    assert delays[0] == pytest.approx(0.1)
    assert delays == sorted(delays)
    assert delays[-1] == 1
