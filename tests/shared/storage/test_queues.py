"""The queues: what the app relies on, with both implementations; and failures that only Azure has."""

import base64
import re
import secrets
import socket
from datetime import timedelta
from pathlib import Path
from xml.sax.saxutils import unescape

import pytest
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from shared.configuration.settings import SettingsError, StorageSettings
from shared.configuration.settings import storage_settings as settings_of
from shared.errors import AlreadyProcessed, Reason, RetryLater
from shared.storage.account import ACKNOWLEDGE_LIMITS, TimeLimits
from shared.storage.claim_check import ClaimCheck, Opened
from shared.storage.queues import BATCH_SIZE, MESSAGE_LIMIT, PROBE, Queue, Queues
from tests import accounts
from tests.builders import environment
from tests.rerouted import refuses, rerouted
from tests.servers import RESET, RecordedRequest, ScriptedResponse, serving
from tests.shared.storage.stored import blobs
from tests.waiting import LIMIT

LONG = "x" * (MESSAGE_LIMIT + 1)

TAKEN = b"""<?xml version="1.0" encoding="utf-8"?>
<QueueMessagesList><QueueMessage>
<MessageId>1</MessageId><PopReceipt>r</PopReceipt>
<InsertionTime>Thu, 26 Nov 2026 12:00:00 GMT</InsertionTime>
<ExpirationTime>Thu, 26 Nov 2026 12:01:01 GMT</ExpirationTime>
<TimeNextVisible>Thu, 26 Nov 2026 12:01:00 GMT</TimeNextVisible>
</QueueMessage></QueueMessagesList>"""
"""Azure's answer to a message that it has queued."""


def received(queues: Queues, queue: Queue = Queue.NOTIFICATIONS) -> list[str]:
    return [message.text for message in queues.receive(queue, timedelta(minutes=1))]


def test_a_text_is_queued_as_it_is_and_a_missing_queue_is_created(queues: Queues) -> None:
    queues.send('{"a": "<&>\\u00e9"}')
    assert received(queues) == ['{"a": "<&>\\u00e9"}']


@pytest.mark.parametrize("letter", ["x", '"', "<", "&"])
def test_a_text_at_the_limit_is_a_message_and_one_beyond_it_a_claim(
    queues: Queues, claims: ClaimCheck, letter: str
) -> None:
    queues.send(letter * MESSAGE_LIMIT)
    queues.send(letter * (MESSAGE_LIMIT + 1))
    whole, claim = received(queues)
    assert claims.open(whole) == Opened(letter * MESSAGE_LIMIT)
    opened = claims.open(claim)
    assert opened.text == letter * (MESSAGE_LIMIT + 1)
    assert opened.blob is not None


def test_whether_one_may_write_is_tried_without_a_trace(queues: Queues) -> None:
    queues.try_write()  # the first message would create the queue, too
    assert (queues.length(), received(queues)) == (0, [])


def test_a_queue_without_write_access_is_reported(storage_settings: StorageSettings) -> None:
    with serving(refuses) as server, pytest.raises(RetryLater):
        accounts.queues(rerouted(storage_settings, "Queue", server.url)).try_write()


def test_what_a_check_of_access_leaves_has_the_text_that_the_app_ignores(storage_settings: StorageSettings) -> None:
    """The queue takes the message, and the process can't delete it."""

    def take(request: RecordedRequest) -> ScriptedResponse:
        if request.method != "POST":
            return ScriptedResponse(201 if request.method == "PUT" else 503)
        return ScriptedResponse(201, TAKEN, {"Content-Type": "application/xml"})

    with serving(take) as server, pytest.raises(RetryLater):
        accounts.queues(rerouted(storage_settings, "Queue", server.url)).try_write()
    (sent,) = [request for request in server.asked if request.method == "POST"]
    assert unescape(sent.body.decode()).count(f"<MessageText>{PROBE}</MessageText>") == 1


