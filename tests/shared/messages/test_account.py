"""The account of queued, handled and waiting items balances, and a shortfall is reported."""

import random
from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest

from shared.messages import account
from shared.messages.account import ANY, SETTLING_TIME, Account
from shared.messages.envelope import ChangeBatch, ReadbackPage
from tests.builders import NOW, TENANT, Clock, change, changes, declaration, minted
from tests.memory import MemoryTables

HOUR = timedelta(hours=1)
LONGEST = timedelta(days=9)
OURS, OTHERS = declaration(), declaration("/teams/getAllMessages")


class Instances:
    """Processes with one account, on one clock."""

    def __init__(self) -> None:
        self.clock = Clock(NOW)
        self.tables = MemoryTables()
        self._random = random.Random(1)

    def process(self) -> Account:
        return Account(self.tables, self.clock, self._random.randbytes)

    def shortfall(self, waiting: int) -> dict[str, int]:
        """Return the missing items, by hour, as a new process finds them."""
        found = self.process().shortfall(waiting, LONGEST)
        return {f"{hour:%H}": items for hour, items in found.items.items()} if found else {}


def batch(number: int = 2, resource: str = OURS.resource) -> ChangeBatch:
    return changes(*[change(clientState=minted(TENANT, resource)) for _ in range(number)])


@pytest.fixture
def instances() -> Instances:
    return Instances()


def received(process: Account, *envelopes: ChangeBatch) -> None:
    process.received(envelopes)
    process.flush()


def test_what_was_handled_by_another_process_closes_the_account(instances: Instances) -> None:
    received(instances.process(), batch(), batch())
    worker = instances.process()
    for _ in range(2):
        worker.ended(batch(), delivered=1, duplicates=1)
        worker.finished(batch())
    (hour,) = worker.hours().values()
    assert (hour.queued, hour.items, hour.messages) == (4, 0, 0)
    assert hour.outcomes["delivered"] + hour.outcomes["duplicates"] == hour.queued
    instances.clock.advance(hours=30)
    assert instances.shortfall(waiting=0) == {}


def test_what_was_settled_and_never_handled_is_missing_once_it_no_longer_waits(instances: Instances) -> None:
    received(instances.process(), batch(3))
    instances.clock.now = NOW.replace(minute=0, second=0) + HOUR + SETTLING_TIME
    assert instances.shortfall(waiting=1) == {}  # it may be the missing one
    assert instances.shortfall(waiting=0) == {f"{NOW:%H}": 3}


def test_an_hour_is_left_alone_until_every_process_has_entered_what_it_queued(instances: Instances) -> None:
    received(instances.process(), batch())
    instances.clock.advance(minutes=30)
    assert instances.shortfall(waiting=0) == {}


def test_what_waits_for_a_retry_is_not_missing(instances: Instances) -> None:
    received(instances.process(), batch())
    worker = instances.process()
    worker.enqueued(msgspec.structs.replace(batch(1), attempt=1))
    worker.finished(batch())
    instances.clock.advance(hours=30)
    assert instances.shortfall(waiting=1) == {}
    assert instances.shortfall(waiting=0) == {f"{NOW:%H}": 1}


def test_nothing_can_wait_for_longer_than_a_message_can_be_queued(instances: Instances) -> None:
    received(instances.process(), batch())
    instances.clock.advance(days=LONGEST.days, hours=2)
    assert instances.shortfall(waiting=1000) == {f"{NOW:%H}": 2}


def test_a_message_that_was_handled_twice_hides_nothing_of_another_hour(instances: Instances) -> None:
    process = instances.process()
    received(process, batch())
    process.finished(batch())
    process.finished(batch())
    later = msgspec.structs.replace(batch(), received=NOW + 5 * HOUR)
    received(process, later)
    instances.clock.advance(hours=30)
    assert instances.shortfall(waiting=0) == {f"{NOW + 5 * HOUR:%H}": 2}


def test_the_declarations_concerned_are_named(instances: Instances) -> None:
    process = instances.process()
    received(process, batch(1, OURS.resource), batch(2, OTHERS.resource))
    process.finished(batch(1, OURS.resource))
    instances.clock.advance(hours=3)
    found = process.shortfall(0, LONGEST)
    assert found is not None
    assert found.declarations == {OTHERS.id}


def test_of_too_many_declarations_any_may_be_concerned(instances: Instances, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "_MOST_DECLARATIONS", 1)
    received(instances.process(), batch(1, OURS.resource), batch(1, OTHERS.resource))
    instances.clock.advance(hours=3)
    found = instances.process().shortfall(0, LONGEST)
    assert found is not None
    assert found.declarations == {ANY}


def test_a_shortfall_is_reported_once_and_a_further_one_again(instances: Instances) -> None:
    process = instances.process()
    received(process, batch())
    instances.clock.advance(hours=3)
    found = process.shortfall(0, LONGEST)
    assert found is not None
    process.report(found)
    assert instances.shortfall(waiting=0) == {}
    received(process, batch(1))
    assert instances.shortfall(waiting=0) == {f"{NOW:%H}": 1}


def test_pages_and_replayed_dead_letters_are_no_receipts(instances: Instances) -> None:
    process = instances.process()
    process.finished(msgspec.structs.replace(batch(), replayed=NOW))
    process.finished(ReadbackPage(NOW, TENANT, "/chats/getAllMessages", NOW, NOW))
    assert process.hours() == {}


def test_while_the_tables_are_unavailable_entries_are_kept(instances: Instances) -> None:
    process = instances.process()
    instances.tables.available = False
    process.finished(batch())
    instances.tables.available = True
    process.finished(batch())
    (hour,) = process.hours().values()
    assert hour.messages == -2


def test_entries_after_a_row_was_forgotten_make_another(instances: Instances) -> None:
    process = instances.process()
    received(process, batch())
    instances.clock.advance(hours=12)
    received(process, msgspec.structs.replace(batch(), received=instances.clock.now))
    process.finished(batch())
    (first, _) = process.hours().values()
    assert (first.messages, first.queued) == (0, 2)


@pytest.mark.parametrize(("days", "left"), [(9, 1), (11, 0)])
def test_rows_are_deleted_when_nothing_of_their_hour_can_wait(instances: Instances, days: int, left: int) -> None:
    process = instances.process()
    received(process, batch())
    instances.clock.advance(days=days)
    process.drop_expired(LONGEST + timedelta(days=1))
    assert len(process.hours()) == left


def test_threads_that_finish_together_share_a_write(instances: Instances) -> None:
    """Each call returns only when its entry is durable."""
    process = instances.process()
    writes: list[int] = []
    put_all = instances.tables.put_all

    def counting(*arguments: object) -> None:
        writes.append(1)
        if len(writes) == 1:  # during this write, others come
            for _ in range(5):
                process.enqueued(batch())
        put_all(*arguments)  # type: ignore[arg-type]

    flushing: Callable[[], None] = process.flush
    instances.tables.put_all = counting  # type: ignore[method-assign,assignment]
    process.enqueued(batch())
    flushing()
    for _ in range(5):
        flushing()
    assert len(writes) == 2
    (hour,) = process.hours().values()
    assert hour.messages == 6
