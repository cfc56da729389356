"""Which silence is unusual: far longer than any recent one, with a memory that fades."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.configuration.declaration import Declarations
from shared.configuration.settings import StorageSettings
from shared.storage.account import BACKGROUND_LIMITS
from shared.storage.tables import AzureTables, Row, Tables
from shared.subscriptions.silence import (
    HALF_LIFE,
    SHORTEST_ALARMING_SILENCE,
    SILENCE_FACTOR,
    WRITE_INTERVAL,
    LastNotification,
    LastSeen,
    Source,
)
from tests import accounts
from tests.builders import NOW, RESOURCE, TENANT, declaration
from tests.rerouted import refuses, rerouted
from tests.servers import serving

HOUR = timedelta(hours=1)
MOMENT = timedelta(seconds=1)
CHATS = declaration()
SOURCE = Source("3f1c0a52-7a3e-4d0e-9f0e-0c6a4f2d9b11", "key")


class CountingTables(AzureTables):
    """The real tables, with a count of writes."""

    writes = 0

    def put_all(self, table: str, partition: str, rows: Mapping[str, Row]) -> None:
        self.writes += 1
        super().put_all(table, partition, rows)


@pytest.fixture
def tables(storage_settings: StorageSettings) -> CountingTables:
    return CountingTables(storage_settings, BACKGROUND_LIMITS)


def seen_at(tables: Tables, *moments: datetime, name: str = CHATS.id) -> None:
    """Each by a new process, which remembers nothing."""
    for moment in moments:
        LastSeen(tables).note({name: SOURCE}, moment)


def last(last_seen: LastSeen) -> dict[str, datetime]:
    return {notification.declaration: notification.last for notification in last_seen.all()}


@pytest.fixture
def is_unusual(tables: Tables, caplog: pytest.LogCaptureFixture) -> "Unusual":
    return Unusual(tables, caplog)


class Unusual:
    """Whether a warning of the silence at a time is logged."""

    def __init__(self, tables: Tables, caplog: pytest.LogCaptureFixture) -> None:
        self._tables, self._caplog = tables, caplog

    def __call__(self, now: datetime) -> bool:
        self._caplog.clear()
        LastSeen(self._tables).report(Declarations([CHATS]), now)
        return [record.levelname for record in self._caplog.records] == ["WARNING"]


def test_what_was_never_seen_is_not_silent(is_unusual: Unusual) -> None:
    assert not is_unusual(NOW)


def test_short_silences_are_never_unusual(tables: Tables, is_unusual: Unusual) -> None:
    seen_at(tables, NOW)
    assert not is_unusual(NOW + SILENCE_FACTOR * SHORTEST_ALARMING_SILENCE)
    assert is_unusual(NOW + SILENCE_FACTOR * SHORTEST_ALARMING_SILENCE + MOMENT)


def test_the_longest_silence_so_far_is_the_measure(tables: Tables, is_unusual: Unusual) -> None:
    seen_at(tables, NOW, NOW + 10 * HOUR, NOW + 11 * HOUR)
    assert not is_unusual(NOW + 11 * HOUR + 28 * HOUR)
    assert is_unusual(NOW + 11 * HOUR + 31 * HOUR)


def test_the_measure_fades(tables: Tables, is_unusual: Unusual) -> None:
    """A silence of 40 hours, two half-lives ago, and steady traffic since, counts as one of 10."""
    seen_at(tables, NOW, NOW + 40 * HOUR)
    row = dict(tables.get("state", "silence", CHATS.id) or {})
    later = NOW + 40 * HOUR + 2 * HALF_LIFE
    tables.put("state", "silence", CHATS.id, {"last": row["last"], "longest": row["longest"]})
    seen_at(tables, later)
    assert float(str((tables.get("state", "silence", CHATS.id) or {})["longest"])) == (2 * HALF_LIFE).total_seconds()
    tables.put("state", "silence", CHATS.id, {"last": later.isoformat(), "longest": 40 * 3600.0})
    assert not is_unusual(later + 60 * HOUR)
    tables.put("state", "silence", CHATS.id, {"last": later.isoformat(), "longest": 40 * 3600.0 / 4})
    assert is_unusual(later + 60 * HOUR)


def test_a_warning_names_the_resource_and_what_to_do(tables: Tables, caplog: pytest.LogCaptureFixture) -> None:
    seen_at(tables, NOW)
    LastSeen(tables).report(Declarations([CHATS, declaration("/users")]), NOW + 5 * HOUR)
    assert f"{RESOURCE} in tenant {TENANT} has been silent for 5.0 hours" in caplog.text
    assert "ops reconcile --anew" in caplog.text
    assert "/users" not in caplog.text


def test_what_is_declared_no_more_is_not_reported(tables: Tables, caplog: pytest.LogCaptureFixture) -> None:
    seen_at(tables, NOW)
    LastSeen(tables).report(Declarations([]), NOW + 100 * HOUR)
    assert caplog.messages == []


def test_a_busy_subscription_costs_one_write_a_minute(tables: CountingTables) -> None:
    last_seen = LastSeen(tables)
    for seconds in range(0, 125, 5):
        last_seen.note({"d": SOURCE}, NOW + timedelta(seconds=seconds))
    assert tables.writes == 3
    assert last(last_seen) == {"d": NOW + 2 * WRITE_INTERVAL}


def test_another_subscription_or_key_is_noted_at_once(tables: CountingTables) -> None:
    last_seen = LastSeen(tables)
    other = Source(SOURCE.subscription_id, "new key")
    last_seen.note({"d": SOURCE}, NOW)
    last_seen.note({"d": other}, NOW + MOMENT)
    assert last_seen.all() == [LastNotification("d", other, NOW + MOMENT)]


def test_each_declaration_is_noted_by_itself(tables: CountingTables) -> None:
    last_seen = LastSeen(tables)
    last_seen.note({"d": SOURCE, "e": SOURCE}, NOW)
    last_seen.note({"e": SOURCE}, NOW + HOUR)
    assert last(last_seen) == {"d": NOW, "e": NOW + HOUR}


def test_many_declarations_of_one_envelope_cost_one_transaction(tables: CountingTables) -> None:
    last_seen = LastSeen(tables)
    names = {f"d{number}": SOURCE for number in range(100)}
    last_seen.note(names, NOW)
    assert tables.writes == 1
    LastSeen(tables).note(names, NOW + HOUR)
    assert last(last_seen) == dict.fromkeys(names, NOW + HOUR)


def test_while_tables_are_unavailable_nothing_stops(storage_settings: StorageSettings) -> None:
    with serving(refuses) as server:
        LastSeen(accounts.tables(rerouted(storage_settings, "Table", server.url))).note({"d": SOURCE}, NOW)
        assert server.asked != []


@given(st.lists(st.timedeltas(-3 * HOUR, 3 * HOUR), min_size=1, max_size=6), st.booleans())
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_last_seen_is_the_latest_in_whatever_order_messages_are_processed(
    tables: Tables, apart: list[timedelta], alone: bool
) -> None:
    """`alone`: each by another process, so that none is skipped; otherwise within a minute of the latest."""
    name, moments = uuid.uuid4().hex, [NOW + interval for interval in apart]
    last_seen = LastSeen(tables)
    for moment in moments:
        (LastSeen(tables) if alone else last_seen).note({name: SOURCE}, moment)
    latest = last(last_seen)[name]
    assert latest == max(moments) if alone else timedelta(0) <= max(moments) - latest < WRITE_INTERVAL