def test_what_could_not_be_queued_leaves_no_blob(storage_settings: StorageSettings) -> None:
    accounts.queues(storage_settings).create_missing()
    with serving(refuses) as server:
        queueless = accounts.queues(rerouted(storage_settings, "Queue", server.url))
        for queue in (Queue.NOTIFICATIONS, Queue.DEAD_LETTERS):
            with pytest.raises(RetryLater):
                queueless.send(LONG, queue)
    assert blobs(storage_settings) == []


def test_a_message_whose_response_was_lost_is_a_duplicate(
    storage_settings: StorageSettings,
) -> None:
    queues, claims = accounts.queues(storage_settings), accounts.claims(storage_settings)
    queue = QueueClient.from_connection_string(storage_settings.connection_string, storage_settings.queue)
    queues.create_missing()

    def enqueues_and_breaks_off(request: RecordedRequest) -> ScriptedResponse:
        queue.send_message(re.findall(b"claim:[0-9a-f-]+", request.body)[0].decode())
        return RESET

    once = TimeLimits(connect=1, read=1, retries=0, backoff=0)
    with serving(enqueues_and_breaks_off) as server:
        deaf = accounts.queues(rerouted(storage_settings, "Queue", server.url), once)
        with pytest.raises(RetryLater):
            deaf.send(LONG)
    queues.send(LONG)
    duplicate, again = received(queues)
    with pytest.raises(AlreadyProcessed) as gone:
        claims.open(duplicate)
    assert gone.value.reason is Reason.CLAIM_GONE
    assert claims.open(again).text == LONG


def test_a_delayed_text_is_in_the_queue_and_not_yet_visible(queues: Queues) -> None:
    queues.create_missing()
    assert queues.length() == 0
    queues.send("later", delay=timedelta(days=6))
    assert received(queues) == []
    assert queues.length() == 1


def test_messages_never_expire(queues: Queues) -> None:
    queues.send("kept")
    queues.send("kept too", Queue.DEAD_LETTERS)
    (message,) = queues.receive(Queue.NOTIFICATIONS, timedelta(minutes=1))
    (peeked,) = queues.peek(Queue.DEAD_LETTERS)
    assert message.never_expires
    assert peeked.never_expires
    assert message.expires.year == 9999


def test_dead_letters_have_a_queue_of_their_own(queues: Queues, claims: ClaimCheck) -> None:
    queues.send("dead", Queue.DEAD_LETTERS)
    queues.send(LONG, Queue.DEAD_LETTERS)
    queues.create_missing()
    assert received(queues) == []
    dead, claim = received(queues, Queue.DEAD_LETTERS)
    assert dead == "dead"
    assert claims.open(claim).text == LONG


def test_what_is_missing_may_be_created_again_and_again(queues: Queues) -> None:
    queues.create_missing()
    queues.create_missing()
    assert received(queues) == received(queues, Queue.DEAD_LETTERS) == []


def test_one_call_receives_or_peeks_at_32_messages_at_most(
    queues: Queues,
) -> None:
    for number in range(BATCH_SIZE + 1):
        queues.send(str(number))
    assert [message.text for message in queues.peek(Queue.NOTIFICATIONS, 2)] == ["0", "1"]
    assert len(received(queues)) == BATCH_SIZE
    assert len(received(queues)) == 1


@pytest.mark.parametrize("queue", Queue, ids=repr)
def test_a_queue_that_does_not_exist_is_empty(queues: Queues, queue: Queue) -> None:
    assert queues.length(queue) == 0
    assert queues.peek(queue) == queues.receive(queue, timedelta(minutes=1)) == []


def test_a_received_message_is_hidden_until_it_is_released_or_deleted(queues: Queues) -> None:
    queues.send("one")
    (first,) = queues.receive(Queue.NOTIFICATIONS, timedelta(minutes=10))
    assert (first.text, queues.peek(Queue.NOTIFICATIONS)) == ("one", [])
    queues.release(first)
    (again,) = queues.receive(Queue.NOTIFICATIONS, timedelta(minutes=10))
    assert again.id == first.id
    queues.release(first)  # an outdated receipt does nothing, and raises nothing
    queues.delete(first)
    assert queues.length() == 1
    queues.delete(again)
    queues.delete(again)
    assert queues.length() == 0


