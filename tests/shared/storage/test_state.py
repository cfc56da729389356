"""Named times, in real tables."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.configuration.settings import StorageSettings
from shared.storage.state import Times, time_in
from shared.storage.tables import Tables
from tests import accounts
from tests.builders import NOW

LATER = NOW + timedelta(microseconds=1)


@pytest.fixture
def tables(storage_settings: StorageSettings) -> Tables:
    return accounts.tables(storage_settings)


@pytest.fixture
def times(tables: Tables) -> Times:
    return Times(tables, "p", "since")


def test_at_first_no_time_is_remembered(times: Times) -> None:
    assert times.all() == {}
    assert times.get("a") is None
    times.forget("a")


def test_the_time_set_last_is_the_one_that_is_remembered(times: Times) -> None:
    times.set("a", NOW)
    times.set("b", NOW)
    times.set("a", LATER)
    assert times.all() == {"a": LATER, "b": NOW}
    assert times.get("a") == LATER


def test_a_time_comes_back_as_utc_to_the_microsecond(times: Times) -> None:
    at = datetime(2031, 2, 3, 4, 5, 6, 789_012, timezone(timedelta(hours=-7)))
    times.set("a", at)
    found = times.get("a")
    assert found == at
    assert found.tzinfo is UTC


def test_only_the_first_time_is_remembered_until_it_is_forgotten(times: Times) -> None:
    assert times.first("a", NOW) == NOW
    assert times.first("a", LATER) == NOW
    times.forget("a")
    assert times.all() == {}
    assert times.first("a", LATER) == LATER


def test_each_partition_has_names_of_its_own(times: Times, tables: Tables) -> None:
    other = Times(tables, "q", "since")
    times.set("a", NOW)
    assert other.get("a") is None
    other.forget("a")
    assert times.all() == {"a": NOW}


def test_what_an_earlier_version_wrote_is_read(tables: Tables, times: Times) -> None:
    tables.put("state", "p", "a", {"since": "2031-02-03T04:05:06+00:00"})
    assert times.all() == {"a": NOW}
    assert time_in({"since": "2031-02-03T05:05:06+01:00"}, "since") == NOW
