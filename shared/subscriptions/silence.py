"""The last notification of each declaration, and whether its silence is unusual (docs/graph.md, "Gaps").

Subscriptions of Teams have been seen to stop sending without any announcement. The app stores for each hour of the week
in which of the last weeks a notification came. Silence is unusual after three hours in which notifications usually
come, even for a tenant without activity at night and on weekends. In addition, silence is unusual if it exceeds several
times the longest silence so far. That is halved every two weeks, so that one long holiday does not raise the threshold
permanently.
"""

import logging
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared import telemetry
from shared.configuration.declaration import Declaration, Declarations
from shared.errors import RetryLater
from shared.log_lines import log_first
from shared.storage.state import STATE, number_in, time_in
from shared.storage.tables import Row, Tables
from shared.subscriptions.weekly_pattern import KNOWN_WEEKS, MISSED_HOURS, WeeklyPattern

_log = logging.getLogger("graph_relay.silence")

WRITE_INTERVAL = timedelta(minutes=1)
"""A busy subscription costs one write per minute and process."""

SILENCE_FACTOR = 3
"""Silence is unusual beyond the longest silence times this factor."""

SHORTEST_ALARMING_SILENCE = timedelta(hours=1)

HALF_LIFE = timedelta(days=14)

_PARTITION = "silence"
_FEW = 4
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Source:
    """The subscription that sent a notification, and the key id of its content; "" without content."""

    subscription_id: str
    key_id: str = ""


@dataclass(frozen=True)
class LastNotification:
    """The last notification of a declaration (id): its source and time (UTC)."""

    declaration: str
    source: Source
    last: datetime


class LastSeen:
    """Stores when declarations last received a notification; one object serves all threads."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._lock = threading.Lock()
        self._noted: dict[tuple[str, Source], datetime] = {}

    def note(self, sources: Mapping[str, Source], received: datetime) -> None:
        """Store that notifications arrived, by the id of the declaration.

        Never raises RetryLater: this is a gauge, not a promise.
        """
        fresh = self._not_noted_lately(sources, received)
        if not fresh:
            return
        try:
            known = self._rows(fresh)
            rows = {name: _row(source, known.get(name), received) for name, source in fresh.items()}
            self._tables.put_all(STATE, _PARTITION, {name: row for name, row in rows.items() if row is not None})
        except RetryLater as retry_later:
            _log.debug("When subscriptions last sent something is not stored: %s", retry_later)

    def _not_noted_lately(self, sources: Mapping[str, Source], received: datetime) -> dict[str, Source]:
        with self._lock:
            fresh = {
                name: source
                for name, source in sources.items()
                if received - self._noted.get((name, source), _LONG_AGO) >= WRITE_INTERVAL
            }
            self._noted |= dict.fromkeys(fresh.items(), received)
        return fresh

    def _rows(self, names: Collection[str]) -> dict[str, Row]:
        """Return the rows of declarations: few are read one by one, many with one query."""
        if len(names) <= _FEW:
            found = {name: self._tables.get(STATE, _PARTITION, name) for name in names}
            return {name: row for name, row in found.items() if row is not None}
        return {str(row["RowKey"]): row for row in self._tables.partition(STATE, _PARTITION)}

    def report(self, declarations: Declarations, now: datetime) -> list[Declaration]:
        """Record the silence of each declaration as a gauge, warn of unusual silence and return those declarations.
        Raises RetryLater.
        """
        unusual, hours = [], list[float]()
        declared = {declaration.id: declaration for declaration in declarations}
        for row in self._tables.partition(STATE, _PARTITION):
            declaration = declared.get(str(row["RowKey"]))
            if declaration is None:
                continue
            silent = now - time_in(row, "last")
            place = {"resource": declaration.resource, "tenant": declaration.tenant_id}
            telemetry.SILENCE_SECONDS.set(silent.total_seconds(), place)
            if is_unusual(row, now):
                unusual.append(declaration)
                hours.append(silent / timedelta(hours=1))
        message = (
            "%s in tenant %s has been silent for %.1f hours, which is unusual. It is compared with Graph; if that "
            "finds changes, the subscription is replaced; `python -m ops reconcile --anew` replaces all"
        )
        rows = [(each.resource, each.tenant_id, silent) for each, silent in zip(unusual, hours, strict=True)]
        log_first(_log, logging.WARNING, message, rows)
        return unusual

    def all(self) -> list[LastNotification]:
        """Return the last notification of each declaration. Raises RetryLater."""
        return [
            LastNotification(str(row["RowKey"]), _source(row), time_in(row, "last"))
            for row in self._tables.partition(STATE, _PARTITION)
        ]


def _row(source: Source, known: Row | None, received: datetime) -> Row | None:
    """Return the row after a notification from `source`; None if a later one is stored."""
    longest = timedelta(0)
    if known is not None:
        last = time_in(known, "last")
        if received <= last:
            return None
        longest = max(_longest(known, received), received - last)
    return {
        "habit": WeeklyPattern.of(known).with_hour(received).text,
        "last": received.isoformat(),
        "longest": longest.total_seconds(),
        "subscription": source.subscription_id,
        "key": source.key_id,
    }


def is_unusual(row: Row, now: datetime) -> bool:
    """Whether the silence of a declaration is unusual at this time."""
    last = time_in(row, "last")
    pattern = WeeklyPattern.of(row)
    if pattern.weeks(now) >= KNOWN_WEEKS and pattern.missed(last, now) >= MISSED_HOURS:
        return True
    return now - last > SILENCE_FACTOR * max(_longest(row, now), SHORTEST_ALARMING_SILENCE)


def _source(row: Row) -> Source:
    return Source(str(row.get("subscription", "")), str(row.get("key", "")))


def _longest(row: Row, now: datetime) -> timedelta:
    """Return the longest silence, halved with time."""
    faded: float = 0.5 ** ((now - time_in(row, "last")) / HALF_LIFE)
    return timedelta(seconds=number_in(row, "longest")) * faded
