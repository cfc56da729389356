"""The queue, its dead letters and its claim checks, on a real Azurite."""

import base64
import re
import secrets
import socket
from datetime import timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient
from azure.storage.queue import ExponentialRetry, QueueClient

from local.azurite import Azurite
from shared.configuration.settings import SettingsError, StorageSettings
from shared.configuration.settings import storage_settings as settings_of
from shared.errors import Reason, RetryLater, Undeliverable
from shared.messages.envelope import MESSAGE_LIMIT
from shared.storage.queues import ACKNOWLEDGE_LIMITS, BACKGROUND_LIMITS, Claimed, Queue, Storage, TimeLimits
from tests.builders import environment
from tests.rerouted import refuses, rerouted
from tests.servers import RESET, Answer, Asked, serving

LONG = "x" * (MESSAGE_LIMIT + 1)


@pytest.fixture
def storage(storage_settings: StorageSettings) -> Storage:
    return Storage(storage_settings, BACKGROUND_LIMITS)


def received(settings: StorageSettings, suffix: str = "") -> list[str]:
    with QueueClient.from_connection_string(settings.connection_string, settings.queue + suffix) as queue:
        return [message.content for message in queue.receive_messages()]


def blobs(settings: StorageSettings) -> list[str]:
    with ContainerClient.from_connection_string(settings.connection_string, f"{settings.queue}-claims") as claims:
        return list(claims.list_blob_names())


def test_a_text_is_queued_as_it_is_and_a_missing_queue_is_made(
    storage: Storage, storage_settings: StorageSettings
) -> None:
    storage.put('{"a": "<&>\\u00e9"}')
    assert received(storage_settings) == ['{"a": "<&>\\u00e9"}']


@pytest.mark.parametrize("letter", ["x", '"', "<", "&"])
def test_a_text_at_the_limit_is_a_message_and_one_beyond_it_a_claim(
    storage: Storage, storage_settings: StorageSettings, letter: str
) -> None:
    storage.put(letter * MESSAGE_LIMIT)
    storage.put(letter * (MESSAGE_LIMIT + 1))
    whole, claim = received(storage_settings)
    assert storage.fetch(whole) == Claimed(letter * MESSAGE_LIMIT)
    claimed = storage.fetch(claim)
    assert claimed.text == letter * (MESSAGE_LIMIT + 1)
    assert blobs(storage_settings) == [claimed.claim]


def test_a_claim_is_discarded_once_it_has_been_dealt_with(storage: Storage, storage_settings: StorageSettings) -> None:
    storage.put(LONG)
    (message,) = received(storage_settings)
    claimed = storage.fetch(message)
    storage.discard(claimed)
    assert blobs(storage_settings) == []
    storage.discard(claimed)
    with pytest.raises(Undeliverable) as gone:
        storage.fetch(message)
    assert gone.value.reason is Reason.CLAIM_GONE


def test_what_could_not_be_queued_leaves_no_blob(storage: Storage, storage_settings: StorageSettings) -> None:
    storage.ready()
    with serving(refuses) as server:
        queueless = Storage(rerouted(storage_settings, "Queue", server.url), BACKGROUND_LIMITS)
        for put in (queueless.put, queueless.put_dead_letter):
            with pytest.raises(RetryLater):
                put(LONG)
    assert blobs(storage_settings) == []


def test_a_message_whose_answer_was_lost_is_a_double_of_what_is_sent_again(
    storage: Storage, storage_settings: StorageSettings
) -> None:
    queue = QueueClient.from_connection_string(storage_settings.connection_string, storage_settings.queue)
    storage.ready()

    def takes_and_breaks_off(asked: Asked) -> Answer:
        queue.send_message(re.findall(b"claim:[0-9a-f-]+", asked.body)[0].decode())
        return RESET

    once = TimeLimits(connect=1, read=1, retries=0, backoff=0)
    with serving(takes_and_breaks_off) as server:
        deaf = Storage(rerouted(storage_settings, "Queue", server.url), once)
        with pytest.raises(RetryLater):
            deaf.put(LONG)
    storage.put(LONG)
    double, again = received(storage_settings)
    with pytest.raises(Undeliverable) as gone:
        storage.fetch(double)
    assert gone.value.reason is Reason.CLAIM_GONE
    assert storage.fetch(again).text == LONG


def test_a_message_that_is_no_claim_needs_no_storage_to_be_fetched_and_discarded(tmp_path: Path) -> None:
    away = Storage(StorageSettings("q-any", Azurite(tmp_path).connection_string), ACKNOWLEDGE_LIMITS)
    claimed = away.fetch('{"kind": "change"}')
    away.discard(claimed)
    assert claimed == Claimed('{"kind": "change"}')


def test_a_delayed_text_is_in_the_queue_and_not_yet_seen(storage: Storage, storage_settings: StorageSettings) -> None:
    storage.ready()
    assert storage.is_empty()
    storage.put("later", delay=timedelta(days=6))
    assert received(storage_settings) == []
    assert not storage.is_empty()


def test_messages_are_kept_until_they_are_dealt_with(storage: Storage, storage_settings: StorageSettings) -> None:
    storage.put("kept")
    with QueueClient.from_connection_string(storage_settings.connection_string, storage_settings.queue) as queue:
        (message,) = queue.receive_messages()
    assert message.expires_on is not None
    assert message.expires_on.year == 9999


