"""Habits of the week, on made-up tenants."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from shared.storage.state import STATE
from shared.subscriptions.habit import Habit
from shared.subscriptions.silence import LastSeen, Source, is_unusual
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


def test_an_office_that_dies_on_a_wednesday_morning_is_told_that_day() -> None:
    """It was told after 130 hours, when the longest silence was all that counted."""
    told = first_alarm(in_the_office, MONDAY + timedelta(days=2, hours=10))
    assert told is not None
    assert told <= 5 * HOUR


def test_nights_and_weekends_are_no_alarm() -> None:
    told = first_alarm(in_the_office, MONDAY + timedelta(days=4, hours=18))  # it says nothing from Friday evening on
    assert told is not None
    assert told == timedelta(days=2, hours=18)  # Monday at 11: three hours of the office


def test_who_speaks_at_any_hour_is_missed_within_a_few() -> None:
    told = first_alarm(at_any_hour, MONDAY + 10 * HOUR)
    assert told is not None
    assert told <= 4 * HOUR


def test_who_speaks_once_a_week_is_not_missed_after_a_day() -> None:
    told = first_alarm(on_mondays, MONDAY + timedelta(days=1))
    assert told is None or told > timedelta(days=7)


def test_a_habit_survives_being_stored() -> None:
    habit = Habit().with_hour(MONDAY + 9 * HOUR).with_hour(MONDAY + timedelta(days=7, hours=9))
    assert Habit.of({"habit": habit.text}) == habit
    assert habit.hours[9] == 0b11


@pytest.mark.parametrize("stored", [{}, {"habit": "x"}, {"habit": "1 2 " + "z" * 168}, {"habit": 7}])
def test_what_cannot_be_read_is_no_habit(stored: dict[str, str | int]) -> None:
    assert Habit.of(stored) == Habit()
