"""Rows that somebody else has written: the subscriptions are renewed all the same."""

from datetime import timedelta

import pytest

from shared.errors import RetryLater
from shared.storage.state import STATE, number_in
from shared.subscriptions.silence import LastSeen, Source
from tests.builders import NOW, TENANT, declaration
from tests.memory import MemoryTables
from tests.shared.subscriptions.tenants_in_memory import TenantsInMemory

OURS = declaration("/users", rich=False)


@pytest.fixture
def world() -> TenantsInMemory:
    world = TenantsInMemory(OURS)
    world.run()
    world.clock.now += timedelta(days=20)
    world.asked.clear()
    return world


@pytest.mark.parametrize(
    ("partition", "name", "row"),
    [
        ("recovered", OURS.id, {"seconds": "12 x"}),
        ("recovered", OURS.id, {}),
        ("silence", OURS.id, {"last": NOW.isoformat(), "longest": "long", "subscription": "a", "key": "b"}),
        (f"subscriptions-{TENANT}", "odd", {"declaration": OURS.id, "expires": NOW.isoformat(), "times": "a few"}),
        ("tenants", "odd", {"declared": "long ago"}),
        ("sources", "odd", {"count": "many"}),
    ],
)
def test_an_odd_row_keeps_no_subscription_from_being_renewed(
    world: TenantsInMemory, partition: str, name: str, row: dict[str, str]
) -> None:
    world.account.tables.put(STATE, partition, name, row)
    world.run()
    assert len(world.calls("PATCH")) == 1


def test_an_unforeseen_error_of_the_key_store_keeps_no_subscription_from_being_renewed(
    world: TenantsInMemory, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> list[str]:
        raise ValueError("unforeseen")

    world.keys.ids = fails
    world.declare(OURS)  # a process that has no key yet
    world.run()
    assert len(world.calls("PATCH")) == 1
    assert "Looking for the encryption key failed; the next run retries" in caplog.text
    assert "ValueError: unforeseen" in caplog.text


@pytest.mark.parametrize("odd", ["a few", "", "nan", "inf", "1e999"])
def test_a_number_that_cannot_be_read_names_its_row(odd: str) -> None:
    row = {"PartitionKey": "p", "RowKey": "r", "count": odd}
    with pytest.raises(RetryLater, match="the row 'p', 'r' of the table state can't be read; delete it"):
        number_in(row, "count")
    assert number_in({"count": 3}, "count") == 3
    assert number_in({}, "count") == 0


def test_an_odd_row_of_silence_keeps_no_notification_from_being_noted() -> None:
    tables = MemoryTables()
    tables.put(STATE, "silence", OURS.id, {"last": NOW.isoformat(), "longest": "long"})
    LastSeen(tables).note({OURS.id: Source("a")}, NOW + timedelta(hours=1))  # a gauge: it raises nothing
