"""The queue trigger as the worker calls it, between a real Azurite and a scripted destination."""

import json
from collections.abc import Iterator
from datetime import timedelta

import azure.functions as func
import pytest
from azure.functions.queue import QueueMessage
from azure.storage.blob import ContainerClient

from process_queue.function import process_queue
from shared.configuration.declaration import declaration_id
from shared.configuration.settings import StorageSettings
from shared.errors import AlreadyProcessed, Reason, RetryLater, Undeliverable
from shared.graph.client_state import mint
from shared.messages.envelope import ItemBatch, ReadbackPage, together, write
from shared.relay import forget, relay, utc_now
from shared.storage.queues import MESSAGE_LIMIT, PROBE, Queue
from tests.accounts import claims, queues
from tests.builders import (
    NOW,
    RESOURCE,
    TENANT,
    change,
    changes,
    chat_path,
    destination_secret,
    environment,
    signed,
)
from tests.rerouted import all_but_deletion, refuses, rerouted
from tests.servers import RecordedRequest, ScriptedResponse, Server, serving


class Host:
    """The host, which delivers messages to the function, and the app's settings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, storage_settings: StorageSettings, destination: Server) -> None:
        self.storage_settings = storage_settings
        self.destination = destination
        self.delivered: list[str] = []
        self._monkeypatch = monkeypatch
        self.queues = queues(storage_settings)
        self.queues.create_missing()
        destination.script = self._take
        self.set()

    def set(self, **changes: str | None) -> None:
        """Set the app's settings, in a process that has just started."""
        settings = {
            "AzureWebJobsStorage": self.storage_settings.connection_string,
            "NOTIFICATION_QUEUE": self.storage_settings.queue,
            "DESTINATION_URL": self.destination.url,
            "DESTINATION_SECRET": destination_secret(),
        } | changes
        for name in environment():
            self._monkeypatch.delenv(name, raising=False)
        for name, value in environment(**settings).items():
            self._monkeypatch.setenv(name, value)
        forget()

    def offer(self, text: str) -> None:
        process_queue.build().get_user_function()(func.QueueMessage(id="1", body=text))

    def hidden(self) -> int:
        """Return how many messages are hidden."""
        return self.queues.length(Queue.NOTIFICATIONS) - len(self.queues.peek(Queue.NOTIFICATIONS))

    def dead(self) -> int:
        return self.queues.length(Queue.DEAD_LETTERS)

    def claim(self, envelope: ItemBatch) -> str:
        """Return the text of a message whose content is in a blob."""
        self.queues.send(signed(envelope))
        (queued,) = self.queues.receive(Queue.NOTIFICATIONS, timedelta(minutes=5))
        self.queues.delete(queued)
        assert queued.text.startswith("claim:")
        return queued.text

    def blobs(self) -> int:
        name = f"{self.storage_settings.queue}-claims"
        container = ContainerClient.from_connection_string(self.storage_settings.connection_string, name)
        return len(list(container.list_blob_names()))

    def _take(self, request: RecordedRequest) -> ScriptedResponse:
        self.delivered += [event["subject"] for event in json.loads(request.body)]
        return ScriptedResponse(204)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, storage_settings: StorageSettings) -> Iterator[Host]:
    with serving(lambda _: ScriptedResponse(204)) as destination:
        yield Host(monkeypatch, storage_settings, destination)
    forget()


def bare(*numbers: int, padding: str = "") -> ItemBatch:
    """Items without content, which need no token."""
    return changes(*[change(chat_path(str(number)), padding=padding) for number in numbers])


LARGE = "x" * (MESSAGE_LIMIT + 1)


def test_a_message_is_delivered_and_its_blob_is_discarded(host: Host) -> None:
    host.offer(signed(bare(1)))
    host.offer(host.claim(bare(2, padding=LARGE)))
    assert [subject.rpartition("/")[2] for subject in host.delivered] == ["1", "2"]
    assert (host.queues.length(Queue.NOTIFICATIONS), host.dead(), host.blobs()) == (0, 0, 0)


