"""The dispatcher of one destination: it batches deliveries, and limits requests, invocations and events a second.

Invocations that deliver at the same time share the look-up in the ledger, the request, and the entry in the ledger. An
invocation that delivers alone does not wait. A delivery beyond the limits is postponed: NotAttempted, with a time for
the retry.
"""

import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import msgspec

from shared.delivery.destination import Delivery
from shared.delivery.event import Event
from shared.errors import NotAttempted, Reason

_LONGEST_PACE = timedelta(seconds=5)
"""How long a delivery waits for the rate limit; a delivery that would wait longer is postponed."""

BATCHING_DELAY = timedelta(milliseconds=50)
"""How long a group waits for further events while other deliveries are in flight or expected. A destination that takes
seconds to answer gets as many concurrent requests as the limits allow."""

_PATIENCE = 0.25
"""Seconds that a delivery waits for a slot, if the destination answers faster than this on average."""

_SHORTEST_RETRY = timedelta(seconds=2)
_LONGEST_RETRY = timedelta(minutes=10)
_SMOOTHING = 0.2


@dataclass(frozen=True)
class Limits:
    """capacity: concurrent deliveries; further ones are postponed. requests: concurrent requests. rate: events a
    second, None for no limit. most_events, most_bytes: the largest group of deliveries.
    """

    capacity: int = 1_000
    requests: int = 8
    rate: float | None = None
    most_events: int = 100
    most_bytes: int = 1_000_000

    def shared_by(self, destinations: int, invocations: int) -> "Limits":
        """Return the limits of one of several destinations that share the invocations.

        At most half of the capacity sends requests; the deliveries that wait share the next requests.
        """
        if destinations < 2:
            return replace(self, capacity=invocations * 2)
        capacity = max(invocations // destinations, 2)
        return replace(self, capacity=capacity, requests=min(self.requests, max(capacity // 2, 1)))


@dataclass(frozen=True)
class Part:
    """What one invocation delivers. tried: see Destination.deliver. details: JSON that the ledger keeps, by event id.

    redeliver: also deliver events that are in the ledger. isolate_errors: see Destination.deliver. Both are the same
    for a whole group. others_expected: whether other invocations are about to deliver.
    """

    events: Sequence[Event]
    tried: Mapping[str, datetime] = field(default_factory=dict)
    details: Mapping[str, bytes] = field(default_factory=dict)
    redeliver: bool = False
    isolate_errors: bool = False
    others_expected: bool = False

    @property
    def size(self) -> int:
        """The bytes of the resources."""
        return sum(len(event.data) for event in self.events)


class Group:
    """The parts of several invocations, delivered together.

    An event in two parts is sent once, and counts as delivered for the first part. If the event is rejected or
    undelivered, the result of both parts contains it, because their envelopes differ: a read-back page only names the
    resource, which may change before the page is read again; a pushed item contains this version, encrypted. The ledger
    removes the duplicates.
    """

    def __init__(self, first: Part) -> None:
        self.redeliver, self.isolate_errors = first.redeliver, first.isolate_errors
        self.others_are_expected = first.others_expected
        self.events: dict[str, Event] = {}
        self.tried: dict[str, datetime] = {}
        self.details: dict[str, bytes] = {}
        self.size = 0
        self.is_full = False
        self.done = threading.Event()
        self.delivery: Delivery | None = None

    def takes(self, part: Part, limits: Limits) -> bool:
        """Return whether the group has room for a part."""
        fits = len(self.events) + len(part.events) <= limits.most_events and self.size + part.size <= limits.most_bytes
        return fits and not self.is_full

    def add(self, part: Part, limits: Limits) -> frozenset[str]:
        """Add a part. Return the ids of its events that no earlier part contains."""
        own = {event.id: event for event in part.events if event.id not in self.events}
        self.events |= own
        self.tried = {**part.tried, **self.tried}
        self.details = {**part.details, **self.details}
        self.size += part.size
        self.is_full = len(self.events) >= limits.most_events or self.size >= limits.most_bytes
        return frozenset(own)

    def result(self, part: Part, own: Container[str]) -> Delivery:
        """Return the delivery of a part's events. own: the ids of its events that no earlier part contains."""
        if self.delivery is None:  # the invocation that delivered the group was interrupted
            return Delivery(undelivered=tuple(part.events), failure=NotAttempted(Reason.DESTINATION_BUSY))
        result = self.delivery.part({event.id for event in part.events})
        delivered = tuple(event for event in result.delivered if event.id in own)
        return msgspec.structs.replace(result, delivered=delivered)


class Dispatcher:
    """Dispatches deliveries to one destination; one object serves all threads."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None] = time.sleep,
        batching_delay: timedelta = BATCHING_DELAY,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._monotonic = monotonic
        self._batching_delay = batching_delay.total_seconds()
        self._lock = threading.Lock()
        self._slot_freed = threading.Condition(self._lock)
        self._group_changed = threading.Condition(self._lock)
        self._waiting_pays = True  # whether the destination is fast enough that waiting for a slot pays
        self._active = self._in_flight = 0
        self._waiting: dict[tuple[bool, bool], Group] = {}  # by redeliver and isolate_errors
        self._next: datetime | None = None  # when the rate limit allows the next event
        self._next_retry: datetime | None = None  # retry time of the last postponed delivery
        self._seconds = 0.0  # duration of a delivery, moving average

    def check(self) -> None:
        """Raise NotAttempted if no slot is free."""
        with self._lock:
            if not self._waiting_pays and self._active >= self._limits.capacity:
                raise self._no_slot()

    def deliver(self, part: Part, perform: Callable[[Group], Delivery]) -> Delivery:
        """Deliver a part by `perform`, together with the parts that wait. Return the delivery of its events; an event
        that was delivered for another part of the group is left out, like one that was delivered earlier.

        Raises what `perform` raises, in the thread that called it; a NotAttempted becomes the result of all parts.
        """
        if not part.events:
            return Delivery()
        try:
            with self._slot():
                return self._join_group(part, perform)
        except NotAttempted as failure:
            return Delivery(undelivered=tuple(part.events), failure=failure)

    @contextmanager
    def measured(self) -> Iterator["Pace"]:
        """Measure the duration of a delivery. Yields the pace that keeps the delivery within the rate limit."""
        pace, began = Pace(self, self._clock(), self._limits.rate), self._monotonic()
        yield pace
        with self._lock:
            self._seconds += _SMOOTHING * (self._monotonic() - began - pace.paused - self._seconds)

    def wait_for_rate(self, takes: float, began: datetime) -> float:
        """Wait for the rate limit, of which a request takes up `takes` seconds. Return the seconds waited.

        Raises NotAttempted if the request would start too long after the delivery began.
        """
        with self._lock:
            now = self._clock()
            start = max(now, self._next or now)
            if start - began > _LONGEST_PACE:
                raise self._busy(takes)
            self._next = start + timedelta(seconds=takes)
        waits = self._monotonic()
        if start > now:
            self._sleep((start - now).total_seconds())
        return self._monotonic() - waits

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Occupy a slot. Raises NotAttempted, with a time for the retry, if no slot is free."""
        with self._lock:
            self._acquire_slot()
            self._active += 1
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1
                self._waiting_pays = self._seconds <= _PATIENCE
                self._slot_freed.notify()

    def _acquire_slot(self) -> None:
        """Return once a slot is free. Waits only for a fast destination: a slow one would delay the others."""
        if self._active >= self._limits.capacity and self._waiting_pays:
            self._waiting_pays = self._slot_freed.wait_for(lambda: self._active < self._limits.capacity, _PATIENCE)
        if self._active >= self._limits.capacity:
            raise self._no_slot()

    def _no_slot(self) -> NotAttempted:
        return self._busy(self._seconds / self._limits.requests)

    def _join_group(self, part: Part, perform: Callable[[Group], Delivery]) -> Delivery:
        kind = part.redeliver, part.isolate_errors
        with self._group_changed:
            group = self._waiting.get(kind)
            leads = group is None or not group.takes(part, self._limits)
            if group is None or leads:
                if group is not None:
                    group.is_full = True
                group = self._waiting[kind] = Group(part)
            own = group.add(part, self._limits)
            self._group_changed.notify_all()
        if leads:
            self._deliver_group(group, perform)
        else:
            group.done.wait()
        return group.result(part, own)

    def _deliver_group(self, group: Group, perform: Callable[[Group], Delivery]) -> None:
        try:
            with self._request_slot(group):
                group.delivery = perform(group)
        except NotAttempted as failure:
            group.delivery = Delivery(undelivered=tuple(group.events.values()), failure=failure)
        finally:
            group.done.set()

    @contextmanager
    def _request_slot(self, group: Group) -> Iterator[None]:
        """Wait until a group may start; then no part joins it any more."""
        latest_start = self._monotonic() + self._batching_delay
        with self._group_changed:
            # Read the clock once for both the condition and the timeout: a group that waits although nothing is in
            # flight must wake up by timeout.
            while not self._may_start(group, left := latest_start - self._monotonic()):
                self._group_changed.wait(left if left > 0 else None)
            self._in_flight += 1
            kind = group.redeliver, group.isolate_errors
            if self._waiting.get(kind) is group:
                del self._waiting[kind]
        try:
            yield
        finally:
            with self._group_changed:
                self._in_flight -= 1
                self._group_changed.notify_all()

    def _may_start(self, group: Group, patience: float) -> bool:
        """Return whether a group may start. patience: seconds that it may still wait for further parts."""
        if group.is_full or patience <= 0:
            return self._in_flight < self._limits.requests
        return not self._in_flight and not group.others_are_expected

    def _busy(self, seconds: float) -> NotAttempted:
        """Return a failure with a time for the retry; each postponed delivery gets a time of its own."""
        now = self._clock()
        earliest = max(self._next_retry or now, self._next or now, now)
        self._next_retry = min(earliest + timedelta(seconds=seconds), now + _LONGEST_RETRY)
        wait = max(self._next_retry - now, _SHORTEST_RETRY)
        return NotAttempted(
            Reason.DESTINATION_BUSY, "the destination's limit on requests or rate is reached", retry_after=wait
        )


@dataclass
class Pace:
    """The pace of one delivery; see destination.Pacing. paused: seconds spent waiting."""

    dispatcher: Dispatcher
    began: datetime
    rate: float | None
    paused: float = 0.0

    @property
    def most_events(self) -> int | None:
        """The most events in one request: as many as the rate limit allows in a second. None: any number."""
        return None if self.rate is None else max(int(self.rate), 1)

    def wait(self, events: int) -> None:
        """Wait until the rate limit allows a request with this number of events.

        Raises NotAttempted if the request would start too long after the delivery began.
        """
        if self.rate is not None:
            self.paused += self.dispatcher.wait_for_rate(events / self.rate, self.began)
