"""Change items: to events, to the destination; and where each ends that does not get there."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from process_queue.requeue import Requeue
from process_queue.retries import Retries
from process_queue.verify import BatchVerifier, Verifier
from shared import telemetry
from shared.configuration.declaration import Declaration
from shared.deadline import time_limit
from shared.delivery.destination import Rejected
from shared.delivery.event import Event
from shared.delivery.outbox import Outbox
from shared.errors import Reason, Refused, RelayError, RetryLater, Undeliverable
from shared.messages.account import Account
from shared.messages.envelope import ChangeBatch
from shared.paths import Paths
from shared.readback.pings import Ping, Pings
from shared.subscriptions.silence import LastSeen

READ_TIME = timedelta(seconds=10)
"""After this time no further item of an envelope is read from Graph: what was read is delivered, the rest comes again.
"""


class Clock(Protocol):
    """Returns the time, UTC."""

    def __call__(self) -> datetime: ...


@dataclass
class BatchOutcome:
    """Where each item of an envelope ends: in one of these, or counted as refused or a duplicate.

    events: what is to be delivered, by event id, with the item that it came from. rejected: what the destination will
    never accept. delivered: how many it has accepted now. refused: what was not proven, with the reason. pinged:
    of which declarations only that something changed, and how many items said so.
    """

    events: dict[str, tuple[msgspec.Raw, Event]] = field(default_factory=dict)
    retries: Retries = field(default_factory=Retries)
    dead: defaultdict[Reason, list[msgspec.Raw]] = field(default_factory=lambda: defaultdict(list))
    rejected: list[Rejected] = field(default_factory=list)
    delivered: int = 0
    refused: list[tuple[msgspec.Raw, Reason]] = field(default_factory=list)
    pinged: Counter[Declaration] = field(default_factory=Counter)


@dataclass(frozen=True)
class ChangeHandler:
    """Delivers the items of change envelopes.

    `paths` notes how they got there, `account` how they ended; None: nobody does.
    """

    verifier: Verifier
    outbox: Outbox
    last_seen: LastSeen
    requeue: Requeue
    clock: Clock
    pings: Pings
    paths: Paths | None = None
    account: Account | None = None

    def handle(self, envelope: ChangeBatch) -> None:
        """Deliver the items of an envelope; enqueue again or dead-letter the others.

        Raises RetryLater if storage is unavailable: some items may have been delivered or enqueued even so, and come
        again under the same ids.
        """
        batch = self.verifier.batch(envelope)
        with time_limit(READ_TIME, self.clock):
            outcome = judge(envelope, batch)
        if self.paths is not None:
            self.paths.refused(outcome.refused, envelope)
        for declaration in outcome.pinged:
            self.pings.note(declaration)
        self._deliver(outcome, envelope)
        for retry in outcome.retries:
            self.requeue.later(_with(envelope, retry.items, batch), retry.failure)
        for reason, items in outcome.dead.items():
            self.requeue.dead_letter(_with(envelope, items, batch), reason)
        for rejected in outcome.rejected:
            item, event = outcome.events[rejected.event.id]
            detail = f"the destination answers {rejected.status} to event {event.id}"
            self.requeue.dead_letter(_with(envelope, [item], batch), Reason.DESTINATION_REJECTED, detail)
        self.outbox.record_rejected(rejected.event for rejected in outcome.rejected)
        self.last_seen.note(batch.seen, envelope.received)
        if self.account is not None:
            _enter(outcome, envelope, self.account)

    def _deliver(self, outcome: BatchOutcome, envelope: ChangeBatch) -> None:
        """Deliver the events that are not known to have been; those that the destination rejects join the dead."""
        events = [event for _, event in outcome.events.values()]
        details = self.paths.delivered(outcome.events, envelope) if self.paths is not None else None
        delivery = self.outbox.deliver(
            events, redeliver=envelope.replayed is not None, isolate_errors=bool(envelope.attempt), details=details
        )
        settled = len(delivery.delivered) + len(delivery.rejected) + len(delivery.undelivered)
        telemetry.DUPLICATES.add(len(events) - settled)
        lag = (self.clock() - envelope.received).total_seconds()
        for _ in delivery.delivered:
            telemetry.LAG_SECONDS.record(lag)
        outcome.delivered = len(delivery.delivered)
        outcome.rejected.extend(delivery.rejected)
        if delivery.failure is not None:
            for event in delivery.undelivered:
                outcome.retries.add(outcome.events[event.id][0], delivery.failure)


def _enter(outcome: BatchOutcome, envelope: ChangeBatch, account: Account) -> None:
    """Enter how items ended; `requeue` has entered the dead letters. Whatever is left was delivered before."""
    dead = sum(map(len, outcome.dead.values())) + len(outcome.rejected)
    pings = sum(outcome.pinged.values())
    elsewhere = outcome.delivered + len(outcome.refused) + pings + dead + len(outcome.retries.items())
    account.ended(
        envelope,
        delivered=outcome.delivered,
        refused=len(outcome.refused),
        duplicates=len(envelope.items) - elsewhere,
        acted_upon=pings,
    )


def judge(envelope: ChangeBatch, batch: BatchVerifier) -> BatchOutcome:
    """Turn items into events. One bad item costs its neighbours nothing."""
    outcome = BatchOutcome()
    for item, verdict in zip(envelope.items, batch.verdicts(envelope.items), strict=True):
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
            case Event(id=event_id):
                if event_id in outcome.events:
                    telemetry.DUPLICATES.add(1)
                outcome.events.setdefault(event_id, (item, verdict))
            case RelayError():
                raise verdict
    return outcome


def _with(envelope: ChangeBatch, items: list[msgspec.Raw], batch: BatchVerifier) -> ChangeBatch:
    return msgspec.structs.replace(envelope, items=tuple(items), proven=batch.verified_tenants)
