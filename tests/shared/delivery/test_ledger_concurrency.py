"""The ledger with several concurrent writers: no recorded event is forgotten, no other event is known."""

import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import chain
from threading import Barrier

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.configuration.settings import StorageSettings
from shared.delivery.event import Event
from shared.delivery.ledger import Ledger
from shared.storage.tables import TRANSACTION_LIMIT
from tests import accounts
from tests.builders import NOW, TENANT

WRITERS = 6


def event(number: int, *, run: str = "", apart: timedelta = timedelta(milliseconds=40)) -> Event:
    """Event number so-and-so; neighbours share a second, and so a partition."""
    return Event(
        id=f"{TENANT}/chats/c/messages/{number}@{run}",
        source=f"/tenants/{TENANT}/chats/c/messages",
        subject=f"chats/c/messages/{number}",
        type="Microsoft.Graph.ChatMessageCreated",
        time=NOW + number * apart,
        version=run,
        data=msgspec.Raw(b"{}"),
    )


@pytest.fixture
def open_ledger(storage_settings: StorageSettings) -> Callable[[], Ledger]:
    """A ledger with clients of its own, like another process; the tables do not exist yet."""
    return lambda: Ledger(accounts.tables(storage_settings), timedelta(days=60))


def at_once(actions: Sequence[Callable[[], object]]) -> None:
    """Start all actions at the same moment, and wait for all; raises the exception of any of them."""
    start = Barrier(len(actions))

    def run(action: Callable[[], object]) -> None:
        start.wait()
        action()

    with ThreadPoolExecutor(len(actions)) as threads:
        for running in [threads.submit(run, action) for action in actions]:
            running.result()


def test_writers_that_find_no_table_are_all_remembered(open_ledger: Callable[[], Ledger]) -> None:
    of_each = [[event(10 * writer + number) for number in range(10)] for writer in range(WRITERS)]
    at_once([lambda own=own: open_ledger().record(own) for own in of_each])  # type: ignore[misc]
    assert open_ledger().undelivered(list(chain(*of_each))) == []


def test_writers_of_the_same_events_do_not_get_in_each_others_way(open_ledger: Callable[[], Ledger]) -> None:
    same = [event(number, apart=timedelta()) for number in range(TRANSACTION_LIMIT + 20)]
    at_once([lambda: open_ledger().record(same)] * WRITERS)
    assert open_ledger().undelivered(same) == []


def test_what_is_known_stays_known_while_others_write(open_ledger: Callable[[], Ledger]) -> None:
    known, others = [event(number) for number in range(30)], [event(number) for number in range(30, 230)]
    open_ledger().record(known)
    forgotten: list[Event] = []

    def look() -> None:
        ledger = open_ledger()
        for _ in range(10):
            forgotten.extend(ledger.undelivered(known))

    def write() -> None:
        ledger = open_ledger()
        for first in range(0, len(others), 20):
            ledger.record(others[first : first + 20])

    at_once([look, look, write, write])
    assert forgotten == []


batches = st.lists(st.lists(st.integers(0, 25), max_size=15), min_size=2, max_size=WRITERS)


@given(batches)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_event_is_delivered_by_somebody_and_known_to_all(
    open_ledger: Callable[[], Ledger], batches: list[list[int]]
) -> None:
    """Each writer does what the app does: look up, deliver undelivered events, record."""
    run = uuid.uuid4().hex  # the tables outlive an example
    delivered: list[Event] = []

    def relay(numbers: list[int]) -> None:
        ledger = open_ledger()
        undelivered = ledger.undelivered([event(number, run=run) for number in numbers])
        delivered.extend(undelivered)
        ledger.record(undelivered)

    at_once([lambda numbers=numbers: relay(numbers) for numbers in batches])  # type: ignore[misc]
    every = {event(number, run=run).id for number in chain(*batches)}
    assert {event.id for event in delivered} == every
    never = {event(number, run=run).id for number in range(26)} - every
    undelivered = open_ledger().undelivered([event(number, run=run) for number in range(26)])
    assert {event.id for event in undelivered} == never
