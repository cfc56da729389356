"""What comparisons with Graph have recovered, and so which subscriptions bring nothing any more.

A subscription may fall silent with nothing announced (docs/graph.md, "Gaps"). Where several changes had to be read back
that happened while it lived, and nothing was pushed since, it is dead: a new one takes its place.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from shared.storage.state import STATE
from shared.storage.tables import Row, Tables

ENOUGH = 5
"""Changes that were read back since the last notification: fewer may be a coincidence."""

IN_TRANSIT = timedelta(minutes=15)
"""A notification of a change may take so long; of younger changes nothing is concluded."""

_MOST = 32
_PARTITION = "recovered"


class Recoveries:
    """The times of the last changes that each declaration's comparisons recovered. Raises RetryLater."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def note(self, declaration_id: str, changes: Iterable[datetime]) -> None:
        """Note when changes happened that were read back and had not been delivered."""
        fresh = {int(change.timestamp()) for change in changes}
        if not fresh:
            return
        row = self._tables.get(STATE, _PARTITION, declaration_id)
        known = set(_seconds_in(row)) if row else set()
        latest = sorted(known | fresh)[-_MOST:]
        self._tables.put(STATE, _PARTITION, declaration_id, {"seconds": " ".join(map(str, latest))})

    def all(self) -> dict[str, list[datetime]]:
        """Return the times, the latest last, by the id of the declaration."""
        return {
            str(row["RowKey"]): [datetime.fromtimestamp(second, UTC) for second in _seconds_in(row)]
            for row in self._tables.partition(STATE, _PARTITION)
        }


def _seconds_in(row: Row) -> list[int]:
    """Return the times in a row. What somebody else wrote there is left out."""
    return [int(word) for word in str(row.get("seconds", "")).split() if re.fullmatch(r"[0-9]{1,11}", word)]


def is_silent(changes: Iterable[datetime], seen: datetime | None, since: datetime, now: datetime) -> bool:
    """Whether a subscription is dead, by the changes that were read back.

    seen: when something of it was pushed last. since: when it was first known to live.
    """
    began = max(since, seen or since) + IN_TRANSIT
    return sum(began < change < now - IN_TRANSIT for change in changes) >= ENOUGH
