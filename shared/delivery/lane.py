"""The way to one destination: how many requests at once, how many invocations, how many events a second.

Deliveries that wait for their turn share the next request. What finds no room comes back when there should be some.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from shared.delivery.destination import Delivery, Destination
from shared.delivery.event import Event
from shared.errors import NotAttempted, Reason

_LONGEST_PACE = timedelta(seconds=5)
"""How long a delivery waits for the rate limit; an invocation that would wait longer comes back."""

_PATIENCE = 0.25
"""Seconds that a delivery waits for a place of a destination that has been quicker than this lately."""

_SHORTEST_RETURN = timedelta(seconds=2)
_LONGEST_RETURN = timedelta(minutes=10)
_SMOOTHING = 0.2


@dataclass(frozen=True)
class Limits:
    """capacity: invocations that may be in delivery at once; the others come back. requests: at once. rate: events a
    second, None for no limit. most_events: what one group of deliveries holds.
    """

    capacity: int = 1_000
    requests: int = 8
    rate: float | None = None
    most_events: int = 100

    def shared_by(self, destinations: int, invocations: int) -> "Limits":
        """Return the limits of one of several destinations that share the invocations.

        Half of its places send, so that what waits in the others shares the next requests.
        """
        if destinations < 2:
            return replace(self, capacity=invocations * 2)
        capacity = max(invocations // destinations, 2)
        return replace(self, capacity=capacity, requests=min(self.requests, max(capacity // 2, 1)))


@dataclass
class _Group:
    """Deliveries that share requests."""

    isolate_errors: bool
    events: dict[str, Event] = field(default_factory=dict)
    tried: dict[str, datetime] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)
    delivery: Delivery | None = None

    def part(self, events: Sequence[Event]) -> Delivery:
        """Return what became of some of the events."""
        if self.delivery is None:  # whoever delivered for all of them was interrupted
            return Delivery(undelivered=tuple(events), failure=NotAttempted(Reason.DESTINATION_BUSY))
        return self.delivery.part({event.id for event in events})


class Lane:
    """Leads deliveries to one destination; one object serves all threads."""

    def __init__(
        self,
        destination: Destination,
        limits: Limits,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._destination = destination
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)
        self._inside = 0
        self._moves = True  # whether it is worth while to wait for a place
        self._slots = threading.BoundedSemaphore(limits.requests)
        self._waiting: dict[bool, _Group] = {}  # by isolate_errors
        self._next: datetime | None = None  # when the rate limit allows the next event
        self._promised: datetime | None = None  # when there should be room for the next that finds none
        self._seconds = 0.0  # that a delivery takes, on average

    def check(self) -> None:
        """Raise NotAttempted if there is no place, or if the destination is known to be unavailable."""
        self._destination.check()
        with self._lock:
            if not self._moves and self._inside >= self._limits.capacity:
                raise self._no_place()

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

    def deliver(
        self, events: Sequence[Event], *, isolate_errors: bool = False, tried: Mapping[str, datetime] | None = None
    ) -> Delivery:
        """Deliver events as Destination.deliver does, together with what else waits. Never raises."""
        if not events:
            return Delivery()
        try:
            with self._place():
                return self._in_turn(events, tried or {}, isolate_errors=isolate_errors)
        except NotAttempted as failure:
            return Delivery(undelivered=tuple(events), failure=failure)

    def _in_turn(self, events: Sequence[Event], tried: Mapping[str, datetime], *, isolate_errors: bool) -> Delivery:
        """Deliver at once if a request is free. Otherwise wait for one, together with others."""
        with self._lock:
            at_once = not self._waiting and self._slots.acquire(blocking=False)
            group, leads = (None, False) if at_once else self._join(events, tried, isolate_errors)
        if group is None:
            try:
                return self._send(events, isolate_errors=isolate_errors, tried=tried)
            finally:
                self._slots.release()
        if leads:
            self._lead(group)
        else:
            group.done.wait()
        return group.part(events)

    def _join(
        self, events: Sequence[Event], tried: Mapping[str, datetime], isolate_errors: bool
    ) -> tuple[_Group, bool]:
        """Join the group that waits, or begin one. Return it, and whether the caller delivers for it."""
        group = self._waiting.get(isolate_errors)
        leads = group is None or len(group.events) + len(events) > self._limits.most_events
        if group is None or leads:
            group = self._waiting[isolate_errors] = _Group(isolate_errors)
        group.events |= {event.id: event for event in events}
        group.tried |= tried
        return group, leads

    def _lead(self, group: _Group) -> None:
        try:
            with self._slots:
                with self._lock:
                    if self._waiting.get(group.isolate_errors) is group:
                        del self._waiting[group.isolate_errors]
                events = list(group.events.values())
                group.delivery = self._send(events, isolate_errors=group.isolate_errors, tried=group.tried)
        except NotAttempted as failure:
            group.delivery = Delivery(undelivered=tuple(group.events.values()), failure=failure)
        finally:
            group.done.set()

    def _send(self, events: Sequence[Event], *, isolate_errors: bool, tried: Mapping[str, datetime]) -> Delivery:
        self._keep_pace(len(events))
        began = time.monotonic()
        delivery = self._destination.deliver(events, isolate_errors=isolate_errors, tried=tried)
        with self._lock:
            self._seconds += _SMOOTHING * (time.monotonic() - began - self._seconds)
        return delivery

    def _keep_pace(self, events: int) -> None:
        """Wait until the rate limit allows so many events. Raises NotAttempted if that takes too long."""
        if self._limits.rate is None:
            return
        with self._lock:
            now = self._clock()
            start = max(now, self._next or now)
            takes = events / self._limits.rate
            if start - now > _LONGEST_PACE:
                raise self._come_back(takes)
            self._next = start + timedelta(seconds=takes)
        if start > now:
            self._sleep((start - now).total_seconds())

    def _come_back(self, seconds: float) -> NotAttempted:
        """Return when there should be room: each that is sent back is promised a time of its own."""
        now = self._clock()
        earliest = max(self._promised or now, self._next or now, now)
        self._promised = min(earliest + timedelta(seconds=seconds), now + _LONGEST_RETURN)
        wait = max(self._promised - now, _SHORTEST_RETURN)
        return NotAttempted(Reason.DESTINATION_BUSY, "the destination takes no more at present", retry_after=wait)