def test_many_texts_are_queued_together_long_ones_among_them(queues: Queues, claims: ClaimCheck) -> None:
    texts = [*(f"text {number}" for number in range(20)), LONG]
    queues.send_all(texts, within=timedelta(seconds=LIMIT))
    got: list[str] = []
    while more := received(queues):
        got += [claims.open(message).text for message in more]
    assert sorted(got) == sorted(texts)


def test_nothing_to_queue_is_queued_without_storage(tmp_path: Path) -> None:
    nowhere = StorageSettings("q-any", Azurite(tmp_path).connection_string)
    accounts.queues(nowhere, ACKNOWLEDGE_LIMITS).send_all([], within=timedelta(0))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> StorageSettings:
    """A storage account where no server listens."""
    return StorageSettings("q-stopped", Azurite(tmp_path_factory.mktemp("stopped")).connection_string)


def test_while_storage_is_stopped_the_acknowledging_queues_say_so_within_their_limit(stopped: StorageSettings) -> None:
    with pytest.raises(RetryLater) as retry_later:
        accounts.queues(stopped, ACKNOWLEDGE_LIMITS).send_all(["a", LONG], within=timedelta(seconds=2.4))
    assert retry_later.value.reason is Reason.STORAGE


@pytest.mark.server
def test_a_storage_that_does_not_answer_is_unavailable_when_the_time_is_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts connections, and never answers
        port = silent.getsockname()[1]
        key = base64.b64encode(secrets.token_bytes(64)).decode()
        settings = StorageSettings(
            "q-silent", f"AccountName=a;AccountKey={key};QueueEndpoint=http://127.0.0.1:{port}/a"
        )
        with pytest.raises(RetryLater, match="in time"):
            accounts.queues(settings, ACKNOWLEDGE_LIMITS).send_all(["a"], within=timedelta(seconds=0.1))


def test_while_storage_is_stopped_every_call_says_so_and_names_no_account(stopped: StorageSettings) -> None:
    once = TimeLimits(connect=1, read=1, retries=0, backoff=0)
    queues = accounts.queues(stopped, once)
    for call in (
        lambda: queues.send("a"),
        lambda: queues.send(LONG),
        lambda: queues.send("a", Queue.DEAD_LETTERS),
        lambda: queues.receive(Queue.POISON, timedelta(minutes=1)),
        lambda: queues.peek(Queue.NOTIFICATIONS),
        queues.create_missing,
        queues.length,
    ):
        with pytest.raises(RetryLater) as retry_later:
            call()
        assert retry_later.value.reason is Reason.STORAGE
        assert "relay" not in str(retry_later.value)


def test_a_wrong_account_key_counts_as_unavailable_storage(azurite: Azurite) -> None:
    key = azurite.connection_string.partition("AccountKey=")[2].partition(";")[0]
    foreign = base64.b64encode(secrets.token_bytes(64)).decode()
    settings = StorageSettings("q-foreign", azurite.connection_string.replace(key, foreign))
    with pytest.raises(RetryLater):
        accounts.queues(settings, ACKNOWLEDGE_LIMITS).send("a")


@pytest.mark.parametrize(
    "text",
    [
        "AccountName=x",
        "AccountName",
        "QueueEndpoint=",
        "=;=",
        "AccountName=x;AccountKey=%;QueueEndpoint=http://127.0.0.1:9/x",
    ],
)
def test_a_broken_connection_string_is_a_settings_error_or_unavailable_storage(text: str) -> None:
    with pytest.raises((RetryLater, SettingsError)):
        accounts.queues(settings_of(environment(AzureWebJobsStorage=text)), ACKNOWLEDGE_LIMITS).send("a")


def test_a_delay_is_rounded_up_to_the_whole_seconds_that_a_queue_counts(storage_settings: StorageSettings) -> None:
    with serving(refuses) as server:
        refused = accounts.queues(rerouted(storage_settings, "Queue", server.url))
        with pytest.raises(RetryLater):
            refused.send("text", delay=timedelta(seconds=10.4))
    assert "visibilitytimeout=11" in server.asked[0].path
