"""The last step of every event, pushed or read back: look up, deliver, record, count."""

from collections.abc import Iterable, Sequence

from shared import telemetry
from shared.delivery.destination import Delivery, Destination
from shared.delivery.event import Event
from shared.delivery.ledger import Ledger


class Outbox:
    """Delivers what was not delivered before; one object serves all threads."""

    def __init__(self, destination: Destination, ledger: Ledger) -> None:
        self._destination = destination
        self._ledger = ledger

    def deliver(self, events: Sequence[Event], *, redeliver: bool = False, isolate_errors: bool = False) -> Delivery:
        """Deliver events and record those that the destination accepted. Never raises.

        What the ledger knows is left out, and in none of the answer's parts. redeliver: deliver it nevertheless.
        isolate_errors: see Destination.deliver.
        """
        pending = list(events) if redeliver else self._ledger.undelivered(events)
        with telemetry.span("deliver"):
            delivery = self._destination.deliver(pending, isolate_errors=isolate_errors)
        self._ledger.record(delivery.delivered)
        telemetry.DELIVERED.add(len(delivery.delivered))
        return delivery

    def settle(self, rejected: Iterable[Event]) -> None:
        """Record events that the destination rejects: otherwise each read-back would deliver them again.

        Call it once they are dead-lettered, or a crash between the two would lose them.
        """
        self._ledger.record(rejected)
