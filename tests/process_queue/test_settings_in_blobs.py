"""Declarations and destinations in blobs that change while the app runs: no item is lost or refused."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import requests

from graph_simulator.authority import Authority
from process_queue.handler import MessageHandler
from process_queue.verify import UNDECLARED_ATTEMPTS
from shared.errors import Reason, RetryLater
from shared.messages.envelope import ChangeBatch, ReadbackPage, read
from shared.relay import Relay
from tests.builders import TENANT, change, changes, destination_secret, minted
from tests.process_queue.readback_harness import asked_for
from tests.security.attacked import AttackedRelay, attacked
from tests.servers import RecordedRequest, ScriptedResponse, Server, serving

DECLARED = "https://config.blob.core.windows.net/relay/subscriptions.json"
FURTHER = "https://config.blob.core.windows.net/relay/destinations.json"
CHANGE = changes(change("users/5d", clientState=minted(TENANT, "/users")))
PAGE = asked_for("/users")


@pytest.fixture
def app(tmp_path: Path, authority: Authority, session: requests.Session) -> Iterator[AttackedRelay]:
    with attacked(
        tmp_path,
        authority,
        session,
        [],
        SUBSCRIPTIONS=DECLARED,
        DESTINATIONS=FURTHER,
        DESTINATION_SEARCH_SECRET=destination_secret(),
    ) as running:
        declare(running, "/users")
        send_to(running)
        yield running


@dataclass
class Received:
    server: Server
    events: list[dict[str, Any]]


@pytest.fixture
def search() -> Iterator[Received]:
    events: list[dict[str, Any]] = []

    def take(request: RecordedRequest) -> ScriptedResponse:
        events.extend(json.loads(request.body))
        return ScriptedResponse(204)

    with serving(take) as server:
        yield Received(server, events)


def declare(app: AttackedRelay, *resources: str) -> None:
    app.clock.advance(seconds=1)
    entries = [{"resource": resource, "changeTypes": ["updated"]} for resource in resources]
    app.account.documents.put(DECLARED, json.dumps(entries))


def send_to(app: AttackedRelay, *destinations: dict[str, Any]) -> None:
    app.clock.advance(seconds=1)
    app.account.documents.put(FURTHER, json.dumps(destinations))


def another(app: AttackedRelay, session: requests.Session) -> Relay:
    """Start another instance."""
    return Relay(app.relay.settings, app.account.clients(), clock=app.clock, session=session)


def deliver(app: AttackedRelay, resource: str) -> None:
    app.post(change(f"{resource.strip('/')}/5d", clientState=minted(TENANT, resource)))
    app.drain()


def test_an_instance_that_is_behind_delivers_what_another_has_subscribed_to(app: AttackedRelay) -> None:
    deliver(app, "/users")
    declare(app, "/users", "/groups")  # and another instance subscribes at once
    deliver(app, "/groups")
    assert [event["subject"] for event in app.events] == ["users/5d", "groups/5d"]
    assert app.waiting() == 0


def test_items_wait_while_the_declarations_cannot_be_read(app: AttackedRelay) -> None:
    app.account.documents.available = False
    deliver(app, "/users")
    assert (app.events, app.waiting()) == ([], 1)
    app.account.documents.available = True
    app.settle()
    assert (len(app.events), app.waiting(), app.dead()) == (1, 0, [])


def test_notifications_are_acknowledged_without_the_blobs(app: AttackedRelay) -> None:
    app.account.documents.available = False
    assert app.post(change("users/5d", clientState=minted(TENANT, "/users"))).status == 202
    assert app.account.documents.reads == 0


def test_the_timer_reads_the_blobs_and_goes_by_them(app: AttackedRelay) -> None:
    app.tick()
    assert [declaration.resource for declaration in app.relay.declarations] == ["/users"]
    declare(app, "/groups")
    app.tick()
    assert [declaration.resource for declaration in app.relay.declarations] == ["/groups"]


def test_a_new_destination_receives_events_and_the_others_stay_as_they_are(
    app: AttackedRelay, search: Received
) -> None:
    deliver(app, "/users")
    before = app.relay.destinations["default"]
    send_to(app, {"name": "search", "url": f"{search.server.url}/", "secret": "%DESTINATION_SEARCH_SECRET%"})
    app.relay.read_blobs()
    deliver(app, "/users")
    assert len(search.events) == 1
    assert app.relay.destinations["default"] is before
    send_to(app)
    app.relay.read_blobs()
    deliver(app, "/users")
    assert (len(search.events), len(app.events)) == (1, 3)


def test_what_waits_for_a_destination_that_another_instance_knows_is_no_dead_letter(
    app: AttackedRelay, search: Received, session: requests.Session
) -> None:
    behind = another(app, session)
    assert list(behind.destinations) == ["default"]
    search.server.script = lambda _: ScriptedResponse(503)
    send_to(app, {"name": "search", "url": f"{search.server.url}/", "secret": "%DESTINATION_SEARCH_SECRET%"})
    deliver(app, "/users")
    assert app.waiting() == 1
    for text in app.account.queues.take():
        MessageHandler(behind).handle_message(text)
    assert (app.dead(), app.waiting()) == ([], 1)


@pytest.mark.parametrize("envelope", [CHANGE, PAGE], ids=["change", "page"])
def test_while_the_destinations_cannot_be_read_at_all_nothing_is_judged_or_counted_as_an_attempt(
    app: AttackedRelay, session: requests.Session, envelope: ChangeBatch | ReadbackPage
) -> None:
    app.account.documents.remove(FURTHER)
    started = another(app, session)
    handler = MessageHandler(started)
    for _ in range(12):
        handler.handle([envelope])
        (text,) = app.account.queues.take()
        envelope = cast("ChangeBatch | ReadbackPage", read(text))
        app.clock.advance(minutes=5)
    assert envelope.attempt == 0
    assert max(app.account.queues.delays) < timedelta(minutes=5)
    assert started.path_log.failures() == []
    assert app.graph.asked == []


@pytest.mark.parametrize("envelope", [CHANGE, PAGE], ids=["change", "page"])
def test_what_waits_for_a_destination_is_no_dead_letter_while_nobody_can_tell_whether_there_is_one(
    app: AttackedRelay, session: requests.Session, envelope: ChangeBatch | ReadbackPage
) -> None:
    behind = another(app, session)
    assert list(behind.destinations) == ["default"]
    waiting = msgspec.structs.replace(envelope, destination="search")
    app.account.documents.available = app.account.tables.available = False
    MessageHandler(behind).handle([waiting])
    app.account.documents.available = app.account.tables.available = True
    assert app.dead() == []
    (text,) = app.account.queues.take()
    MessageHandler(behind).handle([read(text)])
    assert [letter.reason for letter in app.dead()] == [Reason.DESTINATION_UNKNOWN]


def test_what_another_instance_has_declared_is_not_refused_while_nobody_can_tell(
    app: AttackedRelay, session: requests.Session
) -> None:
    behind = another(app, session)
    behind.read_blobs()
    declare(app, "/users", "/groups")
    app.account.documents.available = app.account.tables.available = False
    item = change("groups/5d", clientState=minted(TENANT, "/groups"))
    MessageHandler(behind).handle([changes(item, attempt=UNDECLARED_ATTEMPTS)])
    app.account.documents.available = app.account.tables.available = True
    (text,) = app.account.queues.take()
    MessageHandler(behind).handle([read(text)])
    assert [event["subject"] for event in app.events] == ["groups/5d"]


def test_the_backlog_of_a_removed_destination_costs_one_look_at_the_blob(
    app: AttackedRelay, session: requests.Session
) -> None:
    relay = another(app, session)
    handler = MessageHandler(relay)
    waiting = msgspec.structs.replace(CHANGE, destination="search")
    for _ in range(5):
        handler.requeue.later(waiting, RetryLater(Reason.DESTINATION))
    list(relay.destinations)
    app.clock.advance(minutes=10)
    list(relay.destinations)
    before = app.account.documents.reads
    for text in app.account.queues.take():
        app.clock.advance(seconds=1)
        handler.handle([read(text)])
    assert len(app.dead()) == 5
    assert app.account.documents.reads == before


def test_a_blob_cannot_refer_to_other_settings(app: AttackedRelay, caplog: pytest.LogCaptureFixture) -> None:
    app.relay.read_blobs()
    url = "https://elsewhere.example.org/"
    for reference in ("%CLIENT_STATE_SECRET%", "\\u0025CLIENT_STATE_SECRET\\u0025"):
        text = f'[{{"name": "thief", "url": "{url}", "headers": {{"x-key": "{reference}"}}}}]'
        app.clock.advance(seconds=1)
        app.account.documents.put(FURTHER, text)
        with caplog.at_level(logging.ERROR):
            app.relay.read_blobs()
        assert list(app.relay.destinations) == ["default"]
        assert "CLIENT_STATE_SECRET" in caplog.text
        caplog.clear()
