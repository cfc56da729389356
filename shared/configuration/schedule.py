"""The schedules that the Functions host accepts for a timer: NCRONTAB with six fields, or an interval."""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from itertools import pairwise, product

_INTERVAL = re.compile(r"(?=.*[1-9])(\d{1,8}\.)?([01]\d|2[0-3]):[0-5]\d:[0-5]\d")
_TERM = re.compile(r"(\*|(?P<first>\w+)(-(?P<last>\w+))?)(/(?P<step>0*[1-9]\d{0,3}))?", re.ASCII)

_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


@dataclass(frozen=True)
class _Field:
    """The values of one NCRONTAB field: `minimum` to `maximum`, or a name, shortened to no less than three letters."""

    minimum: int
    maximum: int
    names: tuple[str, ...] = ()

    def accepts(self, text: str) -> bool:
        """Whether each term of the list is `*`, a value or a range, with or without a step."""
        return all(self._accepts_term(term) for term in text.split(","))

    def values(self, text: str) -> set[int]:
        """Return the values of an accepted text."""
        return {value for term in text.split(",") for value in self._term(term)}

    def _term(self, term: str) -> range:
        match = _TERM.fullmatch(term)
        assert match is not None, "only what is accepted has values"
        first, last, step = match.group("first", "last", "step")
        if first is None:
            return range(self.minimum, self.maximum + 1, int(step or 1))
        begin = self._number(first)
        end = self._number(last) if last else self.maximum if step else begin
        return range(min(begin, end), max(begin, end) + 1, int(step or 1))  # 50-10 means 10 to 50

    def _number(self, value: str) -> int:
        if value.isdecimal():
            return int(value)
        return self.minimum + next(n for n, name in enumerate(self.names) if name.startswith(value.lower()))

    def _accepts_term(self, term: str) -> bool:
        match = _TERM.fullmatch(term)
        return match is not None and all(self._accepts_value(value) for value in match.group("first", "last") if value)

    def _accepts_value(self, value: str) -> bool:
        if value.isdecimal():
            return len(value) <= 3 and self.minimum <= int(value) <= self.maximum
        return len(value) >= 3 and any(name.startswith(value.lower()) for name in self.names)


_FIELDS = (_Field(0, 59), _Field(0, 59), _Field(0, 23), _Field(1, 31), _Field(1, 12, _MONTHS), _Field(0, 6, _DAYS))
"""Second, minute, hour, day of the month, month, day of the week."""


def is_schedule(text: str) -> bool:
    """Whether the host accepts `text` as a schedule. Only spaces separate its fields."""
    fields = [field for field in text.split(" ") if field]
    if len(fields) != len(_FIELDS):
        return _INTERVAL.fullmatch(text) is not None
    return all(field.accepts(value) for field, value in zip(_FIELDS, fields, strict=True))


_HORIZON = 8 * 366
"""Days to search: more than between two 29 Februaries."""


def longest_pause(schedule: str, today: date) -> timedelta:
    """Return the longest time between two runs of a schedule from `today` on; `timedelta.max` if it runs once or never.

    The day of the month and the day of the week must both match (docs/host.md, "What the host does to this app").
    """
    return max(_pauses(schedule, today))


def shortest_pause(schedule: str, today: date) -> timedelta:
    """Return the shortest time between two runs of a schedule, as `longest_pause` does the longest."""
    return min(_pauses(schedule, today))


@lru_cache(maxsize=16)
def _pauses(schedule: str, today: date) -> tuple[timedelta, ...]:
    fields = [field for field in schedule.split(" ") if field]
    if len(fields) != len(_FIELDS):
        days, _, clock = schedule.rpartition(".")
        hours, minutes, seconds = map(int, clock.split(":"))
        return (timedelta(days=int(days or 0), hours=hours, minutes=minutes, seconds=seconds),)
    *clock_fields, days_of_month, months, days_of_week = (
        field.values(text) for field, text in zip(_FIELDS, fields, strict=True)
    )
    times = sorted(hour * 3_600 + minute * 60 + second for second, minute, hour in product(*clock_fields))
    dates = [
        day
        for day in (today + timedelta(days=number) for number in range(_HORIZON))
        if day.month in months and day.day in days_of_month and day.isoweekday() % 7 in days_of_week
    ]
    if len(dates) < 2:
        return (timedelta.max,)
    within_a_day = {timedelta(seconds=later - earlier) for earlier, later in pairwise(times)}
    overnight = timedelta(seconds=times[0] - times[-1])
    return (*within_a_day, *{later - earlier + overnight for earlier, later in pairwise(dates)})
