"""The end of a notification's path is noted and found again, never its content."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
import requests

from notify_event_hub import receive as notify_event_hub
from notify_http import receive as notify_http
from process_queue.handler import MessageHandler
from shared.configuration.settings import StorageSettings
from shared.errors import Reason, RetryLater
from shared.messages.envelope import (
    LONGEST_HISTORY,
    ChangeBatch,
    Envelope,
    FailedAttempt,
    attempts,
    failed,
    read,
    tried_before,
)
from shared.messages.ingest import ExpectedRecipient
from shared.paths import RING, Path, Paths, steps
from shared.storage.tables import Tables
from tests.accounts import tables as tables_of
from tests.builders import (
    NOW,
    TENANT,
    Clock,
    body,
    change,
    changes,
    chat_path,
    client_state_secret,
    message,
    raw,
    rich,
)
from tests.memory import MemoryAccount, MemoryQueues, MemoryTables, account_of_items
from tests.process_queue.app import start_app
from tests.process_queue.verification import TOKEN
from tests.servers import RecordedRequest, ScriptedResponse, Server, serving
from tests.waiting import eventually

RECIPIENT = ExpectedRecipient(TENANT, [client_state_secret()])
TEXT = "words that nobody but the destination may read"


class NotingRelay:
    """The app, from an envelope to a destination that answers `status`, with paths noted."""

    def __init__(self, tables: Tables, server: Server, session: requests.Session) -> None:
        self.clock = Clock(NOW)
        self.tables = tables
        account = MemoryAccount(undelayed=True)
        self.queues = account.queues
        self.status = 204
        self.rejects = ""
        server.script = self._answer
        storage = replace(account.clients(), tables=tables)
        relay = start_app(storage, self.clock, session, DESTINATION_URL=server.url)
        self.paths = relay.path_log
        self.ledger = relay.ledgers[0]
        self.handler = MessageHandler(relay).changes

    def _answer(self, request: RecordedRequest) -> ScriptedResponse:
        return ScriptedResponse(422 if self.rejects and self.rejects.encode() in request.body else self.status)

    def find(self, text: str) -> list[Path]:
        return self.paths.find(text, [self.ledger], NOW - timedelta(days=4000))


@pytest.fixture
def relay(storage_settings: StorageSettings, session: requests.Session) -> Iterator[NotingRelay]:
    """With a real table service, whose limits of keys and queries apply."""
    with serving(lambda _: ScriptedResponse(204)) as server:
        yield NotingRelay(tables_of(storage_settings), server, session)


WRITTEN = message(body={"contentType": "text", "content": TEXT})


def test_a_delivered_message_is_found_by_event_message_subject_and_subscription(relay: NotingRelay) -> None:
    relay.handler.handle(changes(rich(WRITTEN), tokens=[TOKEN]))
    [path] = relay.find(WRITTEN["id"])
    subject = path.event.partition("/")[2].partition("@0")[0]
    for text in (path.event, subject, f"/{subject}", path.subscription):
        assert relay.find(text) == [path]
    assert (path.outcome, path.received, path.key, path.proof) == (
        "delivered", NOW, "enc-1", "validation token valid",
    )  # fmt: skip
    assert [step.step for step in steps(path)] == [
        "received", "client state valid, queued", "validation token valid", "HMAC valid, decrypted", "delivered",
    ]  # fmt: skip
    assert relay.find("another") == []


def test_an_event_is_found_by_its_id_alone_in_any_week(relay: NotingRelay) -> None:
    old = message(lastModifiedDateTime="2021-02-28T23:59:59.999Z", etag="1614556799999")
    relay.handler.handle(changes(rich(old), tokens=[TOKEN]))
    [delivered] = relay.ledger.all_details(NOW - timedelta(days=10_000))
    event = msgspec.json.decode(delivered, type=Path).event
    assert [path.event for path in relay.find(event)] == [event]


def test_failed_attempts_travel_with_the_notification_and_are_noted_when_it_arrives(relay: NotingRelay) -> None:
    relay.status = 503
    relay.handler.handle(changes(rich(WRITTEN), tokens=[TOKEN]))
    [retry] = relay.paths.retries()
    assert (retry.reason, retry.detail, retry.received) == ("destination", "the destination answers 503", NOW)
    [queued] = relay.queues.take()
    relay.status = 204
    again = read(queued)
    assert isinstance(again, ChangeBatch)
    # An attempt that meets an open circuit breaker does not count.
    relay.handler.handle(msgspec.structs.replace(again, attempt=0))
    [path] = relay.find(WRITTEN["id"])
    assert [attempt.detail for attempt in path.attempts] == ["destination: the destination answers 503"]
    assert [step.verdict for step in steps(path)].count("wait") == 1
    assert "at an earlier attempt" in path.proof


def test_a_notification_of_an_event_hub_has_no_validation_token(relay: NotingRelay) -> None:
    relay.handler.handle(msgspec.structs.replace(changes(rich(WRITTEN), tokens=[]), proven=(TENANT,)))
    [path] = relay.find(WRITTEN["id"])
    assert path.proof == "came through the event hub"


def test_what_the_destination_rejects_is_noted_with_its_answer_and_the_events_id(relay: NotingRelay) -> None:
    relay.rejects = f'/messages/{WRITTEN["id"]}"'
    relay.handler.handle(changes(rich(WRITTEN), rich(message("2")), tokens=[TOKEN]))
    [path] = relay.find(WRITTEN["id"])
    assert (path.outcome, path.reason) == ("dead-lettered", "destination_rejected")
    assert path.attempts[-1].detail.startswith("the destination answers 422 to event ")
    assert "dead-letters replay" in steps(path)[-1].detail


def test_what_is_not_proven_is_noted_with_its_reason(relay: NotingRelay) -> None:
    relay.handler.handle(changes(rich(WRITTEN), tokens=[]))
    [path] = relay.find(rich(WRITTEN)["resource"])
    assert (path.outcome, path.reason) == ("refused", "token_missing")
    assert relay.paths.failures() == [path]


def test_nothing_that_is_noted_says_what_the_message_says_or_proves_it(relay: NotingRelay) -> None:
    relay.handler.handle(changes(rich(WRITTEN), tokens=[TOKEN]))
    relay.handler.handle(changes(rich(WRITTEN), tokens=[]))
    relay.status = 400
    relay.handler.handle(changes(rich(message("1700000000001", body={"content": TEXT})), tokens=[TOKEN]))
    noted = str([list(relay.tables.rows(table)) for table in relay.tables.names()])
    assert str(WRITTEN["id"]) in noted
    for secret in (TEXT, TOKEN, rich(WRITTEN)["clientState"], "Ada Marsh"):
        assert secret not in noted


def from_http(text: bytes, paths: Paths) -> None:
    notify_http.receive(text, RECIPIENT, MemoryQueues(), NOW, paths, account_of_items())


def from_event_hub(text: bytes, paths: Paths) -> None:
    notify_event_hub.receive([text], RECIPIENT, MemoryQueues(), NOW, paths, account_of_items())


@pytest.mark.parametrize("receive", [from_http, from_event_hub])
def test_what_is_refused_on_receipt_is_noted(receive: Callable[[bytes, Paths], None]) -> None:
    paths = Paths(MemoryTables(), lambda: NOW, lambda: 0.0, TENANT)
    receive(body(change(), change(chat_path("7"), clientState="guess"), 7), paths)
    eventually(paths.failures)
    forged, malformed = sorted(paths.failures(), key=lambda path: path.reason)
    assert (forged.reason, forged.resource, malformed.reason) == ("client_state", chat_path("7"), "malformed")
    assert [step.step for step in steps(forged)] == ["received", "refused"]
    assert "CLIENT_STATE_SECRET" in steps(forged)[-1].detail
    assert "guess" not in str(paths.failures())


@pytest.mark.parametrize("receive", [from_http, from_event_hub])
def test_a_body_other_than_a_collection_is_noted(receive: Callable[[bytes, Paths], None]) -> None:
    paths = Paths(MemoryTables(), lambda: NOW, lambda: 0.0, TENANT)
    receive(b"{", paths)
    eventually(paths.failures)
    assert [path.reason for path in paths.failures()] == ["malformed"]


def test_a_refusal_on_receipt_displaces_no_dead_letter() -> None:
    paths = Paths(MemoryTables(), lambda: NOW, lambda: 0.0, TENANT)
    paths.dead_lettered(changes(rich(WRITTEN)), Reason.KEY_UNKNOWN)
    from_http(body(change(clientState="guess")), paths)
    eventually(lambda: len(paths.failures()) == 2)


def test_the_ring_keeps_the_last_failures_and_no_more(relay: NotingRelay) -> None:
    for number in range(0, RING + 200, 100):
        items = [(raw(rich(WRITTEN) | {"resource": f"chats('{number + n}')"}), Reason.TOKEN_KEY) for n in range(100)]
        relay.clock.now += timedelta(seconds=1)
        relay.paths.refused(items, changes())
    failures = relay.paths.failures()
    assert len(failures) == RING
    assert {path.resource for path in failures} == {f"chats('{n}')" for n in range(200, RING + 200)}


def test_an_outage_is_noted_every_few_seconds_only(relay: NotingRelay) -> None:
    failure = RetryLater(Reason.DESTINATION, "the destination answers 503")
    for seconds in range(12):
        relay.paths.retried(changes(), failure, NOW + timedelta(seconds=seconds))
        relay.clock.now += timedelta(seconds=1)
    assert [retry.at for retry in relay.paths.retries()] == [NOW + timedelta(seconds=10)]


def test_an_envelope_remembers_its_last_attempts_only() -> None:
    envelope: Envelope = changes(rich(WRITTEN))
    for number in range(LONGEST_HISTORY + 3):
        envelope = failed(envelope, FailedAttempt(NOW, str(number)))
    assert [attempt.detail for attempt in attempts(envelope)] == [str(n) for n in range(3, LONGEST_HISTORY + 3)]


def test_what_asked_no_destination_does_not_displace_what_did() -> None:
    """Otherwise an event that a busy destination rejects would never count as tried before."""
    envelope: Envelope = msgspec.structs.replace(changes(rich(WRITTEN)), destination="search")
    for attempt in (FailedAttempt(NOW, "it answers 422", asked=True), *(FailedAttempt(NOW, "it is busy"),) * 20):
        envelope = failed(envelope, attempt)
    assert len(attempts(envelope)) == 2
    assert tried_before(["1"], envelope) == {"1": NOW}


def test_a_refused_item_of_any_size_leaves_a_small_row(relay: NotingRelay) -> None:
    huge = rich(WRITTEN) | {"resource": "x" * 100_000, "subscriptionId": "y" * 100_000, "changeType": "z" * 100_000}
    relay.paths.refused([(raw(huge), Reason.TOKEN_KEY), (msgspec.Raw(b"[]"), Reason.MALFORMED)], changes())
    assert all(len(str(row["path"])) < 4_000 for row in relay.tables.partition("paths", "failed"))
    assert len(relay.paths.failures()) == 2
