"""What becomes of each item of an envelope: on a real Azurite, with a real destination that a test scripts."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
from azure.storage.queue import QueueClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from process_queue.changes import BatchOutcome, Delivering, relay_changes
from process_queue.settle import Requeue
from process_queue.verify import Proofs
from shared.configuration.settings import StorageSettings
from shared.delivery.destination import Destination
from shared.delivery.event import event_without_content
from shared.delivery.ledger import Ledger
from shared.errors import Reason, RetryLater
from shared.messages.envelope import ChangeBatch, read, read_dead_letter
from shared.storage.queues import BACKGROUND_LIMITS
from shared.storage.tables import Tables
from shared.subscriptions.silence import Silence
from tests.builders import (
    CLIENT_ID,
    NOW,
    TENANT,
    Clock,
    change,
    changes,
    destination_secret,
    encrypted,
    message,
    raw,
    rich,
)
from tests.hurried import Hurried
from tests.process_queue.test_verify import TOKEN, our_key, signing_key
from tests.servers import Answer, Asked, Server, serving

HORIZON = timedelta(hours=72)
DONE = Answer(204)


class Way:
    """The way from an envelope to the destination, and the places where items can end."""

    def __init__(self, storage_settings: StorageSettings, server: Server, session: requests.Session) -> None:
        self.clock = Clock(NOW + HORIZON - timedelta(seconds=1))
        self.server = server
        self._settings = storage_settings
        self._storage = Hurried(storage_settings, BACKGROUND_LIMITS)
        self._storage.ready()
        self._tables = Tables(storage_settings)
        self._session = session
        self.taken: list[dict[str, Any]] = []
        server.script = self._take
        self.answer = DONE
        self.rejects: set[str] = set()

    def relay(self, envelope: ChangeBatch) -> None:
        """Relay with clients of a fresh process."""
        proofs = Proofs(TENANT, CLIENT_ID, signing_key, our_key, event_without_content)
        destination = Destination(self.server.url, [destination_secret()], self._session, self.clock)
        delivering = Delivering(destination, Ledger(self._tables), Silence(self._tables), self.clock)
        relay_changes(envelope, proofs, delivering, Requeue(self._storage, HORIZON, self.clock, lambda: 0.0))

    def delivered(self) -> list[str]:
        """The ids of the messages that the destination has taken."""
        return [event["data"]["id"] for event in self.taken]

    def queued(self) -> list[ChangeBatch]:
        """What is queued again, hidden or not."""
        found = []
        for text in self._texts(""):
            envelope = read(text)
            assert isinstance(envelope, ChangeBatch)
            found.append(envelope)
        return found

    def dead(self) -> list[tuple[Reason, str]]:
        """Why, and the ids of the messages that have been given up."""
        letters = [read_dead_letter(text) for text in self._texts("-dead-letters")]
        assert all(isinstance(letter.envelope, ChangeBatch) and len(letter.envelope.items) == 1 for letter in letters)
        return [(letter.reason, name) for letter in letters for name in names_of(letter.envelope)]

    def _take(self, asked: Asked) -> Answer:
        events = json.loads(asked.body)
        if {event["data"]["id"] for event in events} & self.rejects:
            return Answer(400)
        if self.answer.status < 300:
            self.taken += events
        return self.answer

    def _texts(self, suffix: str) -> Iterator[str]:
        with QueueClient.from_connection_string(
            self._settings.connection_string, self._settings.queue + suffix
        ) as queue:
            while messages := list(queue.receive_messages(max_messages=32)):
                for one in messages:
                    queue.delete_message(one)
                    yield self._storage.fetch(one.content).text
            assert queue.get_queue_properties().approximate_message_count == 0


def names_of(envelope: Any) -> list[str]:
    return [json.loads(bytes(item))["resourceData"]["id"] for item in envelope.items]


def item(name: str, **more: Any) -> dict[str, Any]:
    return rich(message(name), resourceData={"id": name, "@odata.type": "#Microsoft.Graph.ChatMessage"}, **more)


@pytest.fixture
def way(storage_settings: StorageSettings, session: requests.Session) -> Iterator[Way]:
    with serving(lambda _: DONE) as server:
        yield Way(storage_settings, server, session)


def test_proven_items_are_delivered_in_one_batch_and_nothing_is_left(way: Way) -> None:
    way.relay(changes(item("1"), item("2"), change(resourceData={"id": "3"}), tokens=[TOKEN]))
    assert way.delivered() == ["1", "2", "3"]
    assert len(way.server.asked) == 1
    assert way.queued() == []
    assert way.dead() == []


def test_refused_items_end_nowhere(way: Way) -> None:
    way.relay(changes(item("1"), item("2")))
    assert way.delivered() == []
    assert way.queued() == []
    assert way.dead() == []
    assert way.server.asked == []


def test_an_event_that_was_delivered_is_not_delivered_again(way: Way) -> None:
    envelope = changes(item("1"), item("1"), tokens=[TOKEN])
    way.relay(envelope)
    way.relay(envelope)
    assert way.delivered() == ["1"]


def test_a_newer_version_is_delivered_after_an_older_one(way: Way) -> None:
    edited = rich(message("1", lastModifiedDateTime="2023-11-14T23:00:00Z", etag="1700002800000"))
    way.relay(changes(item("1"), tokens=[TOKEN]))
    way.relay(changes(edited, tokens=[TOKEN]))
    first, second = way.taken
    assert first["id"] != second["id"]
    assert first["version"] < second["version"]


def test_what_can_never_be_opened_is_put_away_sealed_with_its_reason(way: Way) -> None:
    broken = item("2", encryptedContent=encrypted(message("2"), dataSignature=encrypted(b"x")["dataSignature"]))
    unknown = item("3")
    unknown["encryptedContent"] |= {"encryptionCertificateId": "gone", "encryptionCertificateThumbprint": ""}
    way.relay(changes(item("1"), broken, unknown, item("4"), tokens=[TOKEN]))
    assert way.delivered() == ["1", "4"]
    assert sorted(way.dead()) == [(Reason.CONTENT_UNREADABLE, "2"), (Reason.KEY_UNKNOWN, "3")]
    assert way.queued() == []


def test_a_rejected_event_is_put_away_and_its_neighbours_are_delivered(way: Way) -> None:
    way.rejects = {"2"}
    way.relay(changes(item("1"), item("2"), item("3"), tokens=[TOKEN]))
    assert way.delivered() == ["1", "3"]
    assert way.dead() == [(Reason.DESTINATION_REJECTED, "2")]


def test_while_the_destination_is_away_items_are_queued_again_sealed_and_counted(way: Way) -> None:
    way.answer = Answer(503)
    way.relay(changes(item("1"), item("2"), tokens=[TOKEN], attempt=0))
    (again,) = way.queued()
    assert names_of(again) == ["1", "2"]
    assert again.attempt == 1
    assert again.tokens == (TOKEN,)
    assert again.proven == (TENANT,)
    assert b'"displayName"' not in b"".join(bytes(one) for one in again.items)
    assert way.dead() == []
    way.answer = DONE
    way.relay(again)
    assert way.delivered() == ["1", "2"]


def test_past_the_horizon_items_are_put_away(way: Way) -> None:
    way.answer = Answer(503)
    way.clock.advance(hours=1)
    way.relay(changes(item("1"), item("2"), tokens=[TOKEN], attempt=40))
    assert sorted(way.dead()) == [(Reason.DESTINATION, "1"), (Reason.DESTINATION, "2")]
    assert way.queued() == []


def test_items_that_wait_for_different_things_wait_apart(way: Way) -> None:
    way.answer = Answer(503)
    keyless = item("2")
    keyless["encryptedContent"]["encryptionCertificateId"] = "away"
    way.relay(changes(item("1"), keyless, tokens=[TOKEN]))
    assert sorted(names_of(envelope) for envelope in way.queued()) == [["1"], ["2"]]


@given(st.lists(st.sampled_from(["good", "rejected", "forged", "broken", "keyless"]), max_size=7), st.booleans())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_item_is_ever_in_no_place_or_in_two(way: Way, kinds: list[str], away: bool) -> None:
    items: list[dict[str, Any]] = []
    expected = Counter[str]()
    way.taken, way.rejects, way.answer = [], set(), Answer(503) if away else DONE
    for number, kind in enumerate(kinds):
        name = f"{number}-{kind}-{id(items)}-{len(way.server.asked)}"
        one = item(name)
        if kind == "rejected" and not away:
            way.rejects.add(name)
        if kind == "forged":
            one["tenantId"] = CLIENT_ID
        if kind == "broken":
            one["encryptedContent"]["dataSignature"] = ""
        if kind == "keyless":
            one["encryptedContent"]["encryptionCertificateId"] = "away"
        items.append(one)
        expected[name] = kind != "forged"
    way.relay(changes(*items, tokens=[TOKEN]))
    places = Counter([*way.delivered(), *(name for _, name in way.dead())])
    places.update(name for envelope in way.queued() for name in names_of(envelope))
    assert places == +expected


def test_of_several_waits_asked_for_the_longest_is_kept() -> None:
    outcome = BatchOutcome()
    for seconds in (5, 60, None, 30):
        wait = None if seconds is None else timedelta(seconds=seconds)
        outcome.keep(raw(change()), RetryLater(Reason.GRAPH_THROTTLED, retry_after=wait))
    assert outcome.why[Reason.GRAPH_THROTTLED].retry_after == timedelta(seconds=60)
    assert len(outcome.kept[Reason.GRAPH_THROTTLED]) == 4
