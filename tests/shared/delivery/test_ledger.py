"""The ledger by itself: recorded events are known, by id and time; whole weeks are forgotten. See also
test_ledger_concurrency.py.
"""

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.configuration.settings import StorageSettings
from shared.delivery.event import Event
from shared.delivery.ledger import Ledger
from shared.errors import RetryLater
from shared.storage.account import BACKGROUND_LIMITS
from shared.storage.tables import AzureTables, Row, Tables
from tests import accounts
from tests.builders import NOW, Clock
from tests.memory import MemoryTables
from tests.rerouted import refuses, rerouted
from tests.servers import serving

WEEK = timedelta(days=7)
KEPT = timedelta(days=60)


def event(event_id: str = "e", time: datetime = NOW) -> Event:
    return Event(event_id, "/s", "s", "t", time, "v", msgspec.Raw(b"{}"))


@pytest.fixture
def tables(storage_settings: StorageSettings) -> Tables:
    return accounts.tables(storage_settings)


@pytest.fixture
def ledger(tables: Tables) -> Ledger:
    return Ledger(tables, KEPT)


ids = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
times = st.timedeltas(-timedelta(days=15), timedelta(days=15)).map(lambda apart: NOW + apart)
moments = st.sampled_from([NOW, NOW.replace(microsecond=999_999), NOW + timedelta(seconds=1)]) | times
events = st.lists(st.builds(event, ids, moments), max_size=12, unique_by=lambda event: event.id)


@given(events, st.data())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_recorded_is_known_and_nothing_else(ledger: Ledger, events: list[Event], data: st.DataObject) -> None:
    run = uuid.uuid4().hex  # the tables outlive an example
    events = [msgspec.structs.replace(event, id=run + event.id) for event in events]
    known = data.draw(st.lists(st.sampled_from(events), max_size=12)) if events else []
    ledger.record(known)
    assert ledger.undelivered(events) == [event for event in events if event not in known]


@pytest.mark.parametrize("number", [1, 1000, 1001])
def test_any_number_of_events_of_one_second_is_known(ledger: Ledger, number: int) -> None:
    recorded = [event(f"e{n}") for n in range(number)]
    ledger.record(recorded)
    stranger = event("stranger")
    assert ledger.undelivered([*recorded, stranger]) == [stranger]


@pytest.mark.parametrize(
    "event_id",
    [
        "t/chats/19:a@thread.v2/messages/1@1",
        "t/chats/19:A@thread.v2/messages/1@1",
        "t/users/müller@x.de@1",
        "t/users/mu\N{COMBINING DIAERESIS}ller@x.de@1",
        "a'b",
        "a/b\\c#d?e%2F",
        "\0\x1f\x7f",
        "🎈" * 5_000,
        "",
    ],
)
def test_an_id_is_known_by_its_exact_spelling(ledger: Ledger, event_id: str) -> None:
    ledger.record([event(event_id)])
    assert ledger.undelivered([event(event_id)]) == []
    for other in (event_id + " ", event_id.swapcase() + "x", f"x{event_id}"):
        assert ledger.undelivered([event(other)]) != []


@pytest.mark.parametrize(
    "time", [datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC)]
)
def test_times_as_odd_as_can_be_are_known(ledger: Ledger, time: datetime) -> None:
    ledger.record([event("e", time)])
    assert ledger.undelivered([event("e", time)]) == []


def test_one_event_twice_in_a_batch_is_undelivered_twice_and_recorded_once(ledger: Ledger) -> None:
    twice = [event("e"), event("e")]
    assert ledger.undelivered(twice) == twice
    ledger.record(twice)
    assert ledger.undelivered(twice) == []


def test_nothing_is_nothing(ledger: Ledger, tables: Tables) -> None:
    assert ledger.undelivered([]) == []
    ledger.record([])
    ledger.drop_expired(NOW)
    assert tables.names() == []


ages = st.timedeltas(-WEEK, 3 * KEPT)


@given(st.lists(ages, max_size=4), st.timedeltas(-KEPT, KEPT).map(lambda apart: NOW + apart))
@example([KEPT, KEPT + WEEK, KEPT + 2 * WEEK], NOW)
@example([KEPT], datetime(2031, 2, 3, tzinfo=UTC))
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_young_stays_known_and_what_is_old_is_forgotten(
    ledger: Ledger, ages: list[timedelta], now: datetime
) -> None:
    run = uuid.uuid4().hex
    recorded = {age: event(f"{run}{age}", now - age) for age in ages}
    ledger.record(recorded.values())
    ledger.drop_expired(now)
    forgotten = ledger.undelivered(list(recorded.values()))
    assert [age for age in recorded if age <= KEPT and recorded[age] in forgotten] == []
    assert [age for age in recorded if age > KEPT + 2 * WEEK and recorded[age] not in forgotten] == []


def test_how_long_a_row_is_kept_can_be_set(tables: Tables) -> None:
    ledger = Ledger(tables, timedelta(days=3))
    old, young = event("old", NOW - timedelta(days=3) - 2 * WEEK), event("young", NOW - timedelta(days=3))
    ledger.record([old, young])
    ledger.drop_expired(NOW)
    assert ledger.undelivered([old, young]) == [old]


