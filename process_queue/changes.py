"""Change items: conversion to events, delivery, and the handling of items that are not delivered."""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import msgspec

from process_queue.requeue import Requeue
from process_queue.retries import Retries
from process_queue.verify import BatchVerifier, Verifier
from shared import telemetry
from shared.configuration.declaration import Declaration
from shared.deadline import time_limit
from shared.delivery.destination import Delivery
from shared.delivery.event import Event
from shared.delivery.outbox import Delivered, Outboxes
from shared.errors import Reason, Refused, RelayError, RetryLater, Undeliverable
from shared.messages.account import Account
from shared.messages.envelope import ChangeBatch, enqueued, tried_before
from shared.paths import Origin, Path, Paths, details
from shared.readback.pings import Ping, Pings
from shared.subscriptions.silence import LastSeen

READ_TIME = timedelta(seconds=10)
"""After this time, no further item of an envelope is read from Graph: read items are delivered, the rest is retried."""


class Clock(Protocol):
    """Returns the time, UTC."""

    def __call__(self) -> datetime: ...


@dataclass
class BatchOutcome:
    """The result for each item of an envelope: one of these, or counted as refused or a duplicate.

    events: events to deliver, by id, with their items. refused: unverified items, with the reason. pinged: declarations
    that only reported some change, with the number of items.
    """

    events: dict[str, tuple[Origin, Event]] = field(default_factory=dict)
    retries: Retries = field(default_factory=Retries)
    dead: defaultdict[Reason, list[msgspec.Raw]] = field(default_factory=lambda: defaultdict(list))
    refused: list[tuple[msgspec.Raw, Reason]] = field(default_factory=list)
    pinged: Counter[Declaration] = field(default_factory=Counter)


@dataclass(frozen=True)
class ChangeHandler:
    """Delivers the items of change envelopes.

    paths: stores their paths; None: disabled. account: records their results.
    """

    verifier: Verifier
    outboxes: Outboxes
    last_seen: LastSeen
    requeue: Requeue
    clock: Clock
    pings: Pings
    paths: Paths | None
    account: Account

    def handle(self, *envelopes: ChangeBatch) -> None:
        """Deliver the items of envelopes to each destination; requeue or dead-letter the others.

        The envelopes are for the same destinations, and share requests. Items that one destination did not accept are
        requeued or dead-lettered for that destination alone, in their original envelope.

        Raises RetryLater if storage is unavailable: some items may still have been delivered or enqueued, and are
        retried with the same ids. Raises NotAttempted, before verification, while the only destination of the envelopes
        accepts nothing, or the destinations are unknown.
        """
        self.outboxes.by_name()  # check now: refusals and pings would be counted at each attempt
        only = envelopes[0].destination
        if only and not self.outboxes.knows(only, max(map(enqueued, envelopes))):
            for envelope in envelopes:
                self.requeue.dead_letter(envelope, Reason.DESTINATION_UNKNOWN)
            return
        if only:  # an unavailable destination must not delay the others
            self.outboxes[only].check()
        with self.outboxes.preparing(), time_limit(READ_TIME, self.clock):
            judged = self._verified(envelopes)
        deliveries = self._deliver(judged)
        for envelope, batch, outcome in judged:
            self._end(envelope, batch, outcome, _part(deliveries, outcome.events))

    def _verified(self, envelopes: Iterable[ChangeBatch]) -> "list[VerifiedBatch]":
        judged: list[VerifiedBatch] = []
        known: set[str] = set()
        for envelope in envelopes:
            batch = self.verifier.batch(envelope)
            outcome = verify_batch(envelope, batch)
            for repeated in known & outcome.events.keys():
                telemetry.DUPLICATES.add(1)
                del outcome.events[repeated]
            known |= outcome.events.keys()
            if self.paths is not None:
                self.paths.refused(outcome.refused, envelope)
            for declaration in outcome.pinged:
                self.pings.note(declaration)
            judged.append((envelope, batch, outcome))
        return judged

    def _deliver(self, judged: "Sequence[VerifiedBatch]") -> dict[str, Delivered]:
        """Deliver the events that were not delivered before; return the deliveries by destination."""
        events = [event for _, _, outcome in judged for _, event in outcome.events.values()]
        tried: dict[str, datetime] = {}
        for envelope, _, outcome in judged:
            tried |= tried_before(outcome.events, envelope)
        return self.outboxes.deliver(
            events,
            only=judged[0][0].destination,
            redeliver=judged[0][0].replayed is not None,
            isolate_errors=any(envelope.attempt for envelope, _, _ in judged),
            tried=tried,
            details=partial(details, _paths(judged, self.paths)) if self.paths is not None else None,
        )

    def _end(
        self, envelope: ChangeBatch, batch: BatchVerifier, outcome: BatchOutcome, deliveries: Mapping[str, Delivered]
    ) -> None:
        """Requeue or dead-letter undelivered items, and record the results of an envelope's items."""
        lag = (self.clock() - envelope.received).total_seconds()
        for destination, delivered in deliveries.items():
            telemetry.DUPLICATES.add(_known(delivered), {"destination": destination})
            for _ in delivered[1].delivered:
                telemetry.LAG_SECONDS.record(lag, {"destination": destination})
        for retry in outcome.retries:
            self.requeue.later(_with(envelope, retry.items, batch), retry.failure)
        for reason, items in outcome.dead.items():
            self.requeue.dead_letter(_with(envelope, items, batch), reason)
        for destination, (_, delivery) in deliveries.items():
            rest = msgspec.structs.replace(_with(envelope, [], batch), destination=destination)
            self._settle(rest, delivery, outcome)
        self.last_seen.note(batch.seen, envelope.received)
        telemetry.UNSELECTED.add(_unselected(outcome, deliveries))
        _enter(outcome, deliveries, envelope, self.account)

    def _settle(self, rest: ChangeBatch, delivery: Delivery, outcome: BatchOutcome) -> None:
        """Requeue or dead-letter events that a destination did not accept. rest: their envelope, without items."""
        if delivery.failure is not None:
            items = tuple(outcome.events[event.id][0].item for event in delivery.undelivered)
            self.requeue.later(msgspec.structs.replace(rest, items=items), delivery.failure)
        for rejected in delivery.rejected:
            origin, event = outcome.events[rejected.event.id]
            alone = msgspec.structs.replace(rest, items=(origin.item,))
            self.requeue.rejected(alone, rejected.status, event.id)
        self.outboxes[rest.destination].record_rejected(rejected.event for rejected in delivery.rejected)


