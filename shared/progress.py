"""How far each declared resource has been compared with Graph: what changed before then is known to be delivered.

A gap needs no bounds of its own: whatever was missed, was missed after that time.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from shared.tables import Row, Tables

_TABLE = "state"
_PARTITION = "progress"


@dataclass(frozen=True)
class Progress:
    """Compared up to `until` (UTC). `due`: a gap is suspected, so compare now instead of at the next sweep."""

    until: datetime
    due: bool = False


def load_all(tables: Tables) -> dict[str, Progress]:
    """Return how far each declaration has been compared, by its id; a new one is absent. Raises NotNow."""
    rows = tables.find(_TABLE, "PartitionKey eq @partition", {"partition": _PARTITION})
    return {str(row["RowKey"]): _read(row) for row in rows}


def save(tables: Tables, declaration_id: str, progress: Progress) -> None:
    """Remember how far a declaration has been compared. Raises NotNow."""
    row: Row = {"until": progress.until.isoformat(), "due": progress.due}
    tables.put(_TABLE, _PARTITION, declaration_id, row)


def suspect_gap(tables: Tables, declaration_id: str) -> None:
    """Have a declaration compared soon: its subscription is gone, or Graph says that it missed something.

    A declaration that is new has no gap. Called before anything else is done about it, so that a crash in between
    loses none. Raises NotNow.
    """
    row = tables.get(_TABLE, _PARTITION, declaration_id)
    if row is not None:
        save(tables, declaration_id, Progress(_read(row).until, due=True))


def _read(row: Row) -> Progress:
    return Progress(datetime.fromisoformat(str(row["until"])).astimezone(UTC), bool(row.get("due", False)))
