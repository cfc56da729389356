"""A page read back from Graph: what of it was never delivered is delivered now, then the next page is asked for."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from process_queue.changes import Delivering
from process_queue.settle import Requeue
from shared import telemetry
from shared.delivery.destination import Delivery, Destination
from shared.delivery.event import Event, event_of_entry, event_of_message
from shared.errors import Reason, RetryLater, Undeliverable
from shared.graph.client import GraphClient
from shared.messages.envelope import ReadbackPage, write
from shared.readback.pages import Reading, read
from shared.resources import delta_query
from shared.resources.path import encoded, message_path, segments
from shared.storage.queues import Storage
from shared.storage.tables import Tables

_log = logging.getLogger("graph_relay.readback")

_BEGIN_ANEW = timedelta(minutes=10)


@dataclass(frozen=True)
class Reader:
    """What reading back needs besides delivering."""

    graph: GraphClient
    tables: Tables
    storage: Storage


def relay_readback(readback: ReadbackPage, reader: Reader, delivering: Delivering, requeue: Requeue) -> None:
    """Read one page, deliver what is missing, and queue what follows.

    An event that the destination stumbles over goes its own way, and holds up neither its page nor the next.

    Raises RetryLater if Graph, the destination or storage is away: the page is then read again.
    """
    tenant_id, resource = readback.tenant_id, readback.resource
    began = delivering.clock()
    try:
        reading = read(readback, reader.graph, lambda: delta_query.load(reader.tables, tenant_id, resource))
        events = _events(reading, readback, delivering.clock)
    except RetryLater as retry_later:
        if retry_later.reason is not Reason.GRAPH_REFUSED or not readback.link:
            raise
        # Links live for about an hour. Begin anew: the ledger knows what of the range has been delivered. Not at once:
        # the first pages will be read again each time, and queue what they lead to.
        later = RetryLater(retry_later.reason, "the link to a page was refused", retry_after=_BEGIN_ANEW)
        requeue.postpone(msgspec.structs.replace(readback, link=""), later)
        return
    except Undeliverable as undeliverable:
        requeue.give_up(readback, undeliverable.reason)
        return
    # Of a range that is read once more, only what is missing.
    missing = delivering.missing(events, replayed=readback.replayed is not None and not _is_page(readback))
    with telemetry.span("deliver"):
        delivery = _deliver(missing, readback, delivering.destination)
    delivering.ledger.record(delivery.delivered)
    telemetry.DELIVERED.add(len(delivery.delivered))
    # What does not say when it changed may have been pushed before: nobody can tell.
    telemetry.RECOVERED.add(sum(event.time < began for event in delivery.delivered))
    if delivery.why is not None:
        if not (_stumbled(delivery, readback) and _is_page(readback)):
            raise delivery.why  # plaintext can't be queued: the page is read again, and what was delivered is known
        for event in delivery.kept:
            requeue.postpone(_alone(event, readback), delivery.why)
    for rejected in delivery.rejected:
        requeue.give_up(_alone(rejected.event, readback), Reason.DESTINATION_REJECTED)
    delivering.ledger.record(rejected.event for rejected in delivery.rejected)
    for further in reading.further:
        reader.storage.put(write(further))
    if reading.link:
        delta_query.save(reader.tables, tenant_id, resource, reading.link)


def _deliver(events: Sequence[Event], readback: ReadbackPage, destination: Destination) -> Delivery:
    """Deliver events; from the second time on in ever smaller batches, in case one makes the destination stumble.

    The last of them may not be let through any more, after so many failures: they too were kept for the first.
    """
    delivery = destination.deliver(events)
    if not _stumbled(delivery, readback) or len(delivery.kept) < 2:
        return delivery
    middle = len(delivery.kept) // 2
    first, second = (_deliver(half, readback, destination) for half in (delivery.kept[:middle], delivery.kept[middle:]))
    parted = Delivery(delivery.delivered, delivery.rejected).joined(first).joined(second)
    return msgspec.structs.replace(parted, why=_longest(delivery, first, second) if parted.kept else None)


def _longest(*deliveries: Delivery) -> RetryLater:
    """Nothing that was parted is tried earlier than any of its parts was told."""
    wait_budget = [one.why.retry_after for one in deliveries if one.why and one.why.retry_after]
    return RetryLater(Reason.DESTINATION_ERROR, "the destination stumbles", retry_after=max(wait_budget, default=None))


def _stumbled(delivery: Delivery, readback: ReadbackPage) -> bool:
    """Whether one event may be what ails the destination: then it is parted from its neighbours, as
    `Requeue.postpone` parts items.
    """
    return bool(readback.attempt) and delivery.why is not None and delivery.why.reason is Reason.DESTINATION_ERROR


def _is_page(readback: ReadbackPage) -> bool:
    """Whether there may be others in what is read, or behind it: a single resource holds up none."""
    return message_path(readback.resource) is None and delta_query.entry(readback.resource) is None


def _events(reading: Reading, readback: ReadbackPage, clock: Callable[[], datetime]) -> list[Event]:
    """One event a version: a chat is read once for each of its participants.

    What can't be read costs its page nothing. Raises Undeliverable if nothing else was asked for.
    """
    events: dict[str, Event] = {}
    for content in reading.resources:
        try:
            event = _event(bytes(content), readback, clock())
        except Undeliverable as undeliverable:
            if not _is_page(readback):
                raise
            _log.warning("Read back from %s: %s", readback.resource, undeliverable)
            continue
        events[event.id] = event
    return list(events.values())


def _event(content: bytes, readback: ReadbackPage, now: datetime) -> Event:
    entry = delta_query.entry(readback.resource)
    collection = entry.collection if entry else readback.resource
    kind = delta_query.kind_of(collection)
    if kind is None:
        return event_of_message(content, readback.tenant_id, now)
    return event_of_entry(content, collection, kind, readback.tenant_id, now)


def _alone(event: Event, readback: ReadbackPage) -> ReadbackPage:
    """What reads again that one message or entry."""
    collection = segments(event.source)[2:]  # behind the tenant
    name = event.subject.removeprefix("/".join((*collection, "")))
    path = encoded((*collection, name))
    return msgspec.structs.replace(readback, resource=path, link="", attempt=0)
