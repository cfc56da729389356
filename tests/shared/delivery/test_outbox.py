"""The last step of every event: lookup and record in real tables, delivery to a real server."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
import requests

from local.host import metrics
from shared.configuration.settings import StorageSettings
from shared.delivery.destination import Destination
from shared.delivery.event import Event
from shared.delivery.ledger import Ledger
from shared.delivery.outbox import Outbox
from tests import accounts
from tests.builders import NOW, destination_secret
from tests.rerouted import refuses, rerouted
from tests.servers import RecordedRequest, ScriptedResponse, Server, serving
from tests.shared.delivery.test_destination import rejecting, some

KEPT = timedelta(days=60)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(lambda _: ScriptedResponse(204)) as running:
        yield running


@pytest.fixture
def destination(server: Server, session: requests.Session) -> Destination:
    return Destination(server.url, [destination_secret()], session, lambda: NOW)


@pytest.fixture
def ledger(storage_settings: StorageSettings) -> Ledger:
    return Ledger(accounts.tables(storage_settings), KEPT)


@pytest.fixture
def outbox(destination: Destination, ledger: Ledger) -> Outbox:
    return Outbox(destination, ledger)


def ids(asked: list[RecordedRequest]) -> list[list[str]]:
    """Return the ids of the events of each request."""
    return [[event["id"] for event in json.loads(request.body)] for request in asked]


def delivered_so_far() -> float:
    metrics.reader()
    points = [point for point in metrics.current() if point["name"] == "graph_relay.delivered"]
    return sum(float(point["value"]) for point in points)


def test_what_was_delivered_is_recorded_and_not_delivered_again(outbox: Outbox, server: Server) -> None:
    events = some(4)
    before = delivered_so_far()
    assert outbox.deliver(events[:2]).delivered == tuple(events[:2])
    assert outbox.deliver(events).delivered == tuple(events[2:])
    assert ids(server.asked) == [[event.id for event in events[:2]], [event.id for event in events[2:]]]
    assert delivered_so_far() - before == 4


def test_where_everything_was_delivered_the_destination_is_not_asked(outbox: Outbox, server: Server) -> None:
    for _ in range(2):
        outbox.deliver(some(2))
    assert len(server.asked) == 1


def test_what_is_replayed_is_delivered_although_it_is_known(outbox: Outbox, server: Server) -> None:
    events = some(2)
    outbox.deliver(events)
    assert outbox.deliver(events, redeliver=True).delivered == tuple(events)
    assert len(server.asked) == 2


def test_what_was_not_accepted_is_not_recorded(outbox: Outbox, server: Server, ledger: Ledger) -> None:
    events = some(4)
    server.script = rejecting({events[1].id}, 400)
    delivery = outbox.deliver(events)
    assert [rejected.event for rejected in delivery.rejected] == [events[1]]
    assert ledger.undelivered(events) == [events[1]]
    server.script = lambda _: ScriptedResponse(503)
    more: list[Event] = some(6)[4:]
    assert outbox.deliver(more).undelivered == tuple(more)
    assert ledger.undelivered(more) == more


def test_a_rejected_event_is_not_delivered_again_once_it_is_settled(
    outbox: Outbox, server: Server, ledger: Ledger
) -> None:
    events = some(2)
    server.script = rejecting({events[0].id}, 400)
    outbox.record_rejected(rejected.event for rejected in outbox.deliver(events).rejected)
    assert ledger.undelivered(events) == []


def test_errors_are_isolated_where_that_is_asked_for(outbox: Outbox, server: Server) -> None:
    events = some(4)
    server.script = rejecting({events[2].id}, 500)
    assert outbox.deliver(events).undelivered == tuple(events)
    delivery = outbox.deliver(events, isolate_errors=True)
    assert delivery.delivered == (*events[:2], events[3])
    assert delivery.undelivered == (events[2],)


def test_while_the_ledger_is_unavailable_everything_is_delivered(
    destination: Destination, storage_settings: StorageSettings
) -> None:
    events = some(2)
    with serving(refuses) as table:
        ledger = Ledger(accounts.tables(rerouted(storage_settings, "Table", table.url)), KEPT)
        for _ in range(2):
            assert Outbox(destination, ledger).deliver(events).delivered == tuple(events)
