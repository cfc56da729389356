"""A read-back page: delivers its undelivered events, then enqueues the next page."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import msgspec

from process_queue.hydration import ASK_AGAIN, SETTLES_WITHIN
from process_queue.requeue import Requeue
from shared import telemetry
from shared.configuration.declaration import Declarations
from shared.delivery.destination import Delivery
from shared.delivery.event import Event, event_read_back
from shared.delivery.outbox import Outboxes
from shared.delivery.resource import read_resource
from shared.errors import Isolable, Reason, RetryLater, Undeliverable
from shared.graph.client import GraphClient
from shared.graph.resolver import Resolver
from shared.messages.envelope import ReadbackPage, tried_before, write
from shared.paths import Paths, details
from shared.readback.checkpoints import Checkpoints
from shared.readback.declared import as_declared, selection
from shared.readback.delta import owner_of, removed_page
from shared.readback.directory_states import DirectoryStates
from shared.readback.fetched import FetchedPage
from shared.readback.pages import fetch_page, is_page
from shared.readback.recovered_changes import RecoveredChanges
from shared.resources.delta_query import delta_path
from shared.resources.path import encoded, segments, with_query
from shared.storage.queues import Sender

_log = logging.getLogger("graph_relay.readback")

_RESTART_AFTER = timedelta(minutes=10)
"""Delay before a restart: it reads the first pages again, and enqueues their followers."""


@dataclass(frozen=True)
class ReadbackHandler:
    """Reads pages back and delivers missing events. paths: stores their paths; None: disabled."""

    graph: GraphClient
    checkpoints: Checkpoints
    queues: Sender
    outboxes: Outboxes
    requeue: Requeue
    clock: Callable[[], datetime]
    declarations: Declarations
    resolver: Resolver
    states: DirectoryStates
    recovered_changes: RecoveredChanges
    paths: Paths | None

    def handle(self, readback: ReadbackPage) -> None:
        """Read one page, deliver what is missing, and enqueue what follows.

        An event on which the destination fails is retried separately, and delays neither its page nor the next.

        Raises RetryLater if Graph, the destination or storage is unavailable: the page is then read again. While the
        only destination of a page accepts nothing, Graph is not asked.
        """
        self.outboxes.by_name()  # raises before Graph is asked
        if readback.destination and not self.outboxes.knows(readback.destination):
            self.requeue.dead_letter(readback, Reason.DESTINATION_UNKNOWN)
            return
        if readback.destination:
            self.outboxes[readback.destination].check()
        began = self.clock()
        declaration = self.declarations.get(readback.declaration, readback.tenant_id)
        if readback.declaration and declaration is None:
            _log.info("%s is no longer declared and is not read back", readback.resource)
            return
        try:
            # the path of the resource in notifications: without aliases
            place = self.resolver.resolved(readback.tenant_id, readback.resource)
            page = self._without_known(fetch_page(readback, self.graph, self.checkpoints.delta_link), readback)
            self._check_agreement(page, readback, began)
            events = _events(page, readback, place, began)
            if declaration is not None:
                changes = (as_declared(event, declaration, readback.since) for event in events)
                events = [event for event in changes if event is not None]
        except RetryLater as failure:
            if failure.reason is not Reason.GRAPH_REFUSED or not readback.link:
                raise
            self._restart(readback, failure)
        except Undeliverable as undeliverable:
            self.requeue.dead_letter(readback, undeliverable.reason)
        else:
            behind = self._deliver(events, readback, began)
            self._remember(page, readback)
            self._enqueue_next(page, readback, behind)

    def _check_agreement(self, page: FetchedPage, readback: ReadbackPage, now: datetime) -> None:
        """Raise RetryLater if Graph does not return what a list contained a moment ago: the read may come from a
        lagging replica (docs/graph.md, "Errors").
        """
        if readback.listed is None or now - readback.listed >= SETTLES_WITHIN:
            return
        if any(read_resource(bytes(content)).is_gone for content in page.resources):
            raise RetryLater(
                Reason.GRAPH_LAGS, "Graph does not return the resource that it listed", retry_after=ASK_AGAIN
            )

    def _without_known(self, page: FetchedPage, readback: ReadbackPage) -> FetchedPage:
        """Of a complete list without modification times, keep the entries that differ from their stored state."""
        if not page.is_list or not page.resources:
            return page
        return replace(page, resources=self.states.changed(owner_of(readback), page.resources))

    def _remember(self, page: FetchedPage, readback: ReadbackPage) -> None:
        """Store the state of directory entries, and read each one that the list omits: it may be deleted. Raises
        RetryLater.
        """
        owner, parts = owner_of(readback), segments(readback.resource)
        if page.states:
            self.states.note(owner, page.states, readback.asked, is_list=page.is_list)
        if readback.removed and page.resources and parts[0] in ("users", "groups") and len(parts) == 2:
            self.states.forget(owner, parts[1:])
        if not page.ends:
            return
        missing = self.states.missing(owner, readback.asked)
        if not readback.begins:
            for entry_id in missing:
                self.queues.send(write(removed_page(readback, parts[0], entry_id)), delay=SETTLES_WITHIN)
        else:
            self.states.forget(owner, missing)  # state from before this declaration began again

    def _restart(self, readback: ReadbackPage, failure: RetryLater) -> None:
        """Restart at the first page: links expire after about an hour, and the ledger knows what was delivered."""
        later = RetryLater(failure.reason, "the link to a page was refused", retry_after=_RESTART_AFTER)
        again = msgspec.structs.replace(readback, link="", number=0, passed="", restarted=self.clock())
        self.requeue.later(again, later)

    def _deliver(self, events: list[Event], readback: ReadbackPage, began: datetime) -> set[str]:
        """Deliver missing events to each destination.

        Return the destinations that have fallen behind: the page was enqueued again for each of them. Raises RetryLater
        if all have: the page is then read again for all.
        """
        paths = self.paths
        deliveries = self.outboxes.deliver(
            events,
            only=readback.destination,
            without=readback.without,
            # of a replayed range, deliver only what is missing; a single resource is replayed for its own sake
            redeliver=readback.replayed is not None and not is_page(readback.resource),
            isolate_errors=bool(readback.attempt),
            tried=tried_before((event.id for event in events), readback),
            details=partial(details, paths.read_back(events, readback)) if paths is not None else None,
        )
        delivered = {event.id: event for _, delivery in deliveries.values() for event in delivery.delivered}
        # Without a modification time, an event may have been pushed before.
        recovered = [event.time for event in delivered.values() if event.time < began and not event.partial]
        telemetry.RECOVERED.add(len(recovered))
        self._note(readback, recovered)
        behind: dict[str, RetryLater] = {}
        for destination, (_, delivery) in deliveries.items():
            self._settle(delivery, msgspec.structs.replace(readback, destination=destination, without=()))
            if delivery.failure is not None and not _can_isolate(delivery, readback):
                behind[destination] = delivery.failure
        if len(behind) == len(deliveries):
            for failure in behind.values():
                raise failure  # plaintext must not be enqueued: the page is read again, and the ledger knows the rest
        for destination, failure in behind.items():
            self._fall_behind(destination, deliveries[destination][1], failure, readback)
        return set(behind)

    def _note(self, readback: ReadbackPage, recovered: list[datetime]) -> None:
        """Store which changes notifications did not bring. It is a hint: without storage, it is skipped."""
        if not readback.declaration or readback.replayed is not None:
            return
        try:
            self.recovered_changes.note(readback.declaration, recovered)
        except RetryLater as retry_later:
            _log.debug("What a comparison recovered is not stored: %s", retry_later)

    def _settle(self, delivery: Delivery, readback: ReadbackPage) -> None:
        """Requeue or dead-letter events that a destination did not accept, separately where possible."""
        if delivery.failure is not None and _can_isolate(delivery, readback):
            for event in delivery.undelivered:
                self.requeue.later(_single_resource(event, readback, self.clock()), delivery.failure)
        for rejected in delivery.rejected:
            alone = _single_resource(rejected.event, readback, self.clock())
            self.requeue.rejected(alone, rejected.status, rejected.event.id)
        self.outboxes[readback.destination].record_rejected(rejected.event for rejected in delivery.rejected)

    def _fall_behind(self, destination: str, delivery: Delivery, failure: RetryLater, readback: ReadbackPage) -> None:
        """Read the page again for one destination, so that it does not delay the others.

        If reading restarts from a stored delta link, that link has moved on: then only single entries can be read
        again.
        """
        own = msgspec.structs.replace(readback, destination=destination, without=())
        if delta_path(readback.resource) is None:
            self.requeue.later(own, failure)
        else:
            for event in delivery.undelivered:
                self.requeue.later(_single_resource(event, own, self.clock()), failure)

    def _enqueue_next(self, page: FetchedPage, readback: ReadbackPage, behind: set[str]) -> None:
        if delta_path(readback.resource) is not None:
            behind = set()
        for further in page.further:
            without = tuple(sorted({*further.without, *behind}))
            self.queues.send(write(msgspec.structs.replace(further, without=without)))
        for alone in page.unsure:
            self.queues.send(write(alone), delay=SETTLES_WITHIN)
        if page.link:
            save = self.checkpoints.save_first_delta_link if readback.begins else self.checkpoints.save_delta_link
            save(owner_of(readback), page.link, readback.asked)


def _can_isolate(delivery: Delivery, readback: ReadbackPage) -> bool:
    """Return whether undelivered events can be retried separately: from the second attempt on, if the destination fails
    on single events of a page, or rejects all of it with a response about events.
    """
    if delivery.failure is None or not readback.attempt or not is_page(readback.resource):
        return False
    if delivery.failure.reason in {Reason.DESTINATION_ERROR, Reason.DESTINATION_REJECTS}:
        return True
    return isinstance(delivery.failure, Isolable) and bool(delivery.delivered)


def _events(page: FetchedPage, readback: ReadbackPage, place: str, asked: datetime) -> list[Event]:
    """Return one event per version: a chat is read once for each of its participants. place: its path without aliases.
    asked: when Graph was asked.

    Unreadable entries are skipped. Raises Undeliverable if the page was for a single resource.
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


def _single_resource(event: Event, readback: ReadbackPage, now: datetime) -> ReadbackPage:
    """Return the page that reads the resource of an event, listed now or earlier."""
    collection = segments(event.source)[2:]  # behind the tenant
    name = event.subject.removeprefix("/".join((*collection, "")))
    path = with_query(encoded((*collection, name)), selection(readback.resource))
    shown = None if event.type.endswith("Deleted") else now
    return msgspec.structs.replace(
        readback, resource=path, link="", attempt=0, number=0, among_many=False, listed=readback.listed or shown
    )
