"""Rows: written rows are read back, whatever they hold; a missing table is empty."""

import threading
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.configuration.settings import StorageSettings
from shared.errors import NotAttempted, Reason, RetryLater, TimedOut
from shared.storage.account import TimeLimits
from shared.storage.tables import TRANSACTION_LIMIT, AzureTables, Row, Tables
from tests import accounts
from tests.builders import Clock
from tests.rerouted import ACCOUNT, refuses, rerouted
from tests.servers import RecordedRequest, ScriptedResponse, serving
from tests.waiting import LIMIT

FORBIDDEN = "/\\#?"  # in keys, by Storage's rules; and so are control characters

keys = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters=FORBIDDEN), min_size=1, max_size=40
)  # fmt: skip
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
values = texts | st.booleans() | st.integers(-(2**31), 2**31 - 1) | st.floats(allow_nan=False, allow_infinity=False)
rows = st.dictionaries(st.sampled_from(["since", "link", "longest", "due"]), values, max_size=4)


def found(tables: Tables, partition: str) -> list[Row]:
    return list(tables.partition("state", partition))


def own(row: Row | None) -> Row | None:
    """A row without its keys."""
    return row and {name: value for name, value in row.items() if name not in ("PartitionKey", "RowKey")}


def test_a_table_that_does_not_exist_is_empty_and_has_nothing_to_remove(tables: Tables) -> None:
    assert tables.get("state", "p", "k") is None
    assert found(tables, "p") == []
    assert tables.names() == []
    tables.remove("state", "p", "k")
    tables.drop("state")


@given(st.lists(st.tuples(keys, keys, rows), max_size=4))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_last_is_read(tables: Tables, written: list[tuple[str, str, Row]]) -> None:
    for partition, key, row in written:
        tables.put("state", partition, key, row)
    for partition, key in {(partition, key) for partition, key, _ in written}:
        *_, last = (row for *place, row in written if place == [partition, key])
        assert own(tables.get("state", partition, key)) == last
        tables.remove("state", partition, key)
        assert tables.get("state", partition, key) is None


def test_a_row_is_replaced_whole(tables: Tables) -> None:
    tables.put("state", "p", "k", {"a": 1, "b": "x"})
    tables.put("state", "p", "k", {"b": "y"})
    assert own(tables.get("state", "p", "k")) == {"b": "y"}


@pytest.mark.parametrize("number", [0, 1, TRANSACTION_LIMIT, TRANSACTION_LIMIT + 2])
def test_any_number_of_rows_is_written_together_table_or_no_table(tables: Tables, number: int) -> None:
    for _ in range(2):
        tables.put_all("state", "p", {f"k{n}": {"n": n} for n in range(number)})
        assert {row["RowKey"]: row["n"] for row in found(tables, "p")} == {f"k{n}": n for n in range(number)}


def test_a_query_stays_within_its_partition_whatever_its_parameters(tables: Tables) -> None:
    quoted = "p' or 'a' eq 'a"
    for partition in ("p", "q", quoted):
        tables.put("state", partition, "k", {})
    assert [row["PartitionKey"] for row in found(tables, "p")] == ["p"]
    assert [row["PartitionKey"] for row in found(tables, quoted)] == [quoted]


def test_of_the_rows_of_a_partition_only_some_columns_are_read(tables: Tables) -> None:
    tables.put_all("state", "p", {"1": {"a": b"\x00\xff", "b": "y"}, "2": {"b": "x"}})
    read = list(tables.partition("state", "p", columns=("RowKey", "a")))
    assert [(row["RowKey"], row.get("a")) for row in read] == [("1", b"\x00\xff"), ("2", None)]
    assert not any("b" in row for row in read)


def test_the_rows_of_all_partitions_are_read(tables: Tables) -> None:
    assert list(tables.rows("state")) == []
    tables.put("state", "p", "1", {"a": "x", "b": "y"})
    tables.put("state", "q", "2", {"b": "x"})
    assert [(row["PartitionKey"], row["RowKey"]) for row in tables.rows("state")] == [("p", "1"), ("q", "2")]


def test_a_dropped_table_is_gone_and_its_neighbours_stay(tables: Tables) -> None:
    for table in ("state", "ledger20310127"):
        tables.put(table, "p", "k", {})
    assert sorted(tables.names()) == ["ledger20310127", "state"]
    tables.drop("ledger20310127")
    assert tables.names() == ["state"]


def test_apps_with_queues_of_their_own_share_an_account_and_no_row(storage_settings: StorageSettings) -> None:
    tables = accounts.tables(storage_settings)
    other = accounts.tables(replace(storage_settings, queue=f"{storage_settings.queue}2"))
    tables.put("state", "p", "k", {"of": "one"})
    assert other.get("state", "p", "k") is None
    other.put("state", "p", "k", {"of": "another"})
    other.drop("state")
    assert own(tables.get("state", "p", "k")) == {"of": "one"}


def test_an_account_that_refuses_is_unavailable_and_is_not_named(storage_settings: StorageSettings) -> None:
    with serving(refuses) as server:
        tables = accounts.tables(rerouted(storage_settings, "Table", server.url))
        for attempt in (
            lambda: tables.get("state", "p", "k"),
            lambda: tables.put("state", "p", "k", {}),
            lambda: tables.put_all("state", "p", {"k": {}, "l": {}}),
            lambda: tables.remove("state", "p", "k"),
            lambda: found(tables, "p"),
            lambda: list(tables.rows("state")),
            tables.names,
            lambda: tables.drop("state"),
        ):
            with pytest.raises(RetryLater) as unavailable:
                attempt()
            assert unavailable.value.reason is Reason.STORAGE
            assert "127.0.0.1" not in str(unavailable.value)


@pytest.mark.parametrize("queue", ["abc", "a" * 44, "a-b-1", "a" * 50])
def test_every_queue_that_the_settings_allow_has_tables(storage_settings: StorageSettings, queue: str) -> None:
    tables = accounts.tables(replace(storage_settings, queue=queue))
    tables.put("ledger20310127", "p", "k", {"a": 1})
    assert own(tables.get("ledger20310127", "p", "k")) == {"a": 1}


@pytest.mark.server
def test_while_the_tables_hang_one_caller_waits_for_them() -> None:
    """An envelope reads the tables several times in turn, and its invocation must end."""
    hangs = threading.Event()

    def hang(_: RecordedRequest) -> ScriptedResponse:
        hangs.wait(LIMIT)
        return ScriptedResponse()

    with serving(hang) as server:
        limits = TimeLimits(connect=LIMIT, read=0.2, retries=0, backoff=0)
        account = f"AccountName={ACCOUNT};AccountKey=a2V5;TableEndpoint={server.url}/{ACCOUNT}"
        tables = AzureTables(StorageSettings("q", account), limits, Clock())
        failures: list[type[RetryLater]] = []
        for number in range(20):
            try:
                tables.get("state", "p", str(number))
            except RetryLater as failure:
                failures.append(type(failure))
        hangs.set()
        assert failures == [TimedOut] + [NotAttempted] * 19
        assert len(server.asked) == 1
