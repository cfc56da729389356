"""NCRONTAB as the Functions host reads it: six fields, day of the month and day of the week must both match."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from local.host.configuration import ConfigurationError

MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
FURTHEST = timedelta(days=366 * 8)
"""Longer than the time between two 29 Februaries: a date that does not come within it never comes."""


@dataclass(frozen=True)
class Field:
    """What one field counts, from `least` to `greatest`, and the names that it accepts."""

    least: int
    greatest: int
    names: tuple[str, ...] = ()

    def values(self, text: str) -> frozenset[int]:
        """Return the values that a field allows: a list of `*`, values and ranges, with or without a step.

        Raises:
            ConfigurationError: the field has another form.
        """
        return frozenset(value for term in text.split(",") for value in self._term(term))

    def _term(self, term: str) -> range:
        span, slash, step = term.partition("/")
        every = _positive(step) if slash else 1
        if span == "*":
            return range(self.least, self.greatest + 1, every)
        first, dash, last = span.partition("-")
        begin = self._value(first)
        end = self._value(last) if dash else self.greatest if slash else begin
        # A range written backwards is the same range.
        return range(min(begin, end), max(begin, end) + 1, every)

    def _value(self, text: str) -> int:
        if text.isascii() and text.isdecimal():
            value = int(text[:9])
        else:
            found = [number for number, name in enumerate(self.names) if text and name.startswith(text.lower())]
            if not found:
                raise ConfigurationError("expected a number or a name that the field knows")
            value = found[0] + self.least
        if not self.least <= value <= self.greatest:
            raise ConfigurationError(f"expected a number from {self.least} to {self.greatest}")
        return value


FIELDS = (Field(0, 59), Field(0, 59), Field(0, 23), Field(1, 31), Field(1, 12, MONTHS), Field(0, 6, DAYS))


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text[:9])):
        raise ConfigurationError("expected a step greater than 0")
    return int(text[:9])


def parse(schedule: str) -> Callable[[datetime], datetime | None]:
    """Return a function that gives the first matching time after another; None if there is none, as with 30 February.

    Raises:
        ConfigurationError: the text is not NCRONTAB of six fields, separated by spaces only.
    """
    written = [field for field in schedule.split(" ") if field]
    if len(written) != len(FIELDS):
        raise ConfigurationError("expected six fields")
    allowed = [field.values(text) for field, text in zip(FIELDS, written, strict=True)]
    return lambda after: _next(allowed, after)


def _next(allowed: list[frozenset[int]], after: datetime) -> datetime | None:
    seconds, minutes, hours, days, months, weekdays = allowed
    at, furthest = after.replace(microsecond=0) + timedelta(seconds=1), after + FURTHEST
    while at < furthest:
        if at.month not in months or at.day not in days or at.isoweekday() % 7 not in weekdays:
            at = at.replace(hour=0, minute=0, second=0) + timedelta(days=1)
        elif at.hour not in hours:
            at = at.replace(minute=0, second=0) + timedelta(hours=1)
        elif at.minute not in minutes:
            at = at.replace(second=0) + timedelta(minutes=1)
        elif at.second not in seconds:
            at += timedelta(seconds=1)
        else:
            return at
    return None
