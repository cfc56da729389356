"""The account of every hour of receipt, which must close: each queued notification is handled, or waits on the queue.

Queue triggers have been seen to remove messages without calling the function, and without a log line
(azure-functions-host#11879). So every enqueued and every finished message is recorded, by the hour in which Graph's
POST arrived. If the queue holds fewer messages than are unfinished, some are lost.

Each process writes its own rows. A finished message is recorded before the host deletes it: a crash can cause a second
record, which hides as many unfinished items of that hour. Records are lost only if a process ends while the tables are
unavailable: that causes a false alarm, and a comparison that finds nothing.
"""

import json
import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from shared.errors import Refused, RetryLater
from shared.graph.client_state import id_in_client_state
from shared.graph.notification import read_client_state
from shared.messages.envelope import Envelope, ReadbackPage
from shared.messages.group_commit import MOST_ENVELOPES
from shared.storage.state import STATE, number_in
from shared.storage.tables import TRANSACTION_LIMIT, Row, Tables
from shared.threads import ThrottledWriter

_log = logging.getLogger("graph_relay.account")

SETTLING_TIME = timedelta(minutes=15)
"""An hour is checked this long after its end: by then, every process has stored its counts."""

WRITE_INTERVAL = timedelta(seconds=5)
"""Minimum time between two writes of a process: Graph waits for the 202, and must not wait for this."""

OUTCOMES = ("delivered", "duplicates", "refused", "dead_lettered", "acted_upon", "unselected")
"""How items end; with several destinations, once per destination."""

_PARTITION, _REPORTED = "account", "account-reported"
_MOST_DECLARATIONS = 400
"""Declarations named in one row: a column holds 32,000 characters. Beyond that, any declaration may be affected."""
ANY = "*"
"""Stands for all declarations."""


@dataclass
class _Tally:
    """The counts of one process for one hour, see Hour. key: of its row."""

    key: str
    messages: int = 0
    queued: int = 0
    open: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    is_written: bool = True

    def row(self) -> Row:
        named = {name: number for name, number in self.open.items() if number}
        if len(named) > _MOST_DECLARATIONS:
            named = {ANY: sum(named.values())}
        counts = {outcome: self.outcomes[outcome] for outcome in OUTCOMES}
        return {"messages": self.messages, "queued": self.queued, "open": json.dumps(named), **counts}


@dataclass
class Hour:
    """The counts of all processes for one hour of receipt.

    messages, items: enqueued less finished. declarations: the items by declaration id. queued: items accepted in the
    hour. outcomes: how items ended.
    """

    messages: int = 0
    queued: int = 0
    declarations: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def items(self) -> int:
        """Unfinished items; negative if some were finished twice."""
        return sum(self.declarations.values())


@dataclass(frozen=True)
class Shortfall:
    """Lost items (queued, not finished, not waiting) by hour of receipt, and the affected declarations (ids)."""

    items: Mapping[datetime, int]
    declarations: frozenset[str]


