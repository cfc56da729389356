"""A page read back from Graph: what of it was never delivered is delivered now, then the next page is enqueued."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from process_queue.requeue import Requeue
from shared import telemetry
from shared.configuration.declaration import Declarations, declaration_id
from shared.delivery.destination import Delivery
from shared.delivery.event import Event, event_read_back
from shared.delivery.outbox import Outbox
from shared.errors import Reason, RetryLater, Undeliverable
from shared.graph.client import GraphClient
from shared.graph.resolver import Resolver
from shared.messages.envelope import ReadbackPage, write
from shared.paths import Paths
from shared.readback.checkpoints import Checkpoints
from shared.readback.declared import as_declared
from shared.readback.pages import FetchedPage, fetch_page, is_page
from shared.resources.path import encoded, segments
from shared.storage.queues import Sender

_log = logging.getLogger("graph_relay.readback")

_RESTART_AFTER = timedelta(minutes=10)
"""Not at once: the first pages are read again each time, and enqueue what they lead to."""


@dataclass(frozen=True)
class ReadbackHandler:
    """Reads pages back and delivers what is missing. `paths` notes what was; None: nobody does."""

    graph: GraphClient
    checkpoints: Checkpoints
    queues: Sender
    outbox: Outbox
    requeue: Requeue
    clock: Callable[[], datetime]
    paths: Paths | None = None
    declarations: Declarations = field(default_factory=lambda: Declarations(()))
    resolver: Resolver | None = None

    def handle(self, readback: ReadbackPage) -> None:
        """Read one page, deliver what is missing, and enqueue what follows.

        An event that the destination fails on is retried by itself, and holds up neither its page nor the next.

        Raises RetryLater if Graph, the destination or storage is unavailable: the page is then read again.
        """
        began = self.clock()
        declaration = self.declarations.get(readback.declaration, readback.tenant_id)
        if readback.declaration and declaration is None:
            _log.info("%s is declared no more, and not read back", readback.resource)
            return
        try:
            place = self._place(readback)
            page = fetch_page(readback, self.graph, self.checkpoints.delta_link)
            events = _events(page, readback, place, began)
            if declaration is not None:
                told = (as_declared(event, declaration, readback.since) for event in events)
                events = [event for event in told if event is not None]
        except RetryLater as failure:
            if failure.reason is not Reason.GRAPH_REFUSED or not readback.link:
                raise
            self._restart(readback, failure)
        except Undeliverable as undeliverable:
            self.requeue.dead_letter(readback, undeliverable.reason)
        else:
            self._deliver(events, readback, began)
            self._enqueue_next(page, readback)

    def _place(self, readback: ReadbackPage) -> str:
        """The path by which what is read is named in a notification: without aliases."""
        return self.resolver.resolved(readback.tenant_id, readback.resource) if self.resolver else readback.resource

    def _restart(self, readback: ReadbackPage, failure: RetryLater) -> None:
        """Begin again at the first page: links live for about an hour, and the ledger knows what was delivered."""
        later = RetryLater(failure.reason, "the link to a page was refused", retry_after=_RESTART_AFTER)
        self.requeue.later(msgspec.structs.replace(readback, link="", number=0), later)

    def _deliver(self, events: list[Event], readback: ReadbackPage, began: datetime) -> None:
        # Of a range that is replayed, only what is missing; a single resource is replayed for its own sake.
        redeliver = readback.replayed is not None and not is_page(readback.resource)
        details = self.paths.read_back(events, readback) if self.paths is not None else None
        delivery = self.outbox.deliver(
            events, redeliver=redeliver, isolate_errors=bool(readback.attempt), details=details
        )
        # What does not say when it changed may have been pushed before: nobody can tell.
        telemetry.RECOVERED.add(sum(event.time < began and not event.partial for event in delivery.delivered))
        if delivery.failure is not None:
            if not _can_isolate(delivery, readback):
                raise delivery.failure  # plaintext can't be enqueued: the page is read again, the ledger knows the rest
            for event in delivery.undelivered:
                self.requeue.later(_single_resource(event, readback), delivery.failure)
        for rejected in delivery.rejected:
            detail = f"the destination answers {rejected.status} to event {rejected.event.id}"
            self.requeue.dead_letter(_single_resource(rejected.event, readback), Reason.DESTINATION_REJECTED, detail)
        self.outbox.record_rejected(rejected.event for rejected in delivery.rejected)

    def _enqueue_next(self, page: FetchedPage, readback: ReadbackPage) -> None:
        for further in page.further:
            self.queues.send(write(further))
        if page.link:
            owner = readback.declaration or declaration_id(readback.tenant_id, readback.resource)
            self.checkpoints.save_delta_link(owner, page.link)


def _can_isolate(delivery: Delivery, readback: ReadbackPage) -> bool:
    """Tell whether what was kept can be retried by itself: from the second attempt on, where the destination fails on
    single events of a page.
    """
    error = delivery.failure is not None and delivery.failure.reason is Reason.DESTINATION_ERROR
    return error and bool(readback.attempt) and is_page(readback.resource)


def _events(page: FetchedPage, readback: ReadbackPage, place: str, asked: datetime) -> list[Event]:
    """Return one event a version: a chat is read once for each of its participants. place: where it was read, without
    aliases. asked: when Graph was.

    What can't be read costs its page nothing. Raises Undeliverable if nothing else was asked for.
    """
    events: dict[str, Event] = {}
    for content in page.resources:
        try:
            event = event_read_back(bytes(content), place, readback.tenant_id, asked)
        except Undeliverable as undeliverable:
            if not is_page(readback.resource):
                raise
            _log.warning("Read back from %s: %s", readback.resource, undeliverable)
            continue
        events[event.id] = event
    return list(events.values())


def _single_resource(event: Event, readback: ReadbackPage) -> ReadbackPage:
    """Return what reads that one resource again."""
    collection = segments(event.source)[2:]  # behind the tenant
    name = event.subject.removeprefix("/".join((*collection, "")))
    path = encoded((*collection, name))
    return msgspec.structs.replace(readback, resource=path, link="", attempt=0, number=0, among_many=False)
