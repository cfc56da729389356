"""Changes recovered by comparisons with Graph, which show that a subscription sends nothing any more.

A subscription may stop sending without any announcement (docs/graph.md, "Gaps"). If several changes had to be read back
that happened during its life, and nothing was pushed since, the app replaces it.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from shared.storage.state import STATE
from shared.storage.tables import Row, Tables

ENOUGH = 5
"""Recovered changes since the last notification: fewer may be a coincidence."""

IN_TRANSIT = timedelta(minutes=15)
"""Maximum delay of a notification; younger changes are ignored."""

_MOST = 32
_PARTITION = "recovered"


class RecoveredChanges:
    """The times of the last changes that the comparisons of each declaration recovered. Raises RetryLater."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def note(self, declaration_id: str, changes: Iterable[datetime]) -> None:
        """Store the times of changes that were read back and had not been delivered."""
        fresh = {int(change.timestamp()) for change in changes}
        if not fresh:
            return
        row = self._tables.get(STATE, _PARTITION, declaration_id)
        known = set(_seconds_in(row)) if row else set()
        latest = sorted(known | fresh)[-_MOST:]
        self._tables.put(STATE, _PARTITION, declaration_id, {"seconds": " ".join(map(str, latest))})

    def all(self) -> dict[str, list[datetime]]:
        """Return the times in ascending order, by the id of the declaration."""
        return {
            str(row["RowKey"]): [datetime.fromtimestamp(second, UTC) for second in _seconds_in(row)]
            for row in self._tables.partition(STATE, _PARTITION)
        }


def _seconds_in(row: Row) -> list[int]:
    """Return the times in a row. Malformed ones are skipped."""
    return [int(word) for word in str(row.get("seconds", "")).split() if re.fullmatch(r"[0-9]{1,11}", word)]


def is_silent(changes: Iterable[datetime], seen: datetime | None, since: datetime, now: datetime) -> bool:
    """Whether a subscription sends nothing any more, according to the recovered changes.

    seen: the time of its last notification. since: when it was first stored.
    """
    began = max(since, seen or since) + IN_TRANSIT
    return sum(began < change < now - IN_TRANSIT for change in changes) >= ENOUGH
