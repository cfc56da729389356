"""The hours of the week in which notifications usually come."""

import re
import string
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.storage.tables import Row

KNOWN_WEEKS = 2
"""Weeks after which the pattern is used."""

MISSED_HOURS = 3
"""After this many hours in which notifications usually come, silence is unusual."""

_HOURS = 168
_WEEKS = 5
"""Stored weeks: the current one and four before."""

_DIGITS = string.digits + string.ascii_lowercase[:22]
"""Each hour is a digit of 5 bits; the lowest is the current week."""

_STORED = re.compile(rf"(\d+) (\d+) ([{_DIGITS}]{{{_HOURS}}})")

_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
_WEEK, _HOUR = timedelta(weeks=1), timedelta(hours=1)


@dataclass(frozen=True)
class WeeklyPattern:
    """For each hour of the week (UTC, from Monday), the weeks up to `week` in which a notification came.

    first: the first week of the pattern. Weeks are counted from 1970.
    """

    hours: tuple[int, ...] = (0,) * _HOURS
    week: int = 0
    first: int = 0

    @classmethod
    def of(cls, row: Row | None) -> "WeeklyPattern":
        """Return the pattern in a row; an empty one if there is none, or its form is unknown."""
        stored = _STORED.fullmatch(str(row.get("habit", ""))) if row else None
        if stored is None:
            return cls()
        return cls(tuple(map(_DIGITS.index, stored[3])), int(stored[1]), int(stored[2]))

    @property
    def text(self) -> str:
        """The pattern as stored."""
        return f"{self.week} {self.first} {''.join(_DIGITS[hour] for hour in self.hours)}"

    def with_hour(self, moment: datetime) -> "WeeklyPattern":
        """Return the pattern after a notification."""
        week, hour = _place(moment)
        aged = self._aged(week) if self.first else (0,) * _HOURS
        hours = tuple(weeks | 1 if number == hour else weeks for number, weeks in enumerate(aged))
        return WeeklyPattern(hours, max(week, self.week), self.first or week)

    def weeks(self, now: datetime) -> int:
        """Return the number of full weeks in the pattern."""
        return min(_place(now)[0] - self.first, _WEEKS - 1) if self.first else 0

    def missed(self, since: datetime, now: datetime) -> int:
        """Return the number of full hours since a time in which notifications come in most of the stored weeks."""
        week, known = _place(now)[0], self.weeks(now)
        aged = self._aged(week)
        moment = since - (since - _MONDAY) % _HOUR + _HOUR
        missed = 0
        while moment + _HOUR <= now and missed < MISSED_HOURS and now - moment < _WEEK:
            before = aged[_place(moment)[1]] >> 1
            missed += before.bit_count() * 2 > known
            moment += _HOUR
        return missed

    def _aged(self, week: int) -> tuple[int, ...]:
        """Return the hours shifted to a later week."""
        by = min(max(week - self.week, 0), _WEEKS)
        return tuple(weeks << by & (1 << _WEEKS) - 1 for weeks in self.hours)


def _place(moment: datetime) -> tuple[int, int]:
    weeks, rest = divmod(moment - _MONDAY, _WEEK)
    return weeks, rest // _HOUR
