"""A page read back from Graph: what of it was never delivered is delivered now, then the next page is asked for."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from process_queue.changes import Delivering
from process_queue.settle import Settlement
from shared import delta, telemetry
from shared.backfill import Reading, read
from shared.envelope import Readback, write
from shared.errors import NotNow, Reason, Unreadable
from shared.event import Event, event_of_entry, event_of_message
from shared.graph import Graph
from shared.resource_path import encoded, segments
from shared.storage import Storage
from shared.tables import Tables

_log = logging.getLogger("graph_relay.readback")


@dataclass(frozen=True)
class Reader:
    """What reading back needs besides delivering."""

    graph: Graph
    tables: Tables
    storage: Storage


def relay_readback(readback: Readback, reader: Reader, delivering: Delivering, settlement: Settlement) -> None:
    """Read one page, deliver what is missing, and queue what follows.

    Raises NotNow if Graph, the destination or storage is away: the page is then read again.
    """
    tenant_id, resource = readback.tenant_id, readback.resource
    began = delivering.clock()
    try:
        reading = read(readback, reader.graph, lambda: delta.load(reader.tables, tenant_id, resource))
    except NotNow as not_now:
        if not_now.reason is not Reason.GRAPH_REFUSED or not readback.link:
            raise
        # Links live for about an hour. Begin anew: the ledger knows what of the range has been delivered.
        settlement.postpone(msgspec.structs.replace(readback, link=""), not_now)
        return
    except Unreadable as unreadable:
        settlement.give_up(readback, unreadable.reason)
        return
    missing = delivering.missing(_events(reading, readback, delivering.clock), readback)
    with telemetry.span("deliver"):
        delivery = delivering.destination.deliver(missing)
    delivering.ledger.record(delivery.delivered)
    telemetry.DELIVERED.add(len(delivery.delivered))
    # What does not say when it changed may have been pushed before: nobody can tell.
    telemetry.RECOVERED.add(sum(event.time < began for event in delivery.delivered))
    if delivery.why is not None:
        raise delivery.why  # plaintext can't be queued: the page is read again, and what was delivered is known
    for rejected in delivery.rejected:
        settlement.give_up(_alone(rejected.event, readback), Reason.DESTINATION_REJECTED)
    delivering.ledger.record(rejected.event for rejected in delivery.rejected)
    for further in reading.further:
        reader.storage.put(write(further))
    if reading.link:
        delta.save(reader.tables, tenant_id, resource, reading.link)


def _events(reading: Reading, readback: Readback, clock: Callable[[], datetime]) -> list[Event]:
    """One event a version: a chat is read once for each of its participants."""
    events: dict[str, Event] = {}
    for content in reading.resources:
        try:
            event = _event(bytes(content), readback, clock())
        except Unreadable as unreadable:
            _log.warning("Read back from %s: %s", readback.resource, unreadable)
            continue
        events[event.id] = event
    return list(events.values())


def _event(content: bytes, readback: Readback, now: datetime) -> Event:
    entry = delta.entry(readback.resource)
    collection = entry.collection if entry else readback.resource
    kind = delta.kind_of(collection)
    if kind is None:
        return event_of_message(content, readback.tenant_id, now)
    return event_of_entry(content, collection, kind, readback.tenant_id, now)


def _alone(event: Event, readback: Readback) -> Readback:
    """What reads again that one message or entry."""
    collection = segments(event.source)[2:]  # behind the tenant
    name = event.subject.removeprefix("/".join((*collection, "")))
    path = encoded((*collection, name))
    return Readback(readback.received, readback.tenant_id, path, readback.since, readback.until)
