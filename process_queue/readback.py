"""A page read back from Graph: what of it was never delivered is delivered now, then the next page is asked for."""

import logging

from process_queue.changes import Delivering
from process_queue.settle import Settlement
from shared import telemetry
from shared.backfill import Reading, read
from shared.envelope import Readback, write
from shared.errors import Reason, Unreadable
from shared.event import Event, event_of_message
from shared.graph import Graph
from shared.storage import Storage

_log = logging.getLogger("graph_relay.readback")


def relay_readback(
    readback: Readback, graph: Graph, delivering: Delivering, settlement: Settlement, storage: Storage
) -> None:
    """Read one page, deliver what is missing, and queue what follows.

    Raises NotNow if Graph, the destination or storage is away: the page is then read again.
    """
    reading = read(readback, graph)
    missing = delivering.ledger.missing(_events(reading, readback))
    delivery = delivering.destination.deliver(missing)
    delivering.ledger.record(delivery.delivered)
    telemetry.DELIVERED.add(len(delivery.delivered))
    telemetry.RECOVERED.add(len(delivery.delivered))
    if delivery.why is not None:
        raise delivery.why  # plaintext can't be queued: the page is read again, and what was delivered is known
    for rejected in delivery.rejected:
        settlement.give_up(_alone(rejected.event, readback), Reason.DESTINATION_REJECTED)
    for further in reading.further:
        storage.put(write(further))


def _events(reading: Reading, readback: Readback) -> list[Event]:
    """One event a version: a chat is read once for each of its participants."""
    events: dict[str, Event] = {}
    for message in reading.messages:
        try:
            event = event_of_message(bytes(message), readback.tenant_id, readback.received)
        except Unreadable as unreadable:
            _log.warning("Read back from %s: %s", readback.resource, unreadable)
            continue
        events[event.id] = event
    return list(events.values())


def _alone(event: Event, readback: Readback) -> Readback:
    """What reads that one message again."""
    return Readback(readback.received, readback.tenant_id, event.subject, readback.since, readback.until)
