"""Change items: to events, to the destination; and what becomes of each that doesn't get there."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from process_queue.settle import Requeue
from process_queue.verify import Proofs, Verifier
from shared import telemetry
from shared.delivery.destination import Destination
from shared.delivery.event import Event
from shared.delivery.ledger import Ledger
from shared.errors import Reason, Refused, RetryLater, Undeliverable
from shared.messages.envelope import ChangeBatch
from shared.subscriptions.silence import Silence, Source


@dataclass(frozen=True)
class Delivering:
    """What the last step, to the destination, needs."""

    destination: Destination
    ledger: Ledger
    silence: Silence
    clock: Callable[[], datetime]

    def missing(self, events: Sequence[Event], *, replayed: bool) -> list[Event]:
        """Return the events that have not been settled; a replay is delivered whatever became of it before."""
        return list(events) if replayed else self.ledger.missing(events)


@dataclass
class BatchOutcome:
    """What becomes of the items of an envelope: each is in exactly one of these, or has been counted and is done.

    events: by id, with the item that each came from. heard: from where they came for each declaration, by its id.
    proven: the tenants that a token was found to speak for. rejected: what the destination will never take.
    """

    events: dict[str, tuple[msgspec.Raw, Event]] = field(default_factory=dict)
    given_up: dict[Reason, list[msgspec.Raw]] = field(default_factory=lambda: defaultdict(list))
    kept: dict[Reason, list[msgspec.Raw]] = field(default_factory=lambda: defaultdict(list))
    why: dict[Reason, RetryLater] = field(default_factory=dict)
    seen: dict[str, Source] = field(default_factory=dict)
    proven: tuple[str, ...] = ()
    rejected: list[Event] = field(default_factory=list)

    def keep(self, item: msgspec.Raw, why: RetryLater) -> None:
        """Try the item again later; of several waits asked for, the longest."""
        self.kept[why.reason].append(item)
        self.why[why.reason] = max(why, self.why.get(why.reason, why), key=lambda one: one.retry_after or timedelta(0))


def relay_changes(envelope: ChangeBatch, proofs: Proofs, delivering: Delivering, requeue: Requeue) -> None:
    """Deliver the items of an envelope, and settle what becomes of the others.

    Raises RetryLater if storage is away: the host then offers the message again.
    """
    outcome = judge(envelope, proofs)
    delivering.silence.seen(outcome.seen, envelope.received)
    deliver(outcome, envelope, delivering)
    for reason, items in outcome.kept.items():
        requeue.postpone(_with(envelope, items, outcome.proven), outcome.why[reason])
    for reason, items in outcome.given_up.items():
        requeue.give_up(_with(envelope, items, outcome.proven), reason)
    # Or each time it is read back it would be rejected, and given up, once more.
    delivering.ledger.record(outcome.rejected)


def judge(envelope: ChangeBatch, proofs: Proofs) -> BatchOutcome:
    """Turn items into events. One bad item costs its neighbours nothing."""
    outcome = BatchOutcome()
    verifier = Verifier(envelope, proofs)
    for item in envelope.items:
        try:
            event = verifier.event(item)
        except Refused as refused:
            telemetry.REFUSED.add(1, {"reason": refused.reason})
        except Undeliverable as undeliverable:
            outcome.given_up[undeliverable.reason].append(item)
        except RetryLater as retry_later:
            outcome.keep(item, retry_later)
        else:
            if event.id in outcome.events:
                telemetry.DUPLICATES.add(1)
            outcome.events.setdefault(event.id, (item, event))
    outcome.seen = verifier.seen
    outcome.proven = verifier.proven()
    return outcome


def deliver(outcome: BatchOutcome, envelope: ChangeBatch, delivering: Delivering) -> None:
    """Deliver the events that are not known to have been; those the destination doesn't take join the others."""
    events = [event for _, event in outcome.events.values()]
    missing = delivering.missing(events, replayed=envelope.replayed is not None)
    telemetry.DUPLICATES.add(len(events) - len(missing))
    with telemetry.span("deliver"):
        delivery = delivering.destination.deliver(missing)
    delivering.ledger.record(delivery.delivered)
    telemetry.DELIVERED.add(len(delivery.delivered))
    lag = (delivering.clock() - envelope.received).total_seconds()
    for _ in delivery.delivered:
        telemetry.LAG_SECONDS.record(lag)
    for rejected in delivery.rejected:
        outcome.given_up[Reason.DESTINATION_REJECTED].append(outcome.events[rejected.event.id][0])
        outcome.rejected.append(rejected.event)
    if delivery.why is not None:
        for event in delivery.kept:
            outcome.keep(outcome.events[event.id][0], delivery.why)


def _with(envelope: ChangeBatch, items: list[msgspec.Raw], proven: tuple[str, ...]) -> ChangeBatch:
    return msgspec.structs.replace(envelope, items=tuple(items), proven=proven)
