"""The last step of every event, pushed or read back: look up, deliver, record, count; per destination."""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Protocol

from shared import telemetry
from shared.configuration.destinations import EventFilter
from shared.delivery.destination import Delivery, Pacing
from shared.delivery.dispatcher import Dispatcher, Group, Limits, Part
from shared.delivery.event import Event
from shared.delivery.ledger import Ledger
from shared.errors import NotAttempted, Reason
from shared.threads import ContextThreadPool

_MOST_IDS = 100
"""Ids of events in the attributes of one span."""

_THREADS = 64
_CORRECTED_WITHIN = timedelta(minutes=5)

Delivered = tuple[Sequence[Event], Delivery]
"""The events that a destination receives, and their delivery. Events that the delivery omits were delivered before."""

Details = Callable[[str], Mapping[str, bytes]]
"""Returns JSON that the ledger of a destination keeps, by event id."""


class Deliverer(Protocol):
    """A destination, or a substitute for one that is misconfigured."""

    def deliver(
        self,
        events: Sequence[Event],
        *,
        isolate_errors: bool = False,
        tried: Mapping[str, datetime] | None = None,
        pace: Pacing | None = None,
    ) -> Delivery:
        """Deliver events; see Destination.deliver."""

    def check(self) -> None:
        """Raise NotAttempted if a delivery would not be attempted now."""


class MisconfiguredDestination:
    """Keeps the events of a destination whose entry is invalid, until it is corrected."""

    def __init__(self, complaint: str) -> None:
        self._complaint = complaint

    def deliver(
        self,
        events: Sequence[Event],
        *,
        isolate_errors: bool = False,
        tried: Mapping[str, datetime] | None = None,
        pace: Pacing | None = None,
    ) -> Delivery:
        """Deliver nothing."""
        return Delivery(undelivered=tuple(events), failure=self._failure()) if events else Delivery()

    def check(self) -> None:
        """Raise NotAttempted."""
        raise self._failure()

    def _failure(self) -> NotAttempted:
        detail = f"the entry of the destination is invalid: {self._complaint}"
        return NotAttempted(Reason.DESTINATION, detail, retry_after=_CORRECTED_WITHIN)


class Outbox:
    """Delivers to one destination what is not in its ledger; one object serves all threads."""

    def __init__(
        self,
        destination: Deliverer,
        ledger: Ledger,
        selection: EventFilter | None = None,
        dispatcher: Dispatcher | None = None,
    ) -> None:
        """selection: the events that the destination receives; None: all. dispatcher: of requests to the
        destination.
        """
        self._destination = destination
        self._selection = selection
        self._dispatcher = dispatcher or Dispatcher(Limits(), lambda: datetime.now(UTC))
        self.ledger = ledger

    def check(self) -> None:
        """Raise NotAttempted if a delivery would not be attempted now."""
        self._destination.check()
        self._dispatcher.check()

    def selected(self, events: Iterable[Event]) -> list[Event]:
        """Return those of `events` that the destination receives."""
        if self._selection is None:
            return list(events)
        return [event for event in events if self._selection.selects(event.subject, event.type, event.tenant)]

    def deliver(
        self,
        events: Sequence[Event],
        *,
        redeliver: bool = False,
        isolate_errors: bool = False,
        tried: Mapping[str, datetime] | None = None,
        details: Mapping[str, bytes] | None = None,
        others_expected: bool = False,
    ) -> Delivery:
        """Deliver events, and record those that the destination accepted. Concurrent deliveries share requests.
        Never raises.

        Events in the ledger, and those that are being delivered, are skipped and not part of the result. redeliver:
        also deliver events that are in the ledger. isolate_errors, tried: see Destination.deliver. details: JSON that
        the ledger keeps, by event id; with them, the trace names the events too. others_expected: whether other
        invocations are about to deliver.
        """
        part = Part(
            events,
            tried or {},
            details or {},
            redeliver=redeliver,
            isolate_errors=isolate_errors,
            others_expected=others_expected,
        )
        with telemetry.span("deliver") as span:
            delivery = self._dispatcher.deliver(part, self._deliver)
            if details is not None:
                span.set_attribute("graph_relay.event_ids", _ids(delivery)[:_MOST_IDS])
        telemetry.DELIVERED.add(len(delivery.delivered), {"destination": self.ledger.destination})
        return delivery

    def _deliver(self, group: Group) -> Delivery:
        events = list(group.events.values())
        pending = events if group.redeliver else self.ledger.undelivered(events)
        if not pending:
            return Delivery()
        with self._dispatcher.measured() as pace:
            delivery = self._destination.deliver(
                pending, isolate_errors=group.isolate_errors, tried=group.tried, pace=pace
            )
        self.ledger.record(delivery.delivered, group.details)
        return delivery

    def record_rejected(self, rejected: Iterable[Event]) -> None:
        """Record events that the destination rejected: otherwise each read-back would deliver them again.

        Call it after they are dead-lettered, or a crash between the two steps would lose them.
        """
        self.ledger.record(rejected)


