"""The answers to POSTs, and what is stored before each answer, on a real Azurite."""

import json

import msgspec
import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from local.azurite import Azurite
from notify_http.receive import LARGEST_BODY, Answer, receive
from shared.configuration.settings import StorageSettings
from shared.graph.notification import MAX_TOKENS
from shared.messages.envelope import ChangeBatch, ItemBatch, LifecycleBatch, read
from shared.messages.ingest import ExpectedRecipient
from shared.storage.account import TimeLimits
from tests.accounts import claims, queues
from tests.builders import (
    NOW,
    OTHER_TENANT,
    RESOURCE,
    TENANT,
    body,
    change,
    client_state_secret,
    lifecycle,
    message,
    minted,
    rich,
    rsa_key,
)
from tests.memory import account_of_items
from tests.token_cases import Mint
from tests.waiting import eventually

RECIPIENT = ExpectedRecipient(TENANT, [client_state_secret(), client_state_secret("retiring")])
MEGABYTE = 1 << 20


class Endpoint:
    """The endpoint, and its storage."""

    def __init__(self, settings: StorageSettings) -> None:
        self.queues = queues(settings)
        self._claims = claims(settings)
        self._settings = settings

    def post(self, text: bytes) -> Answer:
        return receive(text, RECIPIENT, self.queues, NOW, None, account_of_items())

    def queued(self) -> list[ItemBatch]:
        """Receive the queued envelopes."""
        found: list[ItemBatch] = []
        with QueueClient.from_connection_string(self._settings.connection_string, self._settings.queue) as queue:
            while messages := self._received(queue):
                for text in messages:
                    envelope = read(self._claims.open(text).text)
                    assert isinstance(envelope, ItemBatch)
                    found.append(envelope)
        return found

    def _received(self, queue: QueueClient) -> list[str]:
        try:
            return [message.content for message in queue.receive_messages(max_messages=32)]
        except ResourceNotFoundError:
            return []

    def ids(self) -> list[str]:
        """The ids of the queued items."""
        return [json.loads(bytes(item)).get("id") for envelope in self.queued() for item in envelope.items]


@pytest.fixture
def endpoint(storage_settings: StorageSettings) -> Endpoint:
    return Endpoint(storage_settings)


@pytest.fixture(scope="module")
def without_storage(tmp_path_factory: pytest.TempPathFactory) -> Endpoint:
    """An endpoint whose storage is unavailable."""
    settings = StorageSettings("q-away", Azurite(tmp_path_factory.mktemp("away")).connection_string)
    endpoint = Endpoint(settings)
    endpoint.queues = queues(settings, TimeLimits(connect=1, read=1, retries=0, backoff=0))
    return endpoint


def test_items_are_durable_before_the_202(endpoint: Endpoint) -> None:
    assert endpoint.post(body(rich(id="1"), lifecycle(id="2"), change(id="3"))) == Answer(202)
    changes, lifecycles = sorted(endpoint.queued(), key=lambda envelope: isinstance(envelope, LifecycleBatch))
    assert isinstance(changes, ChangeBatch)
    assert [json.loads(bytes(item))["id"] for item in changes.items] == ["1", "3"]
    assert [json.loads(bytes(item))["id"] for item in lifecycles.items] == ["2"]
    assert changes.received == lifecycles.received == NOW


def test_items_are_queued_as_they_came_and_still_sealed(endpoint: Endpoint) -> None:
    item = rich(new={"a": [1.5, None]})
    endpoint.post(body(item))
    (envelope,) = endpoint.queued()
    assert json.loads(bytes(envelope.items[0])) == item
    assert b"Ada Marsh" not in bytes(envelope.items[0])


def test_while_storage_is_unavailable_the_answer_is_503_and_says_when_to_retry(without_storage: Endpoint) -> None:
    answer = without_storage.post(body(change()))
    assert answer.status == 503
    assert answer.retry_after


def test_nothing_of_strangers_is_stored_and_the_answer_does_not_show_it(
    endpoint: Endpoint, without_storage: Endpoint
) -> None:
    strangers = [
        change(clientState="guess"),
        change(clientState=None),
        change(clientState=minted(OTHER_TENANT)),
        change(clientState=minted(secret=client_state_secret("foreign"))),
        change(clientState="é" * 80),
        change(clientState="x" * MEGABYTE),
        change(clientState=7),
        lifecycle(clientState="guess"),
        lifecycle(clientState=minted(OTHER_TENANT)),
    ]
    assert endpoint.post(body(*strangers, tokens=["a.b.c"] * MAX_TOKENS)) == Answer(202)
    assert without_storage.post(body(*strangers)) == Answer(202)
    assert endpoint.queued() == []


def test_the_secret_that_is_being_retired_is_still_accepted(endpoint: Endpoint) -> None:
    endpoint.post(body(change(id="1", clientState=minted(secret=client_state_secret("retiring")))))
    assert endpoint.ids() == ["1"]


