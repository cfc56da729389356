"""Change items: to events, to the destination; and where each ends that does not get there."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from process_queue.requeue import Requeue
from process_queue.verify import BatchVerifier, Verifier
from shared import telemetry
from shared.delivery.destination import Rejected
from shared.delivery.event import Event
from shared.delivery.outbox import Outbox
from shared.errors import Reason, Refused, RetryLater, Undeliverable
from shared.messages.envelope import ChangeBatch
from shared.paths import Paths
from shared.subscriptions.silence import LastSeen


class Clock(Protocol):
    """Returns the time, UTC."""

    def __call__(self) -> datetime: ...


@dataclass
class Retry:
    """Items to be tried again for one reason, and the failure that asks for the longest wait."""

    failure: RetryLater
    items: list[msgspec.Raw] = field(default_factory=list)


@dataclass
class BatchOutcome:
    """Where each item of an envelope ends: in one of these, or counted as refused or a duplicate.

    events: what is to be delivered, by event id, with the item that it came from. rejected: what the destination will
    never accept. refused: what was not proven, with the reason.
    """

    events: dict[str, tuple[msgspec.Raw, Event]] = field(default_factory=dict)
    retries: dict[Reason, Retry] = field(default_factory=dict)
    dead: defaultdict[Reason, list[msgspec.Raw]] = field(default_factory=lambda: defaultdict(list))
    rejected: list[Rejected] = field(default_factory=list)
    refused: list[tuple[msgspec.Raw, Reason]] = field(default_factory=list)

    def retry(self, item: msgspec.Raw, failure: RetryLater) -> None:
        """Try the item again later; of several requested waits, the longest counts."""
        known = self.retries.setdefault(failure.reason, Retry(failure))
        if (failure.retry_after or timedelta(0)) > (known.failure.retry_after or timedelta(0)):
            known.failure = failure
        known.items.append(item)


@dataclass(frozen=True)
class ChangeHandler:
    """Delivers the items of change envelopes. `paths` notes how they got there; None: nobody does."""

    verifier: Verifier
    outbox: Outbox
    last_seen: LastSeen
    requeue: Requeue
    clock: Clock
    paths: Paths | None = None

    def handle(self, envelope: ChangeBatch) -> None:
        """Deliver the items of an envelope; enqueue again or dead-letter the others.

        Raises RetryLater if storage is unavailable: some items may have been delivered or enqueued even so, and come
        again under the same ids.
        """
        batch = self.verifier.batch(envelope)
        outcome = judge(envelope, batch)
        self.last_seen.note(batch.seen, envelope.received)
        if self.paths is not None:
            self.paths.refused(outcome.refused, envelope)
        self._deliver(outcome, envelope)
        for retry in outcome.retries.values():
            self.requeue.later(_with(envelope, retry.items, batch), retry.failure)
        for reason, items in outcome.dead.items():
            self.requeue.dead_letter(_with(envelope, items, batch), reason)
        for rejected in outcome.rejected:
            item, event = outcome.events[rejected.event.id]
            detail = f"the destination answers {rejected.status} to event {event.id}"
            self.requeue.dead_letter(_with(envelope, [item], batch), Reason.DESTINATION_REJECTED, detail)
        self.outbox.record_rejected(rejected.event for rejected in outcome.rejected)

    def _deliver(self, outcome: BatchOutcome, envelope: ChangeBatch) -> None:
        """Deliver the events that are not known to have been; those that the destination rejects join the dead."""
        events = [event for _, event in outcome.events.values()]
        details = self.paths.delivered(outcome.events, envelope) if self.paths is not None else None
        delivery = self.outbox.deliver(events, redeliver=envelope.replayed is not None, details=details)
        settled = len(delivery.delivered) + len(delivery.rejected) + len(delivery.undelivered)
        telemetry.DUPLICATES.add(len(events) - settled)
        lag = (self.clock() - envelope.received).total_seconds()
        for _ in delivery.delivered:
            telemetry.LAG_SECONDS.record(lag)
        outcome.rejected.extend(delivery.rejected)
        if delivery.failure is not None:
            for event in delivery.undelivered:
                outcome.retry(outcome.events[event.id][0], delivery.failure)


def judge(envelope: ChangeBatch, batch: BatchVerifier) -> BatchOutcome:
    """Turn items into events. One bad item costs its neighbours nothing."""
    outcome = BatchOutcome()
    for item in envelope.items:
        try:
            event = batch.event(item)
        except Refused as refused:
            telemetry.REFUSED.add(1, {"reason": refused.reason})
            outcome.refused.append((item, refused.reason))
        except Undeliverable as undeliverable:
            outcome.dead[undeliverable.reason].append(item)
        except RetryLater as failure:
            outcome.retry(item, failure)
        else:
            if event.id in outcome.events:
                telemetry.DUPLICATES.add(1)
            outcome.events.setdefault(event.id, (item, event))
    return outcome


def _with(envelope: ChangeBatch, items: list[msgspec.Raw], batch: BatchVerifier) -> ChangeBatch:
    return msgspec.structs.replace(envelope, items=tuple(items), proven=batch.verified_tenants)
