"""Which versions are settled, delivered or rejected: one row an event, found by the event's own id and time.

A row lies where the time of its change says: in the table of that week, in the partition of that second. So a batch
of pushed events is looked up and recorded in a request or two, no partition grows large, a whole week is forgotten
by dropping a table, and no row has to be searched for.

An outage of the ledger delays or duplicates, and never loses: what can't be looked up counts as not delivered.
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

Place = tuple[tuple[str, str], list[str]]
"""Table and partition, and the keys of events that belong there."""

_TABLE = re.compile(r"ledger(\d{8})")


class Ledger:
    """The delivered events; one object serves all threads."""

    def __init__(self, tables: Tables, kept: timedelta) -> None:
        self._tables = tables
        self._kept = kept

    def undelivered(self, events: Sequence[Event]) -> list[Event]:
        """Return those of `events` that are not known to have been delivered. Never raises RetryLater."""
        delivered = set[str]().union(*self._pool.map(self._delivered, _places(events).items()))
        return [event for event in events if _key(event.id) not in delivered]

    def record(self, events: Iterable[Event], details: Mapping[str, Row] | None = None) -> None:
        """Remember that `events` have been delivered. Never raises RetryLater: at worst one is delivered again.

        details: further columns of the rows, by event id.
        """
        columns = {_key(event_id): row for event_id, row in (details or {}).items()}
        for _ in self._pool.map(lambda place: self._record(place, columns), _places(events).items()):
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

    def _delivered(self, place: Place) -> set[str]:
        (table, partition), keys = place
        try:
            return self._tables.existing(table, partition, keys)
        except RetryLater as retry_later:
            _log.warning("Events may be delivered twice: %s", retry_later)
            return set()

    def _record(self, place: Place, columns: Mapping[str, Row]) -> None:
        (table, partition), keys = place
        try:
            self._tables.put_all(table, partition, {key: columns.get(key, {}) for key in keys})
        except RetryLater as retry_later:
            _log.warning("Delivered events are not recorded, a sweep may repeat them: %s", retry_later)

    def forget(self, now: datetime) -> None:
        """Drop the tables of weeks that ended longer ago than rows are kept. Raises RetryLater."""
        for name in self._tables.names():
            week = _TABLE.fullmatch(name)
            if week and datetime.strptime(week[1], "%Y%m%d").replace(tzinfo=UTC) < now - self._kept - timedelta(days=7):
                self._tables.drop(name)


def _places(events: Iterable[Event]) -> dict[tuple[str, str], list[str]]:
    """Return the keys of `events` by table and partition, each key once."""
    places: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for event in events:
        places[_table(event.time), _partition(event.time)][_key(event.id)] = None
    return {place: list(keys) for place, keys in places.items()}


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
    """A second, behind two digits that spread neighbouring seconds over Storage's servers."""
    second = f"{time:%Y%m%dT%H%M%S}"
    return f"{hashlib.sha256(second.encode()).hexdigest()[:2]}-{second}"


def _key(event_id: str) -> str:
    return hashlib.sha256(event_id.encode()).hexdigest()
