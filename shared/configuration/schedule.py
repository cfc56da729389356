"""Which schedules the Functions host takes for a timer: NCRONTAB of six fields, or an interval."""

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
    """What a field counts: from `least` to `greatest`, with names, of which three letters or more suffice."""

    least: int
    greatest: int
    names: tuple[str, ...] = ()

    def takes(self, text: str) -> bool:
        """Whether each term of a list is `*`, a value or a range, with a step or without."""
        return all(self._takes_term(term) for term in text.split(","))

    def _takes_term(self, term: str) -> bool:
        found = _TERM.fullmatch(term)
        return found is not None and all(self._holds(value) for value in found.group("first", "last") if value)

    def _holds(self, value: str) -> bool:
        if value.isdecimal():
            return len(value) <= 3 and self.least <= int(value) <= self.greatest
        return len(value) >= 3 and any(name.startswith(value.lower()) for name in self.names)


_FIELDS = (_Field(0, 59), _Field(0, 59), _Field(0, 23), _Field(1, 31), _Field(1, 12, _MONTHS), _Field(0, 6, _DAYS))
"""Second, minute, hour, day of the month, month, day of the week."""


def is_schedule(text: str) -> bool:
    """Whether the host takes `text` for a schedule. It separates fields by spaces, and by nothing else."""
    fields = [field for field in text.split(" ") if field]
    if len(fields) != len(_FIELDS):
        return _INTERVAL.fullmatch(text) is not None
    return all(field.takes(written) for field, written in zip(_FIELDS, fields, strict=True))
