"""The versions that were delivered or rejected: one row per event, addressed by the event's id and time.

The time of the change selects the table (its week) and the partition (its second). So one or two requests look up or
record a batch of pushed events, no partition grows large, and dropping a table removes a whole week.

An outage of the ledger delays or duplicates events and never loses one: an event that can't be looked up counts as
not delivered.
"""

import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property

from shared.delivery.event import Event
from shared.errors import RetryLater
from shared.storage.tables import Row, Tables
from shared.threads import ContextThreadPool

_log = logging.getLogger("graph_relay.ledger")

_THREADS = 16
_WEEK = timedelta(days=7)

PartitionKeys = tuple[tuple[str, str], list[str]]
"""Table and partition, and the row keys of events in it."""

_TABLE = re.compile(r"ledger(\d{8})")


class Ledger:
    """The delivered events; one object serves all threads."""

    def __init__(self, tables: Tables, retention: timedelta) -> None:
        self._tables = tables
        self._retention = retention

    def undelivered(self, events: Sequence[Event]) -> list[Event]:
        """Return those of `events` that are not recorded. Never raises RetryLater."""
        delivered = set[str]().union(*self._pool.map(self._delivered, _by_partition(events).items()))
        return [event for event in events if _key(event.id) not in delivered]

    def record(self, events: Iterable[Event], details: Mapping[str, Row] | None = None) -> None:
        """Remember that `events` have been delivered. Never raises RetryLater: at worst one is delivered again.

        details: further columns of the rows, by event id.
        """
        columns = {_key(event_id): row for event_id, row in (details or {}).items()}
        for _ in self._pool.map(lambda place: self._record(place, columns), _by_partition(events).items()):
            continue

    def details(self, event_id: str) -> list[Row]:
        """Return the row of an event, in a list, by its id alone: the version in it says where. Raises RetryLater."""
        time = _time_in(event_id)
        row = time and self._tables.get(_table(time), _partition(time), _key(event_id))
        return [row] if row else []

    def details_matching(self, value: str, columns: Sequence[str], since: datetime) -> Iterator[Row]:
        """Yield the rows in which a column has a value, of changes in the weeks since a time, the newest week first.

        Every row of these weeks is read. Raises RetryLater.
        """
        weeks = sorted((name for name in self._tables.names() if _TABLE.fullmatch(name)), reverse=True)
        for week in weeks:
            if week >= _table(since):
                yield from self._tables.matching(week, columns, value)

    @cached_property
    def _pool(self) -> ContextThreadPool:
        """A pushed batch touches one or two partitions; a read-back page touches up to one per event."""
        return ContextThreadPool(_THREADS, thread_name_prefix="ledger")

    def _delivered(self, partition_keys: PartitionKeys) -> set[str]:
        (table, partition), keys = partition_keys
        try:
            return self._tables.existing(table, partition, keys)
        except RetryLater as retry_later:
            _log.warning("Events may be delivered twice: %s", retry_later)
            return set()

    def _record(self, partition_keys: PartitionKeys, columns: Mapping[str, Row]) -> None:
        (table, partition), keys = partition_keys
        try:
            self._tables.put_all(table, partition, {key: columns.get(key, {}) for key in keys})
        except RetryLater as retry_later:
            _log.warning("Delivered events are not recorded, a sweep may deliver them again: %s", retry_later)

    def drop_expired(self, now: datetime) -> None:
        """Drop the tables of weeks that ended before the retention period. Raises RetryLater."""
        for name in self._tables.names():
            week = _TABLE.fullmatch(name)
            if week and datetime.strptime(week[1], "%Y%m%d").replace(tzinfo=UTC) + _WEEK < now - self._retention:
                self._tables.drop(name)


def _by_partition(events: Iterable[Event]) -> dict[tuple[str, str], list[str]]:
    """Return the row keys of `events` by table and partition, each key once."""
    partitions: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for event in events:
        partitions[_table(event.time), _partition(event.time)][_key(event.id)] = None
    return {partition: list(keys) for partition, keys in partitions.items()}


def _table(time: datetime) -> str:
    return f"ledger{time - timedelta(days=time.weekday()):%Y%m%d}"


def _time_in(event_id: str) -> datetime | None:
    """Return the time that begins the version in an event's id, `…@MICROSECONDS.…`; see shared/delivery/version.py."""
    version = re.fullmatch(r"(\d{18})\..*", event_id.rpartition("@")[2])
    if version is None:
        return None
    with suppress(OverflowError):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(version[1]))
    return None


def _partition(time: datetime) -> str:
    """The second, after two hash digits that spread neighbouring seconds over Storage's servers."""
    second = f"{time:%Y%m%dT%H%M%S}"
    return f"{hashlib.sha256(second.encode()).hexdigest()[:2]}-{second}"


def _key(event_id: str) -> str:
    return hashlib.sha256(event_id.encode()).hexdigest()
