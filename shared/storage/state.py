"""Times remembered by name, in one partition of the table `state`."""

from datetime import UTC, datetime

from shared.storage.tables import Row, Tables

STATE = "state"
"""The table of everything that is remembered but the ledger."""


def time_in(row: Row, column: str) -> datetime:
    """Return the time (UTC) in a column of a row."""
    return datetime.fromisoformat(str(row[column])).astimezone(UTC)


class Times:
    """Times (UTC) remembered by name. Every method raises RetryLater if storage is unavailable."""

    def __init__(self, tables: Tables, partition: str, column: str) -> None:
        self._tables = tables
        self._partition = partition
        self._column = column

    def all(self) -> dict[str, datetime]:
        """Return every time, by name."""
        rows = self._tables.partition(STATE, self._partition)
        return {str(row["RowKey"]): time_in(row, self._column) for row in rows}

    def get(self, name: str) -> datetime | None:
        """Return the time of that name, or None."""
        row = self._tables.get(STATE, self._partition, name)
        return None if row is None else time_in(row, self._column)

    def set(self, name: str, at: datetime) -> None:
        """Remember a time under a name."""
        self._tables.put(STATE, self._partition, name, {self._column: at.isoformat()})

    def first(self, name: str, now: datetime) -> datetime:
        """Return the time of that name; if there is none, remember `now`."""
        known = self.get(name)
        if known is None:
            self.set(name, now)
        return known or now

    def forget(self, name: str) -> None:
        """Remove a name; one that is not there is fine."""
        self._tables.remove(STATE, self._partition, name)