def test_dead_letters_lie_in_a_queue_of_their_own(storage: Storage, storage_settings: StorageSettings) -> None:
    storage.put_dead_letter("dead")
    storage.put_dead_letter(LONG)
    storage.ready()
    assert received(storage_settings) == []
    dead, claim = received(storage_settings, "-dead-letters")
    assert dead == "dead"
    assert storage.fetch(claim).text == LONG


def test_what_the_host_has_given_up_for_a_week_is_kept_for_ever(
    storage: Storage, storage_settings: StorageSettings
) -> None:
    name = f"{storage_settings.queue}-poison"
    with QueueClient.from_connection_string(storage_settings.connection_string, name) as poison:
        poison.create_queue()
        for number in range(40):
            poison.send_message(f"kept {number}", time_to_live=-1)
            poison.send_message(f"for a week {number}")
        for _ in range(2):
            storage.keep_poison()
        queued = list(poison.receive_messages(messages_per_page=32))
    expected = [f"{how} {number}" for how in ("kept", "for a week") for number in range(40)]
    assert sorted(one.content for one in queued) == sorted(expected)
    assert {one.expires_on.year for one in queued if one.expires_on} == {9999}


def test_where_the_host_has_given_up_nothing_there_is_nothing_to_keep(storage: Storage) -> None:
    storage.keep_poison()
    assert storage.length(Queue.POISON) == 0


def test_ready_may_be_said_again_and_again(storage: Storage, storage_settings: StorageSettings) -> None:
    storage.ready()
    storage.ready()
    assert received(storage_settings) == received(storage_settings, "-dead-letters") == blobs(storage_settings) == []


def test_many_texts_are_queued_together_long_ones_among_them(
    storage: Storage, storage_settings: StorageSettings
) -> None:
    texts = [*(f"text {number}" for number in range(20)), LONG]
    storage.put_all(texts, within=timedelta(seconds=60))
    got: list[str] = []
    while more := received(storage_settings):
        got += [storage.fetch(message).text for message in more]
    assert sorted(got) == sorted(texts)


def test_nothing_to_queue_is_queued_without_storage(tmp_path: Path) -> None:
    Storage(StorageSettings("q-any", Azurite(tmp_path).connection_string), ACKNOWLEDGE_LIMITS).put_all(
        [], within=timedelta(0)
    )


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> StorageSettings:
    """A storage account that is away: nothing listens."""
    return StorageSettings("q-away", Azurite(tmp_path_factory.mktemp("away")).connection_string)


def test_while_storage_is_away_the_prompt_client_says_so_within_its_limit(stopped: StorageSettings) -> None:
    with pytest.raises(RetryLater) as retry_later:
        Storage(stopped, ACKNOWLEDGE_LIMITS).put_all(["a", LONG], within=timedelta(seconds=2.4))
    assert retry_later.value.reason is Reason.STORAGE


def test_a_storage_that_does_not_answer_is_away_when_the_time_is_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and never answers
        port = silent.getsockname()[1]
        key = base64.b64encode(secrets.token_bytes(64)).decode()
        settings = StorageSettings(
            "q-silent", f"AccountName=a;AccountKey={key};QueueEndpoint=http://127.0.0.1:{port}/a"
        )
        with pytest.raises(RetryLater, match="in time"):
            Storage(settings, ACKNOWLEDGE_LIMITS).put_all(["a"], within=timedelta(seconds=0.1))


def test_the_prompt_clients_one_retry_is_at_once() -> None:
    assert ACKNOWLEDGE_LIMITS.retries == 1
    assert ExponentialRetry(**ACKNOWLEDGE_LIMITS.options()).get_backoff_time({"count": 1}) == 0


def test_while_storage_is_away_everything_says_so_and_names_no_account(stopped: StorageSettings) -> None:
    storage = Storage(stopped, TimeLimits(connect=1, read=1, retries=0, backoff=0))
    for call in (
        lambda: storage.put("a"),
        lambda: storage.put(LONG),
        lambda: storage.put_dead_letter("a"),
        lambda: storage.fetch("claim:a"),
        lambda: storage.discard(Claimed("", "a")),
        storage.ready,
        storage.is_empty,
        storage.keep_poison,
    ):
        with pytest.raises(RetryLater) as retry_later:
            call()
        assert retry_later.value.reason is Reason.STORAGE
        assert "relay" not in str(retry_later.value)


def test_an_account_key_that_is_not_ours_is_storage_being_away(azurite: Azurite) -> None:
    key = azurite.connection_string.partition("AccountKey=")[2].partition(";")[0]
    foreign = base64.b64encode(secrets.token_bytes(64)).decode()
    settings = StorageSettings("q-foreign", azurite.connection_string.replace(key, foreign))
    with pytest.raises(RetryLater):
        Storage(settings, ACKNOWLEDGE_LIMITS).put("a")


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
def test_a_broken_connection_string_is_told_as_a_setting_or_is_storage_being_away(text: str) -> None:
    with pytest.raises((RetryLater, SettingsError)):
        Storage(settings_of(environment(AzureWebJobsStorage=text)), ACKNOWLEDGE_LIMITS).put("a")


def test_nothing_comes_earlier_than_told_for_the_whole_seconds_that_a_queue_counts(
    storage_settings: StorageSettings,
) -> None:
    with serving(refuses) as server:
        away = Storage(rerouted(storage_settings, "Queue", server.url), BACKGROUND_LIMITS)
        with pytest.raises(RetryLater):
            away.put("text", delay=timedelta(seconds=10.4))
    assert "visibilitytimeout=11" in server.asked[0].path
