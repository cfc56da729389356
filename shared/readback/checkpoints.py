"""How far each declared resource has been compared with Graph: what changed before then is known to be delivered.

A gap needs no bounds of its own: whatever was missed, was missed after that time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from shared.storage.tables import Row, Tables

_TABLE = "state"
_PROGRESS = "progress"
_GAPS = "gaps"


@dataclass(frozen=True)
class Progress:
    """Compared up to `until` (UTC). `due`: a gap is suspected, so compare now instead of at the next sweep."""

    until: datetime
    due: bool = False


def load_all(tables: Tables) -> dict[str, Progress]:
    """Return how far each declaration has been compared, by its id; a new one is absent. Raises RetryLater."""
    suspected = {str(row["RowKey"]): _time(row, "suspected") for row in _rows(tables, _GAPS)}
    compared = {str(row["RowKey"]): row for row in _rows(tables, _PROGRESS)}
    return {
        name: Progress(_time(row, "until"), name in suspected and suspected[name] >= _time(row, "compared"))
        for name, row in compared.items()
    }


def save(tables: Tables, declaration_id: str, until: datetime, now: datetime) -> None:
    """Remember how far a declaration has been compared: begun `now`, it settles all suspicions of before.

    Raises RetryLater.
    """
    row: Row = {"until": until.isoformat(), "compared": now.isoformat()}
    tables.put(_TABLE, _PROGRESS, declaration_id, row)


def suspect_gap(tables: Tables, declaration_id: str, now: datetime) -> None:
    """Have a declaration compared soon: its subscription is gone, or Graph says that it missed something.

    Called before anything else is done about it, so that a crash in between loses no gap. A row of its own, so that
    a comparison that is just being noted can't wipe it out. Raises RetryLater.
    """
    tables.put(_TABLE, _GAPS, declaration_id, {"suspected": now.isoformat()})


def _rows(tables: Tables, partition: str) -> Iterator[Row]:
    return tables.find(_TABLE, "PartitionKey eq @partition", {"partition": partition})


def _time(row: Row, column: str) -> datetime:
    return datetime.fromisoformat(str(row[column])).astimezone(UTC)