VerifiedBatch = tuple[ChangeBatch, BatchVerifier, BatchOutcome]
"""An envelope, the verifier of its items, and their results."""


def _paths(judged: Sequence[VerifiedBatch], paths: Paths) -> dict[str, Path]:
    """Return the paths of the events, by id: created once for all destinations."""
    found: dict[str, Path] = {}
    for envelope, _, outcome in judged:
        found |= paths.delivered(outcome.events, envelope)
    return found


def _part(deliveries: Mapping[str, Delivered], event_ids: Container[str]) -> dict[str, Delivered]:
    """Return the deliveries of some events, for the destinations that receive any of them."""
    parts = {
        name: ([event for event in received if event.id in event_ids], delivery.part(event_ids))
        for name, (received, delivery) in deliveries.items()
    }
    return {name: part for name, part in parts.items() if part[0]}


def _enter(outcome: BatchOutcome, deliveries: Mapping[str, Delivered], envelope: ChangeBatch, account: Account) -> None:
    """Record the results of items at each destination; `requeue` has recorded the dead letters."""
    dead, pings = sum(map(len, outcome.dead.values())), sum(outcome.pinged.values())
    once = len(outcome.events) + len(outcome.refused) + dead + len(outcome.retries.items()) + pings
    account.ended(
        envelope,
        delivered=sum(len(delivery.delivered) for _, delivery in deliveries.values()),
        refused=len(outcome.refused),
        duplicates=len(envelope.items) - once + sum(map(_known, deliveries.values())),
        acted_upon=pings,
        unselected=_unselected(outcome, deliveries),
    )


def _unselected(outcome: BatchOutcome, deliveries: Mapping[str, Delivered]) -> int:
    """Return the number of events that no destination receives."""
    return len(outcome.events.keys() - {event.id for received, _ in deliveries.values() for event in received})


def _known(delivered: Delivered) -> int:
    """Return the number of events that a destination had received before."""
    received, delivery = delivered
    return len(received) - len(delivery.delivered) - len(delivery.rejected) - len(delivery.undelivered)


def verify_batch(envelope: ChangeBatch, batch: BatchVerifier) -> BatchOutcome:
    """Convert items to events. A bad item does not affect the others."""
    outcome = BatchOutcome()
    for item, (read, verdict) in zip(envelope.items, batch.verdicts(envelope.items), strict=True):
        match verdict:
            case Refused(reason=reason):
                telemetry.REFUSED.add(1, {"reason": reason})
                outcome.refused.append((item, reason))
            case Undeliverable(reason=reason):
                outcome.dead[reason].append(item)
            case RetryLater():
                outcome.retries.add(item, verdict)
            case Ping(declaration=declaration):
                telemetry.PINGS.add(1)
                outcome.pinged[declaration] += 1
            case Event(id=event_id) if not isinstance(read, RelayError):
                if event_id in outcome.events:
                    telemetry.DUPLICATES.add(1)
                outcome.events.setdefault(event_id, (Origin(item, read), verdict))
            case RelayError():
                raise verdict
    return outcome


def _with(envelope: ChangeBatch, items: list[msgspec.Raw], batch: BatchVerifier) -> ChangeBatch:
    return msgspec.structs.replace(envelope, items=tuple(items), proven=batch.verified_tenants)
