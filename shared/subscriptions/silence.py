"""When each declaration was last seen in a notification, and whether its silence is unusual (docs/graph.md, "Gaps").

Subscriptions of Teams have been seen to fall silent with nothing announced. The longest silence of the last weeks is
remembered, halved every two weeks, so that one long holiday does not raise the threshold permanently.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared import telemetry
from shared.configuration.declaration import Declarations
from shared.errors import RetryLater
from shared.storage.state import STATE, time_in
from shared.storage.tables import Row, Tables

_log = logging.getLogger("graph_relay.silence")

WRITE_INTERVAL = timedelta(minutes=1)
"""So that a busy subscription costs one write a minute and process."""

SILENCE_FACTOR = 3
"""How many times the longest silence so far is unusual."""

SHORTEST_ALARMING_SILENCE = timedelta(hours=1)

HALF_LIFE = timedelta(days=14)

_PARTITION = "silence"


@dataclass(frozen=True)
class Source:
    """The subscription that a notification came from, and the key that its content names; "" if it had none."""

    subscription_id: str
    key_id: str = ""


@dataclass(frozen=True)
class Sighting:
    """The last notification of a declaration, by its id: where it came from, and when (UTC)."""

    declaration: str
    source: Source
    last: datetime


class LastSeen:
    """Notes when declarations were last seen, by their ids; one object serves all threads."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._lock = threading.Lock()
        self._noted: dict[tuple[str, Source], datetime] = {}

    def note(self, sources: Mapping[str, Source], received: datetime) -> None:
        """Note that notifications arrived, by the id of the declaration that each came for.

        Never raises RetryLater: this is a gauge, not a promise.
        """
        for name, source in sources.items():
            with self._lock:
                noted = self._noted.get((name, source))
                if noted is not None and received - noted < WRITE_INTERVAL:
                    continue
                self._noted[name, source] = received
            try:
                self._note(name, source, received)
            except RetryLater as retry_later:
                _log.debug("Not noted: %s", retry_later)

    def report(self, declarations: Declarations, now: datetime) -> None:
        """Gauge the silence of each declaration, and warn of unusual ones. Raises RetryLater."""
        declared = {declaration.id: declaration for declaration in declarations}
        for row in self._tables.partition(STATE, _PARTITION):
            declaration = declared.get(str(row["RowKey"]))
            if declaration is None:
                continue
            silent = now - time_in(row, "last")
            place = {"resource": declaration.resource, "tenant": declaration.tenant_id}
            telemetry.SILENCE_SECONDS.set(silent.total_seconds(), place)
            if silent > SILENCE_FACTOR * max(_longest(row, now), SHORTEST_ALARMING_SILENCE):
                _log.warning(
                    "%s in tenant %s has been silent for %.1f hours, far longer than before. If people are active "
                    "there, recreate it (`python -m ops reconcile --anew`): the gap is read back",
                    declaration.resource,
                    declaration.tenant_id,
                    silent.total_seconds() / 3600,
                )

    def all(self) -> list[Sighting]:
        """Return the last sighting of each declaration. Raises RetryLater."""
        return [
            Sighting(str(row["RowKey"]), _source(row), time_in(row, "last"))
            for row in self._tables.partition(STATE, _PARTITION)
        ]

    def _note(self, name: str, source: Source, received: datetime) -> None:
        row = self._tables.get(STATE, _PARTITION, name)
        longest = timedelta(0)
        if row is not None:
            last = time_in(row, "last")
            if received <= last:
                return
            longest = max(_longest(row, received), received - last)
        fresh: Row = {
            "last": received.isoformat(),
            "longest": longest.total_seconds(),
            "subscription": source.subscription_id,
            "key": source.key_id,
        }
        self._tables.put(STATE, _PARTITION, name, fresh)


def _source(row: Row) -> Source:
    return Source(str(row.get("subscription", "")), str(row.get("key", "")))


def _longest(row: Row, now: datetime) -> timedelta:
    """Return the longest silence, faded."""
    faded: float = 0.5 ** ((now - time_in(row, "last")) / HALF_LIFE)
    return timedelta(seconds=float(row["longest"])) * faded  # type: ignore[arg-type]