def test_a_week_into_which_a_backfill_writes_is_kept_though_its_changes_are_old(tables: Tables) -> None:
    """Else a chat of fifty people would come fifty times: each one's page after the week was dropped."""
    clock = Clock()
    ledger, old = Ledger(tables, KEPT, clock=clock), event("old", NOW - 3 * KEPT)
    for _ in range(3):
        ledger.record([old])
        clock.advance(hours=2)
        Ledger(tables, KEPT, clock=clock).drop_expired(clock())
        assert ledger.undelivered([old]) == []
    clock.advance(days=8)
    ledger.drop_expired(clock())
    assert ledger.undelivered([old]) == [old]


def test_only_weeks_of_the_ledger_are_forgotten(ledger: Ledger, tables: Tables) -> None:
    old = event("old", NOW - 2 * KEPT)
    ledger.record([old, event("young")])
    tables.put("state", "p", "k", {})
    ledger.drop_expired(NOW)
    assert sorted(tables.names()) == ["ledger20310203", "state"]
    ledger.drop_expired(NOW)
    ledger.record([old])  # the event comes again, and its week is created again
    assert ledger.undelivered([old]) == []


def test_while_tables_are_unavailable_everything_is_undelivered_and_nothing_raises(
    storage_settings: StorageSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(refuses) as server:
        unavailable = Ledger(accounts.tables(rerouted(storage_settings, "Table", server.url)), KEPT)
        unavailable.record([event("secret-id")])
        assert unavailable.undelivered([event("secret-id")]) == [event("secret-id")]
        assert "secret-id" not in caplog.text
        with pytest.raises(RetryLater):
            unavailable.drop_expired(NOW)


def test_a_failed_lookup_does_not_affect_the_rest(storage_settings: StorageSettings) -> None:
    """Of two weeks, one cannot be read: its events count as undelivered, the others are known."""
    known, unknown = event("known", NOW - WEEK), event("unknown")
    Ledger(accounts.tables(storage_settings), KEPT).record([known, unknown])
    with serving(refuses) as server:
        half = _HalfUnavailable(storage_settings, accounts.tables(rerouted(storage_settings, "Table", server.url)))
        assert Ledger(half, KEPT).undelivered([known, unknown]) == [unknown]


class _HalfUnavailable(AzureTables):
    """The tables of this week are behind a firewall."""

    def __init__(self, settings: StorageSettings, unavailable: Tables) -> None:
        super().__init__(settings, BACKGROUND_LIMITS)
        self._unavailable = unavailable

    def partition(self, table: str, partition: str, columns: Sequence[str] = ()) -> Iterator[Row]:
        if table == "ledger20310203":
            return self._unavailable.partition(table, partition, columns)
        return super().partition(table, partition, columns)


def test_recording_a_batch_again_changes_no_row() -> None:
    tables = MemoryTables()
    ledger = Ledger(tables, KEPT)
    batch = [event(f"e{number}", NOW + timedelta(seconds=number // 20)) for number in range(40)]
    for _ in range(2):
        ledger.record(batch, {event.id: b'{"path":1}' for event in batch})
        assert len(list(tables.rows("ledger20310203"))) == 2


def test_details_of_any_length_are_found_by_event() -> None:
    tables = MemoryTables()
    ledger = Ledger(tables, KEPT)
    moment = (NOW - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    kept = {
        f"t/users/{number}@{moment:018d}.{number}": msgspec.json.encode({"n": number, "long": "x" * 9_000})
        for number in range(20)
    }
    bare = event("without")
    ledger.record([*(event(event_id) for event_id in kept), bare], kept)
    assert {event_id: ledger.details(event_id) for event_id in kept} == kept
    assert sorted(ledger.all_details(NOW)) == sorted(kept.values())
    assert ledger.undelivered([bare, *(event(event_id) for event_id in kept)]) == []
    assert all(len(row["details"]) < 65_536 for row in tables.rows("ledger20310203"))  # type: ignore[arg-type]
    assert list(ledger.all_details(NOW + 2 * WEEK)) == []


def test_rows_of_version_0_1_are_honoured(tables: Tables) -> None:
    """One row for each event: the digest of its id is the key."""
    event_id = "c7d1/chats/19:a@thread.v2/messages/1@001927854245000000.0000000000000001"
    delivered = event(event_id, datetime(2031, 2, 3, 4, 4, 5, tzinfo=UTC))
    key = hashlib.sha256(event_id.encode()).hexdigest()
    partition = f"{hashlib.sha256(b'20310203T040405').hexdigest()[:2]}-20310203T040405"
    tables.put("ledger20310203", partition, key, {"message": "1", "path": '{"outcome":"delivered"}'})
    ledger = Ledger(tables, KEPT)
    other = event("another", delivered.time)
    assert ledger.undelivered([delivered, other]) == [other]
    assert list(ledger.all_details(NOW)) == [b'{"outcome":"delivered"}']
    ledger.record([other], {other.id: b"{}"})
    assert ledger.undelivered([delivered, other]) == []
