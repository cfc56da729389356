"""Deletes the state of declarations that were removed.

If one is declared again later, it starts without state: changes while it was not declared are not read back.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from shared import deadline
from shared.configuration.declaration import Declaration
from shared.storage.state import STATE, Times
from shared.storage.tables import Tables

KEPT = timedelta(days=1)
"""For this time, a removal may be a mistake: the declaration continues if it is declared again."""

INTERVAL = timedelta(hours=1)
"""Minimum time between two cleanups of a process."""

_PARTITIONS = ("progress", "gaps", "delta", "silence", "unread", "recovered")
"""Partitions of the table `state` with rows by the id of a declaration."""


class UndeclaredCleanup:
    """Finds and deletes the state of removed declarations. Per process; one object serves one caller at a time."""

    def __init__(self, tables: Tables, clock: Callable[[], datetime]) -> None:
        self._tables = tables
        self._clock = clock
        self._undeclared = Times(tables, "undeclared", "since")
        self._looked: datetime | None = None

    def __call__(self, declarations: Iterable[Declaration]) -> None:
        """Store which declarations are missing, and delete the state of those missing for a day. Raises RetryLater."""
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
                self._undeclared.forget(name)  # last: a crash leaves it to the next cleanup

    def _places(self) -> dict[str, list[str]]:
        """Return the partitions that have a row of each declaration."""
        places: dict[str, list[str]] = {}
        for partition in _PARTITIONS:
            for row in self._tables.partition(STATE, partition, columns=("RowKey",)):
                places.setdefault(str(row["RowKey"]), []).append(partition)
        return places