@pytest.mark.parametrize("wrong", ["GRAPH_TENANT_ID", "DESTINATION_URL", "SUBSCRIPTIONS", "KEY_STORE"])
def test_while_settings_are_wrong_messages_stay_queued_and_come_again_later(
    host: Host, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    host.set(**{wrong: "%"})
    claim = host.claim(bare(2, padding=LARGE))
    host.offer(signed(bare(1)))
    host.offer(claim)
    assert (host.hidden(), host.dead(), host.blobs(), host.delivered) == (2, 0, 1, [])
    assert wrong in caplog.text
    host.set()
    host.offer(claim)
    assert [subject.rpartition("/")[2] for subject in host.delivered] == ["2"]


def test_while_the_settings_of_storage_are_wrong_the_host_keeps_the_message(host: Host) -> None:
    host.set(AzureWebJobsStorage="nonsense")
    with pytest.raises(Exception, match="AzureWebJobsStorage"):
        host.offer(signed(bare(1)))


def test_while_blobs_are_unavailable_a_claim_is_queued_again(host: Host) -> None:
    claim = host.claim(bare(1, padding=LARGE))
    with serving(refuses) as server:
        host.set(AzureWebJobsStorage=rerouted(host.storage_settings, "Blob", server.url).connection_string)
        host.offer(claim)
        assert (host.hidden(), host.dead(), host.blobs(), host.delivered) == (1, 0, 1, [])
    host.set()
    host.offer(claim)
    assert (len(host.delivered), host.blobs()) == (1, 0)


def test_an_undeletable_blob_does_not_repeat_its_message(host: Host) -> None:
    """Handling the message again would enqueue its postponed items again, each time."""
    claim = host.claim(bare(1, padding=LARGE))
    with serving(all_but_deletion(host.storage_settings, "Blob")) as server:
        host.set(AzureWebJobsStorage=rerouted(host.storage_settings, "Blob", server.url).connection_string)
        host.offer(claim)
    assert (len(host.delivered), host.queues.length(Queue.NOTIFICATIONS), host.dead(), host.blobs()) == (1, 0, 0, 1)


def test_while_the_queue_is_unavailable_the_host_keeps_the_message(host: Host) -> None:
    host.destination.script = lambda _: ScriptedResponse(503)
    with serving(refuses) as server:
        host.set(AzureWebJobsStorage=rerouted(host.storage_settings, "Queue", server.url).connection_string)
        with pytest.raises(RetryLater) as away:
            host.offer(signed(bare(1)))
    assert away.value.reason is Reason.STORAGE


@pytest.mark.parametrize("text", ["", "hello", "{}", '{"kind": "surprise"}', "[]", '{"kind":"change"}', "\0"])
def test_an_unknown_message_is_left_to_the_host(host: Host, text: str) -> None:
    with pytest.raises(Undeliverable) as strange:
        host.offer(text)
    assert strange.value.reason is Reason.MALFORMED
    assert (host.queues.length(Queue.NOTIFICATIONS), host.dead(), host.delivered) == (0, 0, [])


def test_what_a_check_of_access_left_on_the_queue_is_ignored(host: Host) -> None:
    """The process died between the two requests of the check."""
    host.offer(PROBE)
    assert (host.queues.length(Queue.NOTIFICATIONS), host.dead(), host.delivered) == (0, 0, [])


def test_a_processed_claim_is_done(host: Host) -> None:
    claim = host.claim(bare(1, padding=LARGE))
    for _ in range(3):
        host.offer(claim)
    assert (len(host.delivered), host.queues.length(Queue.NOTIFICATIONS), host.dead()) == (1, 0, 0)


def test_what_the_destination_did_not_take_has_a_claim_of_its_own(host: Host) -> None:
    host.destination.script = lambda _: ScriptedResponse(503)
    host.set(DELIVERY_HORIZON_HOURS="87600")
    first = host.claim(_now(bare(1, padding=LARGE)))
    host.offer(first)
    assert (host.hidden(), host.dead(), host.blobs()) == (1, 0, 1)
    with pytest.raises(AlreadyProcessed):
        claims(host.storage_settings).open(first)


def _now(envelope: ItemBatch) -> ItemBatch:
    return type(envelope)(utc_now(), envelope.items, envelope.tokens)


@pytest.mark.parametrize("kind", ["change", "lifecycle", "readback"])
def test_each_kind_is_handled_and_waits_while_graph_is_unavailable(
    host: Host, kind: str, trusted: object, authority: object
) -> None:
    """No server listens at Graph's and the login's URL; of changes, only hydration needs them."""
    declared = [{"resource": RESOURCE, "changeTypes": ["created"], "hydrate": True}]
    host.set(
        LOGIN_BASE_URL="https://127.0.0.1:9", GRAPH_BASE_URL="https://127.0.0.1:9", SUBSCRIPTIONS=json.dumps(declared)
    )
    secret = relay().settings.client_state_secrets[0]
    state = mint(secret, TENANT, declaration_id(TENANT, RESOURCE), lambda n: b"r" * n)
    received = utc_now()
    item = change(clientState=state)
    if kind == "lifecycle":
        item = {**item, "lifecycleEvent": "reauthorizationRequired"}
    text = (
        signed(ReadbackPage(received, TENANT, RESOURCE, NOW, NOW))
        if kind == "readback"
        else json.dumps({"kind": kind, "received": received.isoformat(), "items": [item], "tokens": []})
    )
    host.offer(text)
    assert (host.hidden(), host.dead(), host.delivered) == (1, 0, [])


def test_the_envelopes_of_one_message_are_delivered_together_and_fail_each_for_itself(host: Host) -> None:
    """Concurrent requests share a queue message (shared/messages/group_commit.py)."""
    requests: list[int] = []

    def take(request: RecordedRequest) -> ScriptedResponse:
        requests.append(len(json.loads(request.body)))
        return ScriptedResponse(204)

    host.destination.script = take
    foreign = changes(change(chat_path("5"), clientState="a stranger's"))
    host.offer(together([signed(bare(1)), signed(bare(2, 3)), write(foreign), signed(bare(1))]))
    assert requests == [3]
    assert (host.queues.length(), host.dead()) == (0, 0)

    host.destination.script = lambda _: ScriptedResponse(503)
    host.offer(together([signed(bare(6)), signed(bare(7, 8))]))
    assert host.hidden() == 2


def test_the_envelopes_of_a_message_that_failed_before_are_enqueued_each_by_itself(host: Host) -> None:
    batches = [signed(bare(1)), signed(bare(2))]
    again = QueueMessage(id="1", body=together(batches), dequeue_count=2)  # type: ignore[no-untyped-call]
    process_queue.build().get_user_function()(again)
    assert host.delivered == []
    assert [message.text for message in host.queues.peek(Queue.NOTIFICATIONS)] == batches
