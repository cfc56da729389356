"""Habits of the week, on made-up tenants."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from shared.storage.state import STATE
from shared.subscriptions.silence import LastSeen, Source, is_unusual
from shared.subscriptions.weekly_pattern import WeeklyPattern
from tests.memory import MemoryTables

MONDAY = datetime(2031, 2, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)


def in_the_office(moment: datetime) -> bool:
    return moment.weekday() < 5 and 8 <= moment.hour < 18


def at_any_hour(_: datetime) -> bool:
    return True


def on_mondays(moment: datetime) -> bool:
    return moment.weekday() == 0 and moment.hour == 9


def first_alarm(comes: Callable[[datetime], bool], dies: datetime) -> timedelta | None:
    """Return how long after its last notification a tenant's silence is unusual, looked at every five minutes."""
    tables, moment, last = MemoryTables(), MONDAY - timedelta(weeks=4), MONDAY
    while moment < dies:
        if comes(moment):
            LastSeen(tables).note({"d": Source("s")}, moment)
            last = moment
        moment += HOUR
    row = tables.get(STATE, "silence", "d")
    assert row is not None
    for minutes in range(0, 21 * 24 * 60, 5):
        if is_unusual(row, last + timedelta(minutes=minutes)):
            return timedelta(minutes=minutes)
    return None


def test_an_office_that_stops_on_a_wednesday_morning_is_reported_that_day() -> None:
    """With the longest silence as the only criterion, the alarm came after 130 hours."""
    alarm = first_alarm(in_the_office, MONDAY + timedelta(days=2, hours=10))
    assert alarm is not None
    assert alarm <= 5 * HOUR


def test_nights_and_weekends_are_no_alarm() -> None:
    alarm = first_alarm(in_the_office, MONDAY + timedelta(days=4, hours=18))  # it says nothing from Friday evening on
    assert alarm is not None
    assert alarm == timedelta(days=2, hours=18)  # Monday at 11: three hours of the office


def test_who_speaks_at_any_hour_is_missed_within_a_few() -> None:
    alarm = first_alarm(at_any_hour, MONDAY + 10 * HOUR)
    assert alarm is not None
    assert alarm <= 4 * HOUR


def test_who_speaks_once_a_week_is_not_missed_after_a_day() -> None:
    alarm = first_alarm(on_mondays, MONDAY + timedelta(days=1))
    assert alarm is None or alarm > timedelta(days=7)


def test_a_habit_survives_being_stored() -> None:
    pattern = WeeklyPattern().with_hour(MONDAY + 9 * HOUR).with_hour(MONDAY + timedelta(days=7, hours=9))
    assert WeeklyPattern.of({"habit": pattern.text}) == pattern
    assert pattern.hours[9] == 0b11


@pytest.mark.parametrize("stored", [{}, {"habit": "x"}, {"habit": "1 2 " + "z" * 168}, {"habit": 7}])
def test_what_cannot_be_read_is_no_habit(stored: dict[str, str | int]) -> None:
    assert WeeklyPattern.of(stored) == WeeklyPattern()
