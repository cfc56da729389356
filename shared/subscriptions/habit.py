"""In which hours of the week something usually comes."""

import re
import string
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.storage.tables import Row

KNOWN_WEEKS = 2
"""Weeks after which a habit can be told."""

MISSED_HOURS = 3
"""Hours in each of which something usually comes: after so many of them, silence is unusual."""

_HOURS = 168
_WEEKS = 5
"""Weeks that are remembered: the present one and four before."""

_DIGITS = string.digits + string.ascii_lowercase[:22]
"""Each hour is a digit of 5 bits: the lowest is the present week."""

_STORED = re.compile(rf"(\d+) (\d+) ([{_DIGITS}]{{{_HOURS}}})")

_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
_WEEK, _HOUR = timedelta(weeks=1), timedelta(hours=1)


@dataclass(frozen=True)
class Habit:
    """For each hour of the week (UTC, from Monday on) in which of the last weeks something came, up to week `week`.

    first: the week in which that began to be noted. Weeks are counted from 1970.
    """

    hours: tuple[int, ...] = (0,) * _HOURS
    week: int = 0
    first: int = 0

    @classmethod
    def of(cls, row: Row | None) -> "Habit":
        """Return the habit in a row; an empty one if there is none, or somebody else wrote it."""
        stored = _STORED.fullmatch(str(row.get("habit", ""))) if row else None
        if stored is None:
            return cls()
        return cls(tuple(map(_DIGITS.index, stored[3])), int(stored[1]), int(stored[2]))

    @property
    def text(self) -> str:
        """The habit, to be stored."""
        return f"{self.week} {self.first} {''.join(_DIGITS[hour] for hour in self.hours)}"

    def with_hour(self, moment: datetime) -> "Habit":
        """Return the habit after something came."""
        week, hour = _place(moment)
        aged = self._aged(week) if self.first else (0,) * _HOURS
        hours = tuple(weeks | 1 if number == hour else weeks for number, weeks in enumerate(aged))
        return Habit(hours, max(week, self.week), self.first or week)

    def weeks(self, now: datetime) -> int:
        """Return how many full weeks are known, at most those that are remembered."""
        return min(_place(now)[0] - self.first, _WEEKS - 1) if self.first else 0

    def missed(self, since: datetime, now: datetime) -> int:
        """Return the number of full hours after a time in which something usually comes: in most of the known weeks."""
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
        """Return the hours as they are in a later week."""
        by = min(max(week - self.week, 0), _WEEKS)
        return tuple(weeks << by & (1 << _WEEKS) - 1 for weeks in self.hours)


def _place(moment: datetime) -> tuple[int, int]:
    weeks, rest = divmod(moment - _MONDAY, _WEEK)
    return weeks, rest // _HOUR
