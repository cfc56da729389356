"""The schedules that the Functions host accepts for a timer: NCRONTAB with six fields, or an interval."""

import re
from dataclasses import dataclass

_INTERVAL = re.compile(r"(?=.*[1-9])(\d{1,8}\.)?([01]\d|2[0-3]):[0-5]\d:[0-5]\d")
_TERM = re.compile(r"(\*|(?P<first>\w+)(-(?P<last>\w+))?)(/0*[1-9]\d{0,3})?", re.ASCII)

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
