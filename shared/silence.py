"""How long a subscription has been silent, and whether that is far outside its habit (Graph contract §11).

Subscriptions of Teams have been seen to fall silent with nothing announced. The habit is the longest silence of the
last weeks; it fades, so that a holiday doesn't blunt it for ever.
"""

import logging
import threading
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta

from shared import telemetry
from shared.errors import NotNow
from shared.tables import Row, Tables

_log = logging.getLogger("graph_relay.silence")

NOTED_EVERY = timedelta(minutes=1)
"""So that a busy subscription costs one write a minute and process."""

ODD = 3
"""Times the longest silence so far."""

LEAST = timedelta(hours=1)
"""Shorter silences are never odd."""

HALF_LIFE = timedelta(days=14)

_TABLE = "state"
_PARTITION = "silence"


class Silence:
    """Notes when declarations were heard of, by their ids; one object serves all threads."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._lock = threading.Lock()
        self._noted: dict[str, datetime] = {}

    def heard(self, declaration_ids: Collection[str], received: datetime) -> None:
        """Note that notifications arrived. Never raises NotNow: this is a gauge, not a promise."""
        for name in declaration_ids:
            with self._lock:
                noted = self._noted.get(name)
                if noted is not None and received - noted < NOTED_EVERY:
                    continue
                self._noted[name] = received
            try:
                self._note(name, received)
            except NotNow as not_now:
                _log.debug("Not noted: %s", not_now)

    def report(self, names: dict[str, str], now: datetime) -> None:
        """Gauge the silence of each declaration, and warn of odd ones. `names`: resources by id. Raises NotNow."""
        for row in self._rows():
            resource = names.get(str(row["RowKey"]))
            if resource is None:
                continue
            silent = now - _last(row)
            telemetry.SILENCE_SECONDS.set(silent.total_seconds(), {"resource": resource})
            if silent > ODD * max(_longest(row, now), LEAST):
                hours = silent.total_seconds() / 3600
                _log.warning(
                    "%s has been silent for %.1f hours, far longer than before. If people are active there, delete "
                    "its subscription: it is made anew and the gap is read back",
                    resource,
                    hours,
                )

    def last_heard(self) -> dict[str, datetime]:
        """Return when each declaration was last heard of, by its id. Raises NotNow."""
        return {str(row["RowKey"]): _last(row) for row in self._rows()}

    def _rows(self) -> Iterator[Row]:
        return self._tables.find(_TABLE, "PartitionKey eq @partition", {"partition": _PARTITION})

    def _note(self, name: str, received: datetime) -> None:
        row = self._tables.get(_TABLE, _PARTITION, name)
        longest = timedelta(0)
        if row is not None:
            if received <= _last(row):
                return
            longest = max(_longest(row, received), received - _last(row))
        fresh: Row = {"last": received.isoformat(), "longest": longest.total_seconds()}
        self._tables.put(_TABLE, _PARTITION, name, fresh)


def _last(row: Row) -> datetime:
    return datetime.fromisoformat(str(row["last"])).astimezone(UTC)


def _longest(row: Row, now: datetime) -> timedelta:
    faded: float = 0.5 ** ((now - _last(row)) / HALF_LIFE)
    return timedelta(seconds=float(row["longest"])) * faded  # type: ignore[arg-type]