class Account:
    """Records queued and finished items; one object serves all threads. Recording never raises."""

    def __init__(self, tables: Tables, clock: Callable[[], datetime], random_bytes: Callable[[int], bytes]) -> None:
        self._tables = tables
        self._clock = clock
        self._random_bytes = random_bytes
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._tallies: dict[datetime, _Tally] = {}
        self._entries = self._written = 0
        self._soon = ThrottledWriter[None](lambda _: self.flush(), 1, WRITE_INTERVAL)

    def received(self, envelopes: Iterable[Envelope]) -> None:
        """Record envelopes that were enqueued on receipt. Another thread writes them soon."""
        for envelope in envelopes:
            self._enter(envelope, +1, queued=True)
        self._soon.add([None])

    def enqueued(self, envelope: Envelope) -> None:
        """Record an envelope that was enqueued again."""
        self._enter(envelope, +1)

    def finished(self, *envelopes: Envelope) -> None:
        """Record that the envelopes of a message are finished, and write; call it before the message is deleted."""
        for envelope in envelopes:
            self._enter(envelope, -1)
        self.flush()

    def ended(self, envelope: Envelope, **items: int) -> None:
        """Record the number of an envelope's items that ended in each of OUTCOMES."""
        if _entered_items(envelope) is not None:
            with self._lock:
                self._tally(envelope).outcomes.update(items)

    def flush(self) -> None:
        """Write the counts. Concurrent threads share one write."""
        with self._lock:
            wanted = self._entries
        with self._writing:
            if self._written >= wanted:
                return
            with self._lock:
                entries, tallies = self._entries, [tally for tally in self._tallies.values() if not tally.is_written]
                rows = {tally.key: tally.row() for tally in tallies}
                for tally in tallies:
                    tally.is_written = True
            try:
                self._tables.put_all(STATE, _PARTITION, rows)
                self._written = entries
            except RetryLater as retry_later:
                _log.warning("The counts of queued and handled notifications are stored later: %s", retry_later)
                with self._lock:
                    for tally in tallies:
                        tally.is_written = False
            self._forget()

    def hours(self) -> dict[datetime, Hour]:
        """Return the counts of each hour of receipt. Raises RetryLater."""
        hours: dict[datetime, Hour] = defaultdict(Hour)
        for row in self._tables.partition(STATE, _PARTITION):
            hour = hours[_hour_in(row)]
            hour.messages += _number(row, "messages")
            hour.queued += _number(row, "queued")
            hour.declarations.update(json.loads(str(row["open"])))
            hour.outcomes.update({outcome: _number(row, outcome) for outcome in OUTCOMES})
        return dict(hours)

    def shortfall(self, waiting: int, longest_queued: timedelta) -> Shortfall | None:
        """Return the losses that were not reported before; None if the account closes.

        waiting: messages on the queue, including hidden ones, never too low; each may hold MOST_ENVELOPES envelopes.
        longest_queued: the longest time on the queue. Call `report` after acting on the result. Raises RetryLater.
        """
        now = self._clock()
        reported = {_hour_in(row): row for row in self._tables.partition(STATE, _REPORTED)}
        due = {
            at: hour
            for at, hour in self.hours().items()
            if now - at >= timedelta(hours=1) + SETTLING_TIME and hour.items > _number(reported.get(at), "items")
        }
        unreported = sum(max(hour.messages - _number(reported.get(at), "messages"), 0) for at, hour in due.items())
        if unreported <= waiting * MOST_ENVELOPES:
            due = {at: hour for at, hour in due.items() if now - at > longest_queued + timedelta(hours=1)}
        if not due:
            return None
        items = {at: hour.items - _number(reported.get(at), "items") for at, hour in due.items()}
        concerned = {name for hour in due.values() for name, number in hour.declarations.items() if number > 0}
        return Shortfall(items, frozenset(concerned))

    def report(self, shortfall: Shortfall) -> None:
        """Store that a shortfall was handled. Raises RetryLater."""
        hours = self.hours()
        for at in shortfall.items:
            row: Row = {"items": hours[at].items, "messages": max(hours[at].messages, 0)}
            self._tables.put(STATE, _REPORTED, _name(at), row)

    def drop_expired(self, kept: timedelta) -> None:
        """Delete the rows of hours before the period, some at a time. Raises RetryLater."""
        for partition in (_PARTITION, _REPORTED):
            old = [row for row in self._tables.partition(STATE, partition) if self._clock() - _hour_in(row) > kept]
            for row in old[:TRANSACTION_LIMIT]:
                self._tables.remove(STATE, partition, str(row["RowKey"]))

    def _enter(self, envelope: Envelope, sign: int, *, queued: bool = False) -> None:
        items = _entered_items(envelope)
        if items is None:
            return
        names = Counter(_declaration(item) for item in items)
        with self._lock:
            tally = self._tally(envelope)
            tally.messages += sign
            tally.queued += len(items) if queued else 0
            for name, number in names.items():
                tally.open[name] += sign * number

    def _tally(self, envelope: Envelope) -> _Tally:
        """Return the tally of an envelope, to be changed; the caller holds the lock."""
        hour = envelope.received.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        tally = self._tallies.get(hour)
        if tally is None:
            tally = self._tallies[hour] = _Tally(f"{_name(hour)}-{self._random_bytes(8).hex()}")
        tally.is_written = False
        self._entries += 1
        return tally

    def _forget(self) -> None:
        """Drop the written tallies of past hours: later counts for them go into another row."""
        with self._lock:
            recent = self._clock() - timedelta(hours=2)
            self._tallies = {at: tally for at, tally in self._tallies.items() if at >= recent or not tally.is_written}


def _entered_items(envelope: Envelope) -> Sequence[msgspec.Raw] | None:
    """Return the items to record; None for read-back pages and replayed dead letters, which were not received from
    Graph.
    """
    return None if isinstance(envelope, ReadbackPage) or envelope.replayed is not None else envelope.items


def _declaration(item: msgspec.Raw) -> str:
    try:
        return id_in_client_state(read_client_state(item))
    except Refused:
        return ""


def _name(hour: datetime) -> str:
    return f"{hour:%Y%m%dT%H}"


def _hour_in(row: Row) -> datetime:
    return datetime.strptime(str(row["RowKey"])[:11], "%Y%m%dT%H").replace(tzinfo=UTC)


def _number(row: Row | None, column: str) -> int:
    return int(number_in(row, column)) if row else 0
