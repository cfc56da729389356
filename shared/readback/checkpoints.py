"""How far each declaration has been compared with Graph: what changed before then is known to be delivered.

A gap needs no bounds of its own: whatever was missed, was missed after that time.
"""

from dataclasses import dataclass
from datetime import datetime

from shared.storage.state import STATE, Times, time_in
from shared.storage.tables import Row, Tables

_PROGRESS = "progress"
_DELTA = "delta"


@dataclass(frozen=True)
class Checkpoint:
    """Compared up to `until` (UTC). `due`: a gap is suspected, so compare now instead of at the next sweep."""

    until: datetime
    due: bool = False


class Checkpoints:
    """The checkpoints of all declarations, by their ids. Every method raises RetryLater if storage is unavailable."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._gaps = Times(tables, "gaps", "suspected")

    def all(self) -> dict[str, Checkpoint]:
        """Return the checkpoint of each declaration; a new one has none."""
        suspected = self._gaps.all()  # first: a gap that is noted between the two reads is found next time
        rows = {str(row["RowKey"]): row for row in self._tables.partition(STATE, _PROGRESS)}
        return {
            name: Checkpoint(time_in(row, "until"), name in suspected and suspected[name] >= time_in(row, "compared"))
            for name, row in rows.items()
        }

    def save(self, declaration_id: str, until: datetime, now: datetime) -> None:
        """Remember how far a declaration has been compared: begun `now`, it settles every earlier suspicion."""
        row: Row = {"until": until.isoformat(), "compared": now.isoformat()}
        self._tables.put(STATE, _PROGRESS, declaration_id, row)

    def suspect_gap(self, declaration_id: str, now: datetime) -> None:
        """Have a declaration compared soon: its subscription is gone, or Graph says that it missed something.

        Called before anything else is done about it, so that a crash in between loses no gap. A row of its own, so
        that a comparison that is just being recorded can't erase it.
        """
        self._gaps.set(declaration_id, now)

    def delta_link(self, declaration_id: str) -> str | None:
        """Return the link from which the next delta query of a declaration goes on, or None."""
        row = self._tables.get(STATE, _DELTA, declaration_id)
        return str(row["link"]) if row else None

    def save_delta_link(self, declaration_id: str, link: str) -> None:
        """Remember a link, once everything before it has been delivered. It is sent to nobody but Graph."""
        self._tables.put(STATE, _DELTA, declaration_id, {"link": link})
