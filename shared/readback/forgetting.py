"""Forgets what is remembered of declarations that are declared no more.

Declared again later, one begins afresh: what happened while it was deliberately not watched is not read back.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from shared import deadline
from shared.configuration.declaration import Declaration
from shared.storage.state import STATE, Times
from shared.storage.tables import Tables

KEPT = timedelta(days=1)
"""For so long a declaration may be missing by mistake: declared again, it goes on where it stood."""

INTERVAL = timedelta(hours=1)
"""Between two looks of a process."""

_PARTITIONS = ("progress", "gaps", "delta", "silence", "unread", "recovered")
"""Of the table `state`: rows by the id of a declaration."""


class Forgetting:
    """Looks for what nothing declares. Per process; one object serves one caller at a time."""

    def __init__(self, tables: Tables, clock: Callable[[], datetime]) -> None:
        self._tables = tables
        self._clock = clock
        self._undeclared = Times(tables, "undeclared", "since")
        self._looked: datetime | None = None

    def __call__(self, declarations: Iterable[Declaration]) -> None:
        """Note what is not declared, and forget what has not been for a day. Raises RetryLater."""
        now = self._clock()
        if self._looked is not None and now - self._looked < INTERVAL:
            return
        self._looked = now
        declared, since = {declaration.id for declaration in declarations}, self._undeclared.all()
        places = self._places()
        for name in since.keys() & declared:
            self._undeclared.forget(name)
        self._undeclared.set_all(places.keys() - declared - since.keys(), now)
        for name, noted in since.items():
            if name not in declared and now - noted > KEPT and deadline.left() > timedelta(0):
                for partition in places.get(name, ()):
                    self._tables.remove(STATE, partition, name)
                self._undeclared.forget(name)  # last: what a crash leaves is found again

    def _places(self) -> dict[str, list[str]]:
        """Return the partitions that have a row of each declaration."""
        places: dict[str, list[str]] = {}
        for partition in _PARTITIONS:
            for row in self._tables.partition(STATE, partition, columns=("RowKey",)):
                places.setdefault(str(row["RowKey"]), []).append(partition)
        return places
