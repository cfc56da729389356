"""The versions that were delivered or rejected: a row holds versions of one second that were recorded together.

The time of the change selects the table (its week) and the partition (its second). So one request looks up a batch of
pushed events and one records it, partitions stay small, and dropping a table removes a whole week.

An outage of the ledger delays or duplicates events and never loses one: an event that can't be looked up counts as not
delivered.
"""

import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TypeVar

import msgspec

from shared.configuration.destinations import DEFAULT
from shared.delivery.event import Event
from shared.errors import RetryLater
from shared.storage.state import Times
from shared.storage.tables import Row, Tables
from shared.threads import ContextThreadPool

_log = logging.getLogger("graph_relay.ledger")

A = TypeVar("A")
T = TypeVar("T")

_DIGEST_BYTES = 16
_EVENTS_PER_ROW = 1000
_DETAILS_PER_ROW = 60_000
"""Bytes. A column holds 64 KiB."""

_DIGESTS, _DETAILS = "digests", "details"
_THREADS = 16
_WEEK = timedelta(days=7)

_IN_USE = timedelta(days=7)
"""How long an old week stays after the last write: longer than a backfill takes."""

_NOTED_EVERY = timedelta(hours=1)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

Place = tuple[str, str]
"""A table and a partition in it."""

_TABLE = re.compile(r"ledger(\d{8})")
_ROW_OF_ONE = re.compile(r"[0-9a-f]{64}")
"""Key of a row that version 0.1 of the app wrote, one for each event: the digest of its id. `path` has its details."""


