"""The way to one destination: how many requests at once, how many invocations, how many events a second.

Invocations that deliver at the same time share what each delivery costs: the look-up in the ledger, the request, and
the entry in the ledger. One that delivers alone waits for nobody. What finds no room comes back when there should be
some.
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
"""How long a delivery waits for the rate limit; an invocation that would wait longer comes back."""

BATCHING_DELAY = timedelta(milliseconds=50)
"""How long a group waits for further events while others are delivered or about to be. A destination that takes seconds
gets as many requests at once as the limits allow."""

_PATIENCE = 0.25
"""Seconds that a delivery waits for a place of a destination that has been quicker than this lately."""

_SHORTEST_RETURN = timedelta(seconds=2)
_LONGEST_RETURN = timedelta(minutes=10)
_SMOOTHING = 0.2


@dataclass(frozen=True)
class Limits:
    """capacity: invocations that may be in delivery at once; the others come back. requests: at once. rate: events a
    second, None for no limit. most_events, most_bytes: what one group of deliveries holds.
    """

    capacity: int = 1_000
    requests: int = 8
    rate: float | None = None
    most_events: int = 100
    most_bytes: int = 1_000_000

    def shared_by(self, destinations: int, invocations: int) -> "Limits":
        """Return the limits of one of several destinations that share the invocations.

        Half of its places send, so that what waits in the others shares the next requests.
        """
        if destinations < 2:
            return replace(self, capacity=invocations * 2)
        capacity = max(invocations // destinations, 2)
        return replace(self, capacity=capacity, requests=min(self.requests, max(capacity // 2, 1)))


@dataclass(frozen=True)
class Part:
    """What one invocation delivers. tried: see Destination.deliver. details: JSON that the ledger keeps, by event id.

    redeliver: also what the ledger knows. isolate_errors: see Destination.deliver. Both are the same for a whole group.
    accompanied: whether other invocations are about to deliver.
    """

    events: Sequence[Event]
    tried: Mapping[str, datetime] = field(default_factory=dict)
    details: Mapping[str, bytes] = field(default_factory=dict)
    redeliver: bool = False
    isolate_errors: bool = False
    accompanied: bool = False

    @property
    def size(self) -> int:
        """The bytes of the resources."""
        return sum(len(event.data) for event in self.events)


class Group:
    """The parts of several invocations, delivered as one.

    An event of two parts is sent once, and counts as delivered for the first. If it is rejected or kept, both parts
    have to settle it: they hold different things of it. A page only names the resource, which may have changed or be
    gone when the page is read again; a push holds this version, sealed. The ledger removes what comes twice.
    """

    def __init__(self, first: Part) -> None:
        self.redeliver, self.isolate_errors = first.redeliver, first.isolate_errors
        self.is_accompanied = first.accompanied
        self.events: dict[str, Event] = {}
        self.tried: dict[str, datetime] = {}
        self.details: dict[str, bytes] = {}
        self.size = 0
        self.is_full = False
        self.done = threading.Event()
        self.delivery: Delivery | None = None

    def takes(self, part: Part, limits: Limits) -> bool:
        """Return whether a part fits in besides the others."""
        fits = len(self.events) + len(part.events) <= limits.most_events and self.size + part.size <= limits.most_bytes
        return fits and not self.is_full

    def add(self, part: Part, limits: Limits) -> frozenset[str]:
        """Add a part. Return the ids of those of its events that no part before it has."""
        own = {event.id: event for event in part.events if event.id not in self.events}
        self.events |= own
        self.tried = {**part.tried, **self.tried}
        self.details = {**part.details, **self.details}
        self.size += part.size
        self.is_full = len(self.events) >= limits.most_events or self.size >= limits.most_bytes
        return frozenset(own)

    def result(self, part: Part, own: Container[str]) -> Delivery:
        """Return what became of a part's events. own: the ids of those that no part before it has."""
        if self.delivery is None:  # whoever delivered for all of them was interrupted
            return Delivery(undelivered=tuple(part.events), failure=NotAttempted(Reason.DESTINATION_BUSY))
        result = self.delivery.part({event.id for event in part.events})
        delivered = tuple(event for event in result.delivered if event.id in own)
        return msgspec.structs.replace(result, delivered=delivered)