def test_an_item_of_another_tenant_is_accepted_with_its_clientstate(endpoint: Endpoint) -> None:
    endpoint.post(body(change(id="1", tenantId=OTHER_TENANT), change(id="2", tenantId=OTHER_TENANT.upper())))
    assert endpoint.ids() == ["1", "2"]


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        "text",
        7,
        {},
        {"subscriptionId": 7},
        change(clientState="guess"),
        {**change(), "resource": None},
        {**change(), "changeType": 7},
        {**change(), "encryptedContent": "text", "clientState": "x" * MEGABYTE},
        {"subscriptionId": "1", "clientState": minted(), "deep": "[" * 1000},
    ],
    ids=lambda bad: str(bad)[:20],
)
def test_one_bad_item_does_not_affect_its_neighbours(endpoint: Endpoint, bad: object) -> None:
    assert endpoint.post(body(change(id="1"), bad, lifecycle(id="2"), bad, change(id="3"))) == Answer(202)
    assert sorted(endpoint.ids()) == ["1", "2", "3"]


def test_an_item_with_an_unpaired_surrogate_does_not_affect_its_neighbours(endpoint: Endpoint) -> None:
    text = body(change(id="1"), change(id="2", note="@")).replace(b'"@"', rb'"\ud83d"')
    assert endpoint.post(text) == Answer(202)
    assert "1" in endpoint.ids()


def test_tokens_go_with_the_items_of_their_tenants(endpoint: Endpoint) -> None:
    desired, others = Mint(rsa_key("authority")).token(), Mint(rsa_key("authority"), tenant=OTHER_TENANT).token()
    strangers = Mint(rsa_key("authority"), tenant="c7d1e2f3-0a0b-4c0d-8e0f-00000000000f").token()
    endpoint.post(body(rich(), tokens=[desired, others, strangers, desired, "junk", 7]))
    assert [envelope.tokens for envelope in endpoint.queued()] == [(desired,)]


def test_that_graph_got_no_token_is_remembered(endpoint: Endpoint) -> None:
    endpoint.post(body(rich(), tokens=None))
    assert [envelope.tokens for envelope in endpoint.queued()] == [None]


def test_a_thousand_items_and_four_megabytes_work(endpoint: Endpoint) -> None:
    items = [change(id=str(number), filler="x" * 4000) for number in range(1000)]
    text = body(*items)
    assert len(text) > 4 * MEGABYTE
    eventually(lambda: endpoint.post(text) == Answer(202))  # Graph sends it again if the queue is too slow
    assert set(endpoint.ids()) == {str(number) for number in range(1000)}


def test_an_item_too_long_for_a_queue_message_is_stored(endpoint: Endpoint) -> None:
    long = message(body={"contentType": "text", "content": "x" * (3 * MEGABYTE)})
    endpoint.post(body(change(id="1"), rich(long, id="2"), change(id="3")))
    assert sorted(endpoint.ids()) == ["1", "2", "3"]


def test_forty_notifications_of_five_kilobytes_cost_four_messages_at_most(endpoint: Endpoint) -> None:
    long = message(body={"contentType": "text", "content": "x" * 2300})
    text = body(*(rich(long) for _ in range(40)), tokens=[Mint(rsa_key("authority")).token()])
    assert 150_000 < len(text) < 220_000
    endpoint.post(text)
    assert len(endpoint.queued()) <= 4


def test_an_empty_collection_is_acknowledged_without_storage(without_storage: Endpoint) -> None:
    assert without_storage.post(b'{"value": []}') == Answer(202)


def test_a_body_beyond_the_limit_is_not_even_read(without_storage: Endpoint) -> None:
    assert without_storage.post(b"[" * (LARGEST_BODY + 1)).status == 413


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
items = st.dictionaries(
    st.sampled_from(
        [
            "subscriptionId",
            "changeType",
            "lifecycleEvent",
            "resource",
            "tenantId",
            "organizationId",
            "resourceData",
            "encryptedContent",
            "é",
        ]
    ),
    json_values,
)


@given(st.binary())
@example(b"")
@example(b"[" * 1_000_000)
@example(b'{"value":[' * 300_000)
@example(b'{"value": [' + b"9" * 1_000_000 + b"]}")
@example(b'{"value": [{"a": 1, "a": 2}], "value": null}')
@example(b'{"value": []}\xff')
def test_any_bytes_are_answered_without_storage_and_without_a_5xx(without_storage: Endpoint, text: bytes) -> None:
    assert without_storage.post(text).status in (202, 400)


@given(st.lists(items | json_values, max_size=4), json_values)
def test_any_json_is_answered_without_storage_and_without_a_5xx(
    without_storage: Endpoint, value: list[object], tokens: object
) -> None:
    assert without_storage.post(body(*value, tokens=tokens)).status == 202


@given(items, json_values)
@example({}, [["a"] * 3, None, {"b": 7}])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_authentic_item_with_any_other_content_is_stored_or_malformed(
    endpoint: Endpoint, item: dict[str, object], tokens: object
) -> None:
    item = {**item, "tenantId": TENANT, "clientState": minted(resource=RESOURCE)}
    assert endpoint.post(body(item, tokens=tokens)) == Answer(202)
    for envelope in endpoint.queued():
        assert [json.loads(bytes(stored)) for stored in envelope.items] == [json.loads(msgspec.json.encode(item))]


@pytest.mark.parametrize("depth", [900, 950, 990, 1000, 1010, 5000])
def test_deep_tokens_beside_an_authentic_item_are_answered(endpoint: Endpoint, depth: int) -> None:
    text = body(change(id="1"), tokens=0).replace(
        b'"validationTokens":0', b'"validationTokens":' + b"[" * depth + b"]" * depth
    )
    assert endpoint.post(text).status in (202, 400)
