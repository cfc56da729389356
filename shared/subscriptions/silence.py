"""What was heard last of each subscription, and whether its silence is far outside its habit (Graph contract §11).

Subscriptions of Teams have been seen to fall silent with nothing announced. The habit is the longest silence of the
last weeks; it fades, so that a holiday doesn't blunt it for ever.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared import telemetry
from shared.configuration.declaration import Declaration
from shared.errors import RetryLater
from shared.storage.tables import Row, Tables

_log = logging.getLogger("graph_relay.silence")

NOTED_EVERY = timedelta(minutes=1)
"""So that a busy subscription costs one write a minute and process."""

SILENCE_FACTOR = 3
"""Times the longest silence so far."""

SHORTEST_ALARMING_SILENCE = timedelta(hours=1)
"""Shorter silences are never odd."""

HALF_LIFE = timedelta(days=14)

_TABLE = "state"
_PARTITION = "silence"


@dataclass(frozen=True)
class Source:
    """From which subscription something was heard, and the key that its content names; "" if it had none."""

    subscription_id: str
    key_id: str = ""


@dataclass(frozen=True)
class LastSeen:
    """What was heard last of a declaration, by its id, and when that was (UTC)."""

    declaration: str
    source: Source
    last: datetime


class Silence:
    """Notes when declarations were heard of, by their ids; one object serves all threads."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._lock = threading.Lock()
        self._noted: dict[tuple[str, Source], datetime] = {}

    def seen(self, sources: Mapping[str, Source], received: datetime) -> None:
        """Note that notifications arrived, by the id of the declaration that each came for.

        Never raises RetryLater: this is a gauge, not a promise.
        """
        for name, source in sources.items():
            with self._lock:
                noted = self._noted.get((name, source))
                if noted is not None and received - noted < NOTED_EVERY:
                    continue
                self._noted[name, source] = received
            try:
                self._note(name, source, received)
            except RetryLater as retry_later:
                _log.debug("Not noted: %s", retry_later)

    def report(self, declarations: Mapping[str, Declaration], now: datetime) -> None:
        """Gauge the silence of each declaration, given by its id, and warn of odd ones. Raises RetryLater."""
        for row in self._rows():
            declared = declarations.get(str(row["RowKey"]))
            if declared is None:
                continue
            silent = now - _last(row)
            place = {"resource": declared.resource, "tenant": declared.tenant_id}
            telemetry.SILENCE_SECONDS.set(silent.total_seconds(), place)
            if silent > SILENCE_FACTOR * max(_longest(row, now), SHORTEST_ALARMING_SILENCE):
                hours = silent.total_seconds() / 3600
                _log.warning(
                    "%s in tenant %s has been silent for %.1f hours, far longer than before. If people are active "
                    "there, have it made anew (`python -m ops reconcile --anew`): the gap is read back",
                    declared.resource,
                    declared.tenant_id,
                    hours,
                )

    def last_seen(self) -> list[LastSeen]:
        """Return what was heard last of each declaration. Raises RetryLater."""
        return [LastSeen(str(row["RowKey"]), _source(row), _last(row)) for row in self._rows()]

    def _rows(self) -> Iterator[Row]:
        return self._tables.find(_TABLE, "PartitionKey eq @partition", {"partition": _PARTITION})

    def _note(self, name: str, source: Source, received: datetime) -> None:
        row = self._tables.get(_TABLE, _PARTITION, name)
        longest = timedelta(0)
        if row is not None:
            if received <= _last(row):
                return
            longest = max(_longest(row, received), received - _last(row))
        fresh: Row = {
            "last": received.isoformat(),
            "longest": longest.total_seconds(),
            "subscription": source.subscription_id,
            "key": source.key_id,
        }
        self._tables.put(_TABLE, _PARTITION, name, fresh)


def _source(row: Row) -> Source:
    return Source(str(row.get("subscription", "")), str(row.get("key", "")))


def _last(row: Row) -> datetime:
    return datetime.fromisoformat(str(row["last"])).astimezone(UTC)


def _longest(row: Row, now: datetime) -> timedelta:
    faded: float = 0.5 ** ((now - _last(row)) / HALF_LIFE)
    return timedelta(seconds=float(row["longest"])) * faded  # type: ignore[arg-type]