def _ids(delivery: Delivery) -> list[str]:
    """Return the ids of the events that were to be delivered."""
    rejected = (rejection.event for rejection in delivery.rejected)
    return [event.id for event in (*delivery.delivered, *rejected, *delivery.undelivered)]


class Outboxes:
    """The outboxes of all destinations, by name. A slow or dead destination delays none of the others."""

    def __init__(self, outboxes: Iterable[Outbox]) -> None:
        self._outboxes = {outbox.ledger.destination: outbox for outbox in outboxes}
        self._counting = threading.Lock()
        self._preparing = 0

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Announce that the caller is about to deliver: concurrent deliveries wait briefly, to share its request."""
        with self._counting:
            self._preparing += 1
        try:
            yield
        finally:
            with self._counting:
                self._preparing -= 1

    def by_name(self) -> Mapping[str, Outbox]:
        """Return the outboxes by the names of their destinations. Raises NotAttempted while these can't be read."""
        return self._outboxes

    def knows(self, destination: str, since: datetime | None = None) -> bool:
        """Return whether the destination exists. since: when another instance knew it; None: a moment ago."""
        return destination in self.by_name()

    def __getitem__(self, destination: str) -> Outbox:
        return self.by_name()[destination]

    def deliver(
        self,
        events: Sequence[Event],
        *,
        only: str = "",
        without: Collection[str] = (),
        redeliver: bool = False,
        isolate_errors: bool = False,
        tried: Mapping[str, datetime] | None = None,
        details: Details | None = None,
    ) -> dict[str, Delivered]:
        """Deliver events to every destination that receives some of them, at the same time.

        Return the events that each destination receives, and their delivery, by the destination's name. only: the one
        destination to deliver to, even if it was removed a moment ago. without: destinations to leave out. For the
        other arguments, see Outbox.deliver. Raises NotAttempted, see `by_name`.
        """
        outboxes = {only: self[only]} if only else self.by_name()
        targets = [
            (name, selected)
            for name, outbox in outboxes.items()
            if name not in without and (selected := outbox.selected(events))
        ]

        def deliver_to(target: tuple[str, list[Event]]) -> Delivery:
            name, selected = target
            return outboxes[name].deliver(
                selected,
                redeliver=redeliver,
                isolate_errors=isolate_errors,
                tried=tried,
                details=details(name) if details is not None else None,
                others_expected=self._preparing > 0,
            )

        if len(targets) < 2:  # handing it to a thread costs time
            deliveries = [deliver_to(target) for target in targets]
        else:
            deliveries = list(self._pool.map(deliver_to, targets))
        return {name: (selected, delivery) for (name, selected), delivery in zip(targets, deliveries, strict=True)}

    @cached_property
    def _pool(self) -> ContextThreadPool:
        return ContextThreadPool(_THREADS, thread_name_prefix="destinations")
