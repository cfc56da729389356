"""The outcome of each item of an envelope, with a real HTTP destination that a test scripts."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from process_queue.handler import MessageHandler
from process_queue.retries import Retries
from shared.errors import NotAttempted, Reason, RetryLater
from shared.messages.envelope import ChangeBatch, read, read_dead_letter
from shared.storage.queues import Queue
from tests.builders import (
    CLIENT_ID,
    NOW,
    TENANT,
    Clock,
    change,
    changes,
    chat_path,
    encrypted,
    encryption_key,
    message,
    raw,
    rich,
)
from tests.memory import MemoryAccount, MemoryKeys
from tests.process_queue.app import start_app
from tests.process_queue.verification import TOKEN
from tests.servers import RecordedRequest, ScriptedResponse, Server, serving

HORIZON = timedelta(hours=72)
DONE = ScriptedResponse(204)


class RelayUnderTest:
    """The app, from an envelope to the destination, and every store in which an item can end."""

    def __init__(self, server: Server, session: requests.Session) -> None:
        self.clock = Clock(NOW + HORIZON - timedelta(seconds=1))
        self.server = server
        self.keys = MemoryKeys(encryption_key())
        self._account = MemoryAccount()
        self._queues = self._account.queues
        self._session = session
        self.taken: list[dict[str, Any]] = []
        server.script = self._take
        self.answer = DONE
        self.rejects: set[str] = set()

    def relay(self, envelope: ChangeBatch) -> None:
        """Relay the envelope in a new process."""
        relay = start_app(
            self._account.clients(), self.clock, self._session, key_store=self.keys, DESTINATION_URL=self.server.url
        )
        MessageHandler(relay).handle([envelope])

    def withhold_a_key(self) -> str:
        """Add a key that the store does not give out for now; return its id."""
        self.keys.keys["away"] = encryption_key()
        self.keys.withheld.add("away")
        return "away"

    def delivered(self) -> list[str]:
        """The ids of delivered messages."""
        return [event["data"]["id"] for event in self.taken]

    def queued(self) -> list[ChangeBatch]:
        """Return the queued envelopes, hidden ones included."""
        found = []
        for text in self._queues.take():
            envelope = read(text)
            assert isinstance(envelope, ChangeBatch)
            found.append(envelope)
        return found

    def dead(self) -> list[tuple[Reason, str]]:
        """Return the reasons, and the ids of the dead-lettered messages."""
        letters = [read_dead_letter(text) for text in self._queues.take(Queue.DEAD_LETTERS)]
        assert all(isinstance(letter.envelope, ChangeBatch) and len(letter.envelope.items) == 1 for letter in letters)
        return [(letter.reason, name) for letter in letters for name in names_of(letter.envelope)]

    def _take(self, request: RecordedRequest) -> ScriptedResponse:
        events = json.loads(request.body)
        if {event["data"]["id"] for event in events} & self.rejects:
            return ScriptedResponse(400)
        if self.answer.status < 300:
            self.taken += events
        return self.answer


def names_of(envelope: Any) -> list[str]:
    return [json.loads(bytes(item))["resourceData"]["id"] for item in envelope.items]


def item(name: str, **more: Any) -> dict[str, Any]:
    return rich(message(name), resourceData={"id": name, "@odata.type": "#Microsoft.Graph.ChatMessage"}, **more)


@pytest.fixture
def app(session: requests.Session) -> Iterator[RelayUnderTest]:
    with serving(lambda _: DONE) as server:
        yield RelayUnderTest(server, session)


def test_proven_items_are_delivered_in_one_batch_and_nothing_is_left(app: RelayUnderTest) -> None:
    app.relay(changes(item("1"), item("2"), change(chat_path("3"), resourceData={"id": "3"}), tokens=[TOKEN]))
    assert app.delivered() == ["1", "2", "3"]
    assert len(app.server.asked) == 1
    assert app.queued() == []
    assert app.dead() == []


def test_refused_items_are_stored_nowhere(app: RelayUnderTest) -> None:
    app.relay(changes(item("1"), item("2")))
    assert app.delivered() == []
    assert app.queued() == []
    assert app.dead() == []
    assert app.server.asked == []


def test_an_event_that_was_delivered_is_not_delivered_again(app: RelayUnderTest) -> None:
    envelope = changes(item("1"), item("1"), tokens=[TOKEN])
    app.relay(envelope)
    app.relay(envelope)
    assert app.delivered() == ["1"]


def test_a_newer_version_is_delivered_after_an_older_one(app: RelayUnderTest) -> None:
    edited = rich(message("1", lastModifiedDateTime="2023-11-14T23:00:00Z", etag="1700002800000"))
    app.relay(changes(item("1"), tokens=[TOKEN]))
    app.relay(changes(edited, tokens=[TOKEN]))
    first, second = app.taken
    assert first["id"] != second["id"]
    assert first["version"] < second["version"]


def test_an_undecryptable_item_is_dead_lettered_sealed_with_its_reason(app: RelayUnderTest) -> None:
    broken = item("2", encryptedContent=encrypted(message("2"), dataSignature=encrypted(b"x")["dataSignature"]))
    unknown = item("3")
    unknown["encryptedContent"] |= {"encryptionCertificateId": "gone", "encryptionCertificateThumbprint": ""}
    app.relay(changes(item("1"), broken, unknown, item("4"), tokens=[TOKEN]))
    assert app.delivered() == ["1", "4"]
    assert sorted(app.dead()) == [(Reason.CONTENT_UNREADABLE, "2"), (Reason.KEY_UNKNOWN, "3")]
    assert app.queued() == []


def test_a_rejected_event_is_dead_lettered_and_its_neighbours_are_delivered(app: RelayUnderTest) -> None:
    app.rejects = {"2"}
    app.relay(changes(item("1"), item("2"), item("3"), tokens=[TOKEN]))
    assert app.delivered() == ["1", "3"]
    assert app.dead() == [(Reason.DESTINATION_REJECTED, "2")]


def test_while_the_destination_is_unavailable_items_are_requeued_sealed_and_counted(app: RelayUnderTest) -> None:
    app.answer = ScriptedResponse(503)
    app.relay(changes(item("1"), item("2"), tokens=[TOKEN], attempt=0))
    (again,) = app.queued()
    assert names_of(again) == ["1", "2"]
    assert again.attempt == 1
    assert again.tokens == (TOKEN,)
    assert again.proven == (TENANT,)
    assert b'"displayName"' not in b"".join(bytes(kept) for kept in again.items)
    assert app.dead() == []
    app.answer = DONE
    app.relay(again)
    assert app.delivered() == ["1", "2"]


def test_past_the_horizon_items_are_dead_lettered(app: RelayUnderTest) -> None:
    app.answer = ScriptedResponse(503)
    app.clock.advance(hours=1)
    app.relay(changes(item("1"), item("2"), tokens=[TOKEN], attempt=40))
    assert sorted(app.dead()) == [(Reason.DESTINATION, "1"), (Reason.DESTINATION, "2")]
    assert app.queued() == []


def test_items_with_different_failures_are_requeued_apart(app: RelayUnderTest) -> None:
    app.answer = ScriptedResponse(503)
    keyless = item("2")
    keyless["encryptedContent"] |= {
        "encryptionCertificateId": app.withhold_a_key(), "encryptionCertificateThumbprint": ""
    }  # fmt: skip
    app.relay(changes(item("1"), keyless, tokens=[TOKEN]))
    assert sorted(names_of(envelope) for envelope in app.queued()) == [["1"], ["2"]]


@given(st.lists(st.sampled_from(["good", "rejected", "forged", "broken", "keyless"]), max_size=7), st.booleans())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_item_is_always_in_exactly_one_place(app: RelayUnderTest, kinds: list[str], away: bool) -> None:
    items: list[dict[str, Any]] = []
    expected = Counter[str]()
    app.taken, app.rejects, app.answer = [], set(), ScriptedResponse(503) if away else DONE
    for number, kind in enumerate(kinds):
        name = f"{number}-{kind}-{id(items)}-{len(app.server.asked)}"
        changed = item(name)
        if kind == "rejected" and not away:
            app.rejects.add(name)
        if kind == "forged":
            changed["tenantId"] = CLIENT_ID
        if kind == "broken":
            changed["encryptedContent"]["dataSignature"] = ""
        if kind == "keyless":
            changed["encryptedContent"] |= {
                "encryptionCertificateId": app.withhold_a_key(), "encryptionCertificateThumbprint": ""
            }  # fmt: skip
        items.append(changed)
        expected[name] = kind != "forged"
    app.relay(changes(*items, tokens=[TOKEN]))
    places = Counter([*app.delivered(), *(name for _, name in app.dead())])
    places.update(name for envelope in app.queued() for name in names_of(envelope))
    assert places == +expected


def test_the_longest_of_several_retry_afters_is_kept() -> None:
    retries = Retries()
    for seconds in (5, 60, None, 30):
        wait = None if seconds is None else timedelta(seconds=seconds)
        retries.add(raw(change()), RetryLater(Reason.GRAPH_THROTTLED, retry_after=wait))
    (retry,) = retries
    assert retry.failure.retry_after == timedelta(seconds=60)
    assert len(retry.items) == 4


def test_unattempted_items_wait_apart_from_failed_ones() -> None:
    retries = Retries()
    retries.add(raw(change()), RetryLater(Reason.GRAPH))
    retries.add(raw(change()), NotAttempted(Reason.GRAPH))
    assert [(type(retry.failure), len(retry.items)) for retry in retries] == [(RetryLater, 1), (NotAttempted, 1)]