class Lane:
    """Leads deliveries to one destination; one object serves all threads."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None] = time.sleep,
        company: timedelta = BATCHING_DELAY,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._monotonic = monotonic
        self._company = company.total_seconds()
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)
        self._changed = threading.Condition(self._lock)
        self._moves = True  # whether it is worth while to wait for a place
        self._inside = self._under_way = 0
        self._waiting: dict[tuple[bool, bool], Group] = {}  # by redeliver and isolate_errors
        self._next: datetime | None = None  # when the rate limit allows the next event
        self._promised: datetime | None = None  # when there should be room for the next that finds none
        self._seconds = 0.0  # that the destination takes for a delivery, on average

    def check(self) -> None:
        """Raise NotAttempted if there is no place."""
        with self._lock:
            if not self._moves and self._inside >= self._limits.capacity:
                raise self._no_place()

    def deliver(self, part: Part, perform: Callable[[Group], Delivery]) -> Delivery:
        """Deliver a part by `perform`, together with those that wait. Return what became of its events; one that was
        delivered for another part of its group is in neither list, as if it had been delivered before.

        Raises what `perform` raises, for whoever called it; a NotAttempted is the result for all.
        """
        if not part.events:
            return Delivery()
        try:
            with self._place():
                return self._together(part, perform)
        except NotAttempted as failure:
            return Delivery(undelivered=tuple(part.events), failure=failure)

    @contextmanager
    def asking(self) -> Iterator["Pace"]:
        """Measure how long the destination takes for a delivery. Yields what keeps that within the rate limit."""
        pace, began = Pace(self, self._clock(), self._limits.rate), self._monotonic()
        yield pace
        with self._lock:
            self._seconds += _SMOOTHING * (self._monotonic() - began - pace.paused - self._seconds)

    def keep_pace(self, takes: float, began: datetime) -> float:
        """Wait until the rate limit allows what takes so many seconds of it. Return for how many seconds it waited.

        Raises NotAttempted if that is too long after a delivery began.
        """
        with self._lock:
            now = self._clock()
            start = max(now, self._next or now)
            if start - began > _LONGEST_PACE:
                raise self._come_back(takes)
            self._next = start + timedelta(seconds=takes)
        waits = self._monotonic()
        if start > now:
            self._sleep((start - now).total_seconds())
        return self._monotonic() - waits

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Take one of the places of the lane. Raises NotAttempted, with the time to come back, if there is none."""
        with self._lock:
            self._find_place()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                self._moves = self._seconds <= _PATIENCE
                self._left.notify()

    def _find_place(self) -> None:
        """Return once there is a place. Only a quick destination is waited for: a slow one would delay the others."""
        if self._inside >= self._limits.capacity and self._moves:
            self._moves = self._left.wait_for(lambda: self._inside < self._limits.capacity, _PATIENCE)
        if self._inside >= self._limits.capacity:
            raise self._no_place()

    def _no_place(self) -> NotAttempted:
        return self._come_back(self._seconds / self._limits.requests)

    def _together(self, part: Part, perform: Callable[[Group], Delivery]) -> Delivery:
        kind = part.redeliver, part.isolate_errors
        with self._changed:
            group = self._waiting.get(kind)
            leads = group is None or not group.takes(part, self._limits)
            if group is None or leads:
                if group is not None:
                    group.is_full = True
                group = self._waiting[kind] = Group(part)
            own = group.add(part, self._limits)
            self._changed.notify_all()
        if leads:
            self._lead(group, perform)
        else:
            group.done.wait()
        return group.result(part, own)

    def _lead(self, group: Group, perform: Callable[[Group], Delivery]) -> None:
        try:
            with self._turn(group):
                group.delivery = perform(group)
        except NotAttempted as failure:
            group.delivery = Delivery(undelivered=tuple(group.events.values()), failure=failure)
        finally:
            group.done.set()

    @contextmanager
    def _turn(self, group: Group) -> Iterator[None]:
        """Wait until a group may go; from then on nothing joins it."""
        patient_until = self._monotonic() + self._company
        with self._changed:
            # One look at the clock for both questions: whoever is told to wait for others, though none is under way,
            # has to wake up by itself.
            while not self._may_go(group, left := patient_until - self._monotonic()):
                self._changed.wait(left if left > 0 else None)
            self._under_way += 1
            kind = group.redeliver, group.isolate_errors
            if self._waiting.get(kind) is group:
                del self._waiting[kind]
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _may_go(self, group: Group, patience: float) -> bool:
        """Tell whether a group may go, given for how many seconds it may still wait for company."""
        if group.is_full or patience <= 0:
            return self._under_way < self._limits.requests
        return not self._under_way and not group.is_accompanied

    def _come_back(self, seconds: float) -> NotAttempted:
        """Return when there should be room: each that is sent back is promised a time of its own."""
        now = self._clock()
        earliest = max(self._promised or now, self._next or now, now)
        self._promised = min(earliest + timedelta(seconds=seconds), now + _LONGEST_RETURN)
        wait = max(self._promised - now, _SHORTEST_RETURN)
        return NotAttempted(
            Reason.DESTINATION_BUSY, "the destination's limit on requests or rate is reached", retry_after=wait
        )


@dataclass
class Pace:
    """The pace of one delivery; see destination.Pacing. paused: seconds that it was kept waiting."""

    lane: Lane
    began: datetime
    rate: float | None
    paused: float = 0.0

    @property
    def most_events(self) -> int | None:
        """How many events one request may hold: what the rate limit allows in a second. None: any number."""
        return None if self.rate is None else max(int(self.rate), 1)

    def wait(self, events: int) -> None:
        """Wait until the rate limit allows a request with so many events.

        Raises NotAttempted if that is too long after the delivery began.
        """
        if self.rate is not None:
            self.paused += self.lane.keep_pace(events / self.rate, self.began)
