"""Notifications that only say that a drive or a list has changed: they start its delta query, about once a minute."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.configuration.declaration import Declaration
from shared.messages.envelope import write
from shared.readback.delta import OVERLAP
from shared.readback.pages import page_of
from shared.storage.queues import Sender
from shared.storage.state import Times
from shared.storage.tables import Tables

SETTLING_TIME = timedelta(seconds=5)
"""Delay from the notification to the query: Graph may list a change late."""

APART = timedelta(minutes=1)
"""Minimum time between two queries of one declaration."""


@dataclass(frozen=True)
class Ping:
    """A notification of this declaration that does not name the changed resource."""

    declaration: Declaration


class Pings:
    """Starts the delta queries; one object serves all threads, and instances share the times."""

    def __init__(self, tables: Tables, queues: Sender, clock: Callable[[], datetime]) -> None:
        self._due = Times(tables, "pings", "due")
        self._queues = queues
        self._clock = clock

    def note(self, declaration: Declaration) -> None:
        """Schedule a query of the changes of a declaration, unless one is pending: that one includes this change.

        Raises RetryLater if storage is unavailable.
        """
        now = self._clock()
        last = self._due.get(declaration.id)
        if last is not None and last >= now + SETTLING_TIME:
            return
        due = max(now + SETTLING_TIME, last + APART) if last is not None else now + SETTLING_TIME
        # Enqueue first, then store the time: a crash in between costs a second query, not a change.
        self._queues.send(write(page_of(declaration, now - OVERLAP, due, now)), delay=due - now)
        self._due.set(declaration.id, due)
