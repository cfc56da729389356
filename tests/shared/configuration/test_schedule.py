"""Schedules that the Functions host accepts."""

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from local.host.configuration import ConfigurationError
from local.host.timers import schedule_of
from shared.configuration.schedule import is_schedule, longest_pause
from tests.builders import NOW

MONTHS = ("jan", "FEB", "Mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "MON", "Tue", "wed", "thu", "fri", "sat")


def fields(least: int, greatest: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """The forms of a field: lists of values and ranges, with steps."""
    value = st.integers(least, greatest).map(str)
    value = value | st.sampled_from(names) if names else value
    range_of = st.tuples(value, value).map("-".join)
    step = st.integers(1, greatest).map(lambda number: f"/{number}")
    term = st.tuples(st.just("*") | value | range_of, st.just("") | step).map("".join)
    return st.lists(term, min_size=1, max_size=3).map(",".join)


written = st.tuples(
    fields(0, 59), fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12, MONTHS), fields(0, 6, DAYS)
).map(" ".join)


@given(written)
@example("0 */5 * * * *")
@example("0 30 9-17/2 1,15 jan-mar,DEC MON-FRI")
def test_what_the_local_host_takes_of_six_fields_is_a_schedule(schedule: str) -> None:
    schedule_of(schedule)
    assert is_schedule(schedule)


@pytest.mark.parametrize("schedule", ["00:05:00", "00:00:30", "23:59:59", "1.00:00:00"])
def test_an_interval_is_a_schedule(schedule: str) -> None:
    assert is_schedule(schedule)
    assert schedule_of(schedule)(NOW) > NOW + timedelta(seconds=1)


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "every five minutes",
        "*/5 * * * *",
        "0 0 */5 * * * *",
        "60 * * * * *",
        "* 60 * * * *",
        "* * 24 * * *",
        "* * * 0 * *",
        "* * * 32 * *",
        "* * * * 13 *",
        "* * * * 0 *",
        "* * * * * 7",
        "* * * * mo *",
        "* * * * * mars",
        "0\t0 * * * *",
        "0 0 0 * * *\n",
        "0 */0 * * * *",
        "0 */ * * * *",
        "0 1- * * * *",
        "0 *-5 * * * *",
        "0 1,,2 * * * *",
        "0 -1 * * * *",
        "0 1.5 * * * *",
        "0 \N{SUPERSCRIPT TWO} * * * *",
        "0 \N{ARABIC-INDIC DIGIT TWO} * * * *",
        f"0 {'1' * 5000} * * * *",
        "24:00:00",
        "00:60:00",
        "00:00:00",
        "5:00",
    ],
)
def test_a_schedule_that_the_host_refuses_is_invalid(schedule: str) -> None:
    assert not is_schedule(schedule)


@given(st.text() | st.text("0123456789*/-, :."))
def test_any_text_that_is_a_schedule_is_one_for_the_host(schedule: str) -> None:
    if is_schedule(schedule):
        assert schedule_of(schedule)(NOW) > NOW
    else:
        with suppress(ConfigurationError):  # names of one or two letters, which only the host accepts
            schedule_of(schedule)


@pytest.mark.parametrize(
    ("schedule", "pause"),
    [
        ("0 */5 * * * *", timedelta(minutes=5)),
        ("0 0 * * * *", timedelta(hours=1)),
        ("0 0,5 * * * *", timedelta(minutes=55)),
        ("0 0 6-22 * * *", timedelta(hours=8)),
        ("0 0 22-6 * * *", timedelta(hours=8)),
        ("0 */20 8-17 * * Mon-Fri", timedelta(days=2, hours=14, minutes=20)),
        ("* * * * * *", timedelta(seconds=1)),
        ("0 0 0 1 1 *", timedelta(days=366)),
        ("0 0 0 29 2 *", timedelta(days=4 * 365 + 1)),
        ("0 0 0 30 2 *", timedelta.max),
        ("00:20:00", timedelta(minutes=20)),
        ("1.00:00:30", timedelta(days=1, seconds=30)),
    ],
)
def test_the_longest_pause_between_two_runs(schedule: str, pause: timedelta) -> None:
    assert longest_pause(schedule, NOW.date()) == pause


FIELD = st.sampled_from(["*", "*/7", "0", "3,9", "1-5/2", "4-2"])


@given(st.tuples(FIELD, FIELD, FIELD))
def test_no_two_runs_of_the_host_are_further_apart(clock: tuple[str, str, str]) -> None:
    schedule = f"{' '.join(clock)} * * *"
    pause, following = longest_pause(schedule, NOW.date()), schedule_of(schedule)
    run = following(NOW)
    for _ in range(20):
        earlier, run = run, following(run)
        assert run - earlier <= pause
