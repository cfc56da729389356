"""The size and age of the queue, of a real storage account."""

from datetime import timedelta

import pytest

from local.host import metrics
from shared.configuration.settings import StorageSettings
from shared.errors import RetryLater
from shared.messages.backlog import Backlog, backlog, report
from shared.messages.envelope import write
from shared.storage.queues import Queue, Queues
from tests import builders
from tests.accounts import queues
from tests.builders import NOW
from tests.rerouted import refuses, rerouted
from tests.servers import serving

HOUR = timedelta(hours=1)
GAUGES = ("graph_relay.queue_length", "graph_relay.queue_waiting_seconds", "graph_relay.dead_letters")


@pytest.fixture
def storage(storage_settings: StorageSettings) -> Queues:
    made = queues(storage_settings)
    made.create_missing()
    return made


def queued() -> str:
    """A queue message of notifications received at NOW."""
    return write(builders.changes(builders.change()))


def gauged() -> list[float]:
    """The values of the gauges, in the order above."""
    shown = {point["name"]: point["value"] for point in metrics.current() if point["name"] in GAUGES}
    return [shown[name] for name in GAUGES]


def test_nothing_waits_in_an_empty_queue(storage: Queues) -> None:
    assert backlog(storage, NOW) == Backlog(0, None)


def test_the_oldest_receipt_counts_and_not_when_it_was_queued(storage: Queues) -> None:
    storage.send(queued())
    assert backlog(storage, NOW + HOUR) == Backlog(1, 3600)


def test_what_waits_for_its_next_attempt_is_counted_and_does_not_age(storage: Queues) -> None:
    storage.send(queued(), delay=HOUR)
    assert backlog(storage, NOW + HOUR) == Backlog(1, None)


def test_looking_leaves_everything_where_it_is(storage: Queues) -> None:
    storage.send(queued())
    assert [backlog(storage, NOW).messages for _ in range(2)] == [1, 1]


def test_the_gauges_show_the_queue_and_the_dead_letters(storage: Queues) -> None:
    metrics.reader()
    report(storage, NOW)
    assert gauged() == [0, 0, 0]
    storage.send(queued())
    storage.send(queued(), Queue.DEAD_LETTERS)
    report(storage, NOW + HOUR)
    assert gauged() == [1, 3600, 1]


def test_a_storage_account_that_is_unavailable_is_reported(storage_settings: StorageSettings) -> None:
    with serving(refuses) as server:
        unavailable = queues(rerouted(storage_settings, "Queue", server.url))
        with pytest.raises(RetryLater):
            report(unavailable, NOW)