class Ledger:
    """The events that were delivered to one destination; one object serves all threads.

    All destinations share the tables. The digest of an event depends on the destination; the default one has the
    digests, and so the rows, that version 0.1 of the app wrote.
    """

    def __init__(
        self,
        tables: Tables,
        retention: timedelta,
        destination: str = DEFAULT,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._tables = tables
        self._retention = retention
        self._clock = clock
        self._written = Times(tables, "ledger-written", "at")
        self._noted: dict[str, datetime] = {}
        self.destination = destination

    def undelivered(self, events: Sequence[Event]) -> list[Event]:
        """Return those of `events` that are not recorded. Never raises RetryLater."""
        delivered = set[bytes]().union(*self._all(self._delivered, list(_by_place(events))))
        return [event for event in events if self._digest(event.id) not in delivered]

    def record(self, events: Iterable[Event], details: Mapping[str, bytes] | None = None) -> None:
        """Record that `events` have been delivered. Never raises RetryLater: at worst one is delivered again.

        details: JSON to store with an event, by its id.
        """
        places = [(place, _rows(self._digests(ids), details or {})) for place, ids in _by_place(events).items()]
        self._keep({table for (table, _), _ in places})
        self._all(self._record, places)

    def details(self, event_id: str) -> bytes | None:
        """Return the details of an event by its id, which contains the time of the version. Raises RetryLater."""
        time = _time_in(event_id)
        rows = self._tables.partition(_table(time), _partition(time)) if time else ()
        wanted = self._digest(event_id)
        return next((kept for row in rows for digest, kept in _details_in(row) if digest == wanted), None)

    def all_details(self, since: datetime) -> Iterator[bytes]:
        """Yield the details of all changes in the weeks since a time, the newest week first. Raises RetryLater."""
        for week in sorted((name for name in self._tables.names() if _TABLE.fullmatch(name)), reverse=True):
            if week >= _table(since):
                for row in self._tables.rows(week):
                    yield from (kept for _, kept in _details_in(row))

    def drop_expired(self, now: datetime) -> None:
        """Drop the tables of weeks that ended before the retention period, unless they were written recently.

        Raises RetryLater.
        """
        expired = [name for name in self._tables.names() if self._is_expired(name, now)]
        written = self._written.all() if expired else {}
        for name in expired:
            if name not in written or now - written[name] > _IN_USE:
                self._tables.drop(name)
                self._written.forget(name)

    def _is_expired(self, table: str, now: datetime) -> bool:
        week = _TABLE.fullmatch(table)
        return bool(week) and _begin(table) < now - self._retention - _WEEK

    def _keep(self, tables: Iterable[str]) -> None:
        """Note that old weeks are in use: a backfill looks up its deliveries there."""
        now = self._clock()
        for table in tables:
            if self._is_expired(table, now) and now - self._noted.get(table, _LONG_AGO) > _NOTED_EVERY:
                self._noted[table] = now
                with suppress(RetryLater):
                    self._written.set(table, now)

    def _all(self, call: Callable[[A], T], arguments: Sequence[A]) -> list[T]:
        """A pushed batch touches one or two partitions; a read-back page touches up to one per event."""
        if len(arguments) < 2:  # a thread would cost more than the call
            return [call(argument) for argument in arguments]
        return list(self._pool.map(call, arguments))

    def _digest(self, event_id: str) -> bytes:
        identity = event_id if self.destination == DEFAULT else f"{self.destination}\n{event_id}"
        return hashlib.sha256(identity.encode()).digest()[:_DIGEST_BYTES]

    def _digests(self, ids: Iterable[str]) -> dict[str, bytes]:
        return {event_id: self._digest(event_id) for event_id in ids}

    @cached_property
    def _pool(self) -> ContextThreadPool:
        return ContextThreadPool(_THREADS, thread_name_prefix="ledger")

    def _delivered(self, place: Place) -> set[bytes]:
        try:
            rows = self._tables.partition(*place, columns=("RowKey", _DIGESTS))
            return {digest for row in rows for digest in _digests_in(row)}
        except RetryLater as retry_later:
            _log.warning("The ledger can't be read, so events may be delivered twice: %s", retry_later)
            return set()

    def _record(self, place_and_rows: tuple[Place, Mapping[str, Row]]) -> None:
        (table, partition), rows = place_and_rows
        try:
            self._tables.put_all(table, partition, rows)
        except RetryLater as retry_later:
            _log.warning("Delivered events are not recorded, a sweep may deliver them again: %s", retry_later)


def _by_place(events: Iterable[Event]) -> dict[Place, dict[str, None]]:
    """Return the ids of `events` by table and partition, each id once."""
    places: dict[Place, dict[str, None]] = defaultdict(dict)
    for event in events:
        places[_table(event.time), _partition(event.time)][event.id] = None
    return places


def _rows(digests: Mapping[str, bytes], details: Mapping[str, bytes]) -> dict[str, Row]:
    """Return the rows for events of one partition, given the digest of each by its id.

    Recording the same events again produces the same rows.
    """
    return dict(_row({event_id: digests[event_id] for event_id in ids}, details) for ids in _groups(digests, details))


def _groups(ids: Iterable[str], details: Mapping[str, bytes]) -> Iterator[list[str]]:
    """Split events into groups that fit a row each."""
    group: list[str] = []
    size = 0
    for event_id in ids:
        size += len(details.get(event_id, b"")) + 5
        if group and (size > _DETAILS_PER_ROW or len(group) == _EVENTS_PER_ROW):
            yield group
            group, size = [], len(details.get(event_id, b"")) + 5
        group.append(event_id)
    if group:
        yield group


def _row(digest_of: Mapping[str, bytes], details: Mapping[str, bytes]) -> tuple[str, Row]:
    digests = b"".join(digest_of.values())
    row = {_DIGESTS: digests}
    if details:
        row[_DETAILS] = msgspec.json.encode([msgspec.Raw(details.get(event_id, b"null")) for event_id in digest_of])
    return hashlib.sha256(digests).hexdigest()[: 2 * _DIGEST_BYTES], row


def _digests_in(row: Row) -> list[bytes]:
    if _ROW_OF_ONE.fullmatch(str(row["RowKey"])):
        return [bytes.fromhex(str(row["RowKey"]))[:_DIGEST_BYTES]]
    digests = _bytes(row, _DIGESTS)
    return [digests[first : first + _DIGEST_BYTES] for first in range(0, len(digests), _DIGEST_BYTES)]


def _details_in(row: Row) -> Iterator[tuple[bytes, bytes]]:
    """Yield the digest and the details of each event in a row that has details."""
    digests = _digests_in(row)
    if _ROW_OF_ONE.fullmatch(str(row["RowKey"])):
        kept = [msgspec.Raw(str(row.get("path", "null")).encode())]
    else:
        kept = msgspec.json.decode(_bytes(row, _DETAILS) or b"[]", type=list[msgspec.Raw])
    yield from ((digest, bytes(entry)) for digest, entry in zip(digests, kept, strict=False) if bytes(entry) != b"null")


def _bytes(row: Row, column: str) -> bytes:
    value = row.get(column, b"")
    return value if isinstance(value, bytes) else b""


def _begin(table: str) -> datetime:
    return datetime.strptime(table.removeprefix("ledger"), "%Y%m%d").replace(tzinfo=UTC)


def _table(time: datetime) -> str:
    return f"ledger{time - timedelta(days=time.weekday()):%Y%m%d}"


def _time_in(event_id: str) -> datetime | None:
    """Return the time at the beginning of the version in an event's id, `…@MICROSECONDS.…`; see
    shared/delivery/version.py.
    """
    version = re.fullmatch(r"(\d{18})\..*", event_id.rpartition("@")[2])
    if version is None:
        return None
    with suppress(OverflowError):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(version[1]))
    return None


def _partition(time: datetime) -> str:
    """The partition of a second: two hash digits distribute neighbouring seconds over Storage's servers."""
    second = f"{time:%Y%m%dT%H%M%S}"
    return f"{hashlib.sha256(second.encode()).hexdigest()[:2]}-{second}"
