"""The last step of every event, pushed or read back: look up, deliver, record, count."""

from collections.abc import Iterable, Mapping, Sequence

from shared import telemetry
from shared.delivery.destination import Delivery, Destination
from shared.delivery.event import Event
from shared.delivery.ledger import Ledger

_MOST_IDS = 100
"""Ids of events in the attributes of one span."""


class Outbox:
    """Delivers the events that are not in the ledger; one object serves all threads."""

    def __init__(self, destination: Destination, ledger: Ledger) -> None:
        self._destination = destination
        self._ledger = ledger

    def deliver(
        self,
        events: Sequence[Event],
        *,
        redeliver: bool = False,
        isolate_errors: bool = False,
        details: Mapping[str, bytes] | None = None,
    ) -> Delivery:
        """Deliver events and record those that the destination accepted. Never raises.

        Events in the ledger are skipped and not part of the result. redeliver: deliver them too.
        isolate_errors: see Destination.deliver. details: JSON that the ledger keeps, by event id; with them, the trace
        names the events too.
        """
        pending = list(events) if redeliver else self._ledger.undelivered(events)
        with telemetry.span("deliver") as span:
            if details is not None:
                span.set_attribute("graph_relay.event_ids", [event.id for event in pending[:_MOST_IDS]])
            delivery = self._destination.deliver(pending, isolate_errors=isolate_errors)
        self._ledger.record(delivery.delivered, details)
        telemetry.DELIVERED.add(len(delivery.delivered))
        return delivery

    def record_rejected(self, rejected: Iterable[Event]) -> None:
        """Record events that the destination rejected: otherwise each read-back would deliver them again.

        Call it after they are dead-lettered, or a crash between the two steps would lose them.
        """
        self._ledger.record(rejected)
