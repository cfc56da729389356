"""The ledger by itself: what was recorded is known, by id and time; weeks are forgotten whole. See also
test_ledger_concurrency.py.
"""

import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.configuration.settings import StorageSettings
from shared.delivery.event import Event
from shared.delivery.ledger import KEPT, Ledger
from shared.errors import RetryLater
from shared.storage.tables import Row, Tables
from tests.builders import NOW
from tests.rerouted import refuses, rerouted
from tests.servers import serving

WEEK = timedelta(days=7)


def event(event_id: str = "e", time: datetime = NOW) -> Event:
    return Event(event_id, "/s", "s", "t", time, "v", msgspec.Raw(b"{}"))


@pytest.fixture
def tables(storage_settings: StorageSettings) -> Tables:
    return Tables(storage_settings)


@pytest.fixture
def ledger(tables: Tables) -> Ledger:
    return Ledger(tables)


ids = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
times = st.timedeltas(-timedelta(days=15), timedelta(days=15)).map(lambda apart: NOW + apart)
moments = st.sampled_from([NOW, NOW.replace(microsecond=999_999), NOW + timedelta(seconds=1)]) | times
events = st.lists(st.builds(event, ids, moments), max_size=12, unique_by=lambda one: one.id)


@given(events, st.data())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_recorded_is_known_and_nothing_else(ledger: Ledger, events: list[Event], data: st.DataObject) -> None:
    run = uuid.uuid4().hex  # the tables outlive an example
    events = [msgspec.structs.replace(one, id=run + one.id) for one in events]
    known = data.draw(st.lists(st.sampled_from(events), max_size=12)) if events else []
    ledger.record(known)
    assert ledger.missing(events) == [one for one in events if one not in known]


@pytest.mark.parametrize("number", [1, 12, 13, 101])
def test_any_number_of_events_of_one_second_is_known(ledger: Ledger, number: int) -> None:
    recorded = [event(f"e{one}") for one in range(number)]
    ledger.record(recorded)
    stranger = event("stranger")
    assert ledger.missing([*recorded, stranger]) == [stranger]


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
    assert ledger.missing([event(event_id)]) == []
    for other in (event_id + " ", event_id.swapcase() + "x", f"x{event_id}"):
        assert ledger.missing([event(other)]) != []


@pytest.mark.parametrize(
    "time", [datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC)]
)
def test_times_as_odd_as_can_be_are_known(ledger: Ledger, time: datetime) -> None:
    ledger.record([event("e", time)])
    assert ledger.missing([event("e", time)]) == []


def test_one_event_twice_in_a_batch_is_missing_twice_and_recorded_once(ledger: Ledger) -> None:
    twice = [event("e"), event("e")]
    assert ledger.missing(twice) == twice
    ledger.record(twice)
    assert ledger.missing(twice) == []


def test_nothing_is_nothing(ledger: Ledger, tables: Tables) -> None:
    assert ledger.missing([]) == []
    ledger.record([])
    ledger.forget(NOW)
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
    ledger.forget(now)
    forgotten = ledger.missing(list(recorded.values()))
    assert [age for age in recorded if age <= KEPT and recorded[age] in forgotten] == []
    assert [age for age in recorded if age > KEPT + 2 * WEEK and recorded[age] not in forgotten] == []


def test_how_long_a_row_is_kept_can_be_set(tables: Tables) -> None:
    ledger = Ledger(tables, timedelta(days=3))
    old, young = event("old", NOW - timedelta(days=3) - 2 * WEEK), event("young", NOW - timedelta(days=3))
    ledger.record([old, young])
    ledger.forget(NOW)
    assert ledger.missing([old, young]) == [old]


def test_only_weeks_of_the_ledger_are_forgotten(ledger: Ledger, tables: Tables) -> None:
    old = event("old", NOW - 2 * KEPT)
    ledger.record([old, event("young")])
    tables.put("state", "p", "k", {})
    ledger.forget(NOW)
    assert sorted(tables.names()) == ["ledger20310203", "state"]
    ledger.forget(NOW)
    ledger.record([old])  # it comes again, and its week is made again
    assert ledger.missing([old]) == []


def test_while_tables_are_away_everything_is_missing_and_nothing_raises(
    storage_settings: StorageSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(refuses) as server:
        away = Ledger(Tables(rerouted(storage_settings, "Table", server.url)))
        away.record([event("secret-id")])
        assert away.missing([event("secret-id")]) == [event("secret-id")]
        assert "secret-id" not in caplog.text
        with pytest.raises(RetryLater):
            away.forget(NOW)


def test_a_part_that_can_not_be_looked_up_costs_the_rest_nothing(storage_settings: StorageSettings) -> None:
    """Of two weeks, one can't be read: its events count as missing, the others are known."""
    known, unknown = event("known", NOW - WEEK), event("unknown")
    Ledger(Tables(storage_settings)).record([known, unknown])
    with serving(refuses) as server:
        half = _HalfAway(storage_settings, Tables(rerouted(storage_settings, "Table", server.url)))
        assert Ledger(half).missing([known, unknown]) == [unknown]


class _HalfAway(Tables):
    """The tables of this week are behind a firewall."""

    def __init__(self, settings: StorageSettings, away: Tables) -> None:
        super().__init__(settings)
        self._away = away

    def find(self, table: str, where: str, parameters: Row, columns: Iterable[str] = ()) -> Iterator[Row]:
        if table == "ledger20310203":
            return self._away.find(table, where, parameters, columns)
        return super().find(table, where, parameters, columns)
