"""Named times in one partition of the table `state`."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from shared.errors import Reason, RetryLater
from shared.storage.tables import Row, Tables

STATE = "state"
"""The table of all state except the ledger."""


def time_in(row: Row, column: str) -> datetime:
    """Return the time (UTC) in a column of a row. Raises RetryLater if there is none: the row is malformed."""
    try:
        return datetime.fromisoformat(str(row[column])).astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        raise _unreadable(row) from None


def number_in(row: Row, column: str) -> float:
    """Return the number in a column of a row, 0 if there is none. Raises RetryLater for another value."""
    try:
        number = float(str(row.get(column, 0)))
    except ValueError:
        raise _unreadable(row) from None
    if not math.isfinite(number):
        raise _unreadable(row)
    return number


def _unreadable(row: Row) -> RetryLater:
    place = f"{row.get('PartitionKey')!r}, {row.get('RowKey')!r}"
    return RetryLater(Reason.STORAGE, f"the row {place} of the table {STATE} can't be read; delete it")


class Times:
    """Named times (UTC). Every method raises RetryLater if storage is unavailable."""

    def __init__(self, tables: Tables, partition: str, column: str) -> None:
        self._tables = tables
        self._partition = partition
        self._column = column

    def all(self) -> dict[str, datetime]:
        """Return every time, by name."""
        rows = self._tables.partition(STATE, self._partition)
        return {str(row["RowKey"]): time_in(row, self._column) for row in rows}

    def get(self, name: str) -> datetime | None:
        """Return the time with that name, or None."""
        row = self._tables.get(STATE, self._partition, name)
        return None if row is None else time_in(row, self._column)

    def set(self, name: str, at: datetime) -> None:
        """Store a time under a name."""
        self._tables.put(STATE, self._partition, name, {self._column: at.isoformat()})

    def set_all(self, names: Iterable[str], at: datetime) -> None:
        """Store one time under many names."""
        self._tables.put_all(STATE, self._partition, {name: {self._column: at.isoformat()} for name in names})

    def first(self, name: str, now: datetime) -> datetime:
        """Return the time with that name; if there is none, store and return `now`."""
        stored = self.get(name)
        if stored is None:
            self.set(name, now)
        return stored or now

    def forget(self, name: str) -> None:
        """Delete a name; a missing one is fine."""
        self._tables.remove(STATE, self._partition, name)
