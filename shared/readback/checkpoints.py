"""The time up to which each declaration has been compared with Graph: all earlier changes are delivered.

A gap needs no bounds of its own: it is after the checkpoint.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.storage.state import STATE, Times, time_in
from shared.storage.tables import Row, Tables

_PROGRESS = "progress"
_DELTA = "delta"


@dataclass(frozen=True)
class Checkpoint:
    """Compared up to `until` (UTC). `due`: a gap is suspected, so compare now instead of at the next sweep.

    hurried: when the last comparison because of a suspected gap began.
    """

    until: datetime
    due: bool = False
    hurried: datetime | None = None


@dataclass(frozen=True)
class DeltaLink:
    """The start of the next delta query. asked: when the query began that returned the link; None in rows of 0.1."""

    link: str
    asked: datetime | None = None


class Checkpoints:
    """The checkpoints of all declarations, by id. Every method raises RetryLater if storage is unavailable."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._gaps = Times(tables, "gaps", "suspected")

    def all(self) -> dict[str, Checkpoint]:
        """Return the checkpoint of each declaration; a new declaration has none."""
        suspected = self._gaps.all()  # read first: a gap stored between the two reads is found next time
        rows = {str(row["RowKey"]): row for row in self._tables.partition(STATE, _PROGRESS)}
        return {
            name: Checkpoint(
                time_in(row, "until"),
                name in suspected and suspected[name] >= time_in(row, "compared"),
                time_in(row, "hurried") if "hurried" in row else None,
            )
            for name, row in rows.items()
        }

    def save(self, declaration_id: str, until: datetime, now: datetime, hurried: datetime | None = None) -> None:
        """Store one checkpoint, as `save_all` does."""
        self.save_all({declaration_id: Checkpoint(until, hurried=hurried)}, now)

    def save_all(self, checkpoints: Mapping[str, Checkpoint], now: datetime) -> None:
        """Store the checkpoints of comparisons that began at `now`; it clears every gap suspected earlier."""
        self._tables.put_all(
            STATE, _PROGRESS, {name: _row(checkpoint, now) for name, checkpoint in checkpoints.items()}
        )

    def suspect_gaps(self, declaration_ids: Iterable[str], now: datetime) -> None:
        """Mark declarations for comparison: their subscriptions are gone, or Graph reports missed notifications.

        Call it before the repair, so that a crash in between loses no gap. A gap has its own row: a concurrent `save`
        can't erase it.
        """
        self._gaps.set_all(declaration_ids, now)

    def suspect_gap(self, declaration_id: str, now: datetime) -> None:
        """Mark one declaration for comparison, as `suspect_gaps` does."""
        self.suspect_gaps([declaration_id], now)

    def delta_link(self, declaration_id: str) -> DeltaLink | None:
        """Return the delta link of a declaration, from which its next delta query continues, or None."""
        row = self._tables.get(STATE, _DELTA, declaration_id)
        return DeltaLink(str(row["link"]), time_in(row, "asked") if "asked" in row else None) if row else None

    def save_first_delta_link(self, declaration_id: str, link: str, asked: datetime) -> None:
        """Store the link of a query that begins at the present, unless there is one: what changed after that one is
        still to be delivered. Of two concurrent callers, each has obtained its link before the other finds none.
        """
        if self.delta_link(declaration_id) is None:
            self.save_delta_link(declaration_id, link, asked)

    def save_delta_link(self, declaration_id: str, link: str, asked: datetime) -> None:
        """Store the delta link of a query that began at a time; call it after everything before it is delivered. Only
        Graph receives the link.
        """
        self._tables.put(STATE, _DELTA, declaration_id, {"link": link, "asked": asked.isoformat()})


def _row(checkpoint: Checkpoint, now: datetime) -> Row:
    row: Row = {"until": checkpoint.until.isoformat(), "compared": now.isoformat()}
    return row if checkpoint.hurried is None else {**row, "hurried": checkpoint.hurried.isoformat()}
