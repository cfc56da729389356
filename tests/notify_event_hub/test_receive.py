"""What is stored of a hub's events, on a real Azurite, and how the stored items are processed."""

import json

import pytest
from azure.storage.queue import QueueClient
from hypothesis import given
from hypothesis import strategies as st

from local.azurite import Azurite
from notify_event_hub.receive import receive
from shared.configuration.settings import StorageSettings
from shared.errors import RetryLater
from shared.messages.envelope import ChangeBatch, ItemBatch, LifecycleBatch, read, write
from shared.messages.ingest import ExpectedRecipient, trusted_channel
from shared.messages.packing import pack_changes, sealed
from shared.storage.account import TimeLimits
from shared.storage.queues import MESSAGE_LIMIT
from tests.accounts import claims, queues
from tests.builders import (
    NOW,
    OTHER_TENANT,
    TENANT,
    body,
    change,
    client_state_secret,
    lifecycle,
    message,
    raw,
    rich,
)
from tests.memory import account_of_items

RECIPIENT = ExpectedRecipient(TENANT, [client_state_secret()])
TEST_EVENT = {
    "subscriptionId": "NA",
    "subscriptionExpirationDateTime": "NA",
    "clientState": "NA",
    "changeType": "Validation: Testing client application reachability for subscription Request-Id: 6f0c2f6e",
    "resource": "NA",
    "tenantId": "NA",
}


class Hub:
    """The events of a hub, and the queue behind it."""

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self._queues = queues(settings)
        self._claims = claims(settings)

    def hand_over(self, *bodies: bytes) -> list[ItemBatch]:
        """Return the queued envelopes."""
        receive(bodies, RECIPIENT, self._queues, NOW, None, account_of_items())
        with QueueClient.from_connection_string(self._settings.connection_string, self._settings.queue) as queue:
            self._queues.create_missing()
            texts = [message.content for message in queue.receive_messages(max_messages=32)]
        envelopes = [read(self._claims.open(text).text) for text in texts]
        return [envelope for envelope in envelopes if isinstance(envelope, ItemBatch)]


@pytest.fixture
def hub(storage_settings: StorageSettings) -> Hub:
    return Hub(storage_settings)


def test_an_item_is_queued_as_proven_for_its_tenant_without_a_token(hub: Hub) -> None:
    (envelope,) = hub.hand_over(body(rich(message("1"))))
    assert isinstance(envelope, ChangeBatch)
    assert (envelope.tokens, envelope.proven, envelope.received) == ((), (TENANT,), NOW)


def test_lifecycle_items_come_this_way_too(hub: Hub) -> None:
    (envelope,) = hub.hand_over(body(lifecycle()))
    assert isinstance(envelope, LifecycleBatch)


def test_the_channel_does_not_prove_a_foreign_item(hub: Hub) -> None:
    (envelope,) = hub.hand_over(body(rich(message("1"), clientState="a guess"), rich(message("2"))))
    assert len(envelope.items) == 1


def test_the_event_of_a_creation_is_left_alone(hub: Hub) -> None:
    assert hub.hand_over(body(TEST_EVENT)) == []


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"\xff", b'{"value": 1}', b'{"value": []}'])
def test_an_event_other_than_a_collection_does_not_affect_its_neighbours(hub: Hub, junk: bytes) -> None:
    (envelope,) = hub.hand_over(body(change()), junk, body(change()))
    assert len(envelope.items) == 2


def test_while_storage_is_unavailable_the_host_is_made_to_retry_the_events(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = StorageSettings("q-away", Azurite(tmp_path_factory.mktemp("away")).connection_string)
    unavailable = queues(settings, TimeLimits(connect=1, read=1, retries=0, backoff=0))
    with pytest.raises(RetryLater):
        receive([body(change())], RECIPIENT, unavailable, NOW, None, account_of_items())


@given(st.lists(st.tuples(st.integers(0, 40_000), st.sampled_from([TENANT, OTHER_TENANT])), max_size=12))
def test_the_evidence_for_items_fits_the_message_with_them(items: list[tuple[int, str]]) -> None:
    changes = [
        sealed(raw({"number": number, "filler": "x" * size}), tenant) for number, (size, tenant) in enumerate(items)
    ]
    packed = pack_changes(changes, trusted_channel([TENANT, OTHER_TENANT]), NOW, "")
    assert [bytes(item) for envelope in packed for item in envelope.items] == [change.text for change in changes]
    assert all(len(write(envelope)) <= MESSAGE_LIMIT for envelope in packed if len(envelope.items) > 1)
    for envelope in packed:
        tenants = {items[int(json.loads(bytes(item))["number"])][1] for item in envelope.items}
        assert (set(envelope.proven), envelope.tokens) == (tenants, ())
