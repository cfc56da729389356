"""Change items: to events, to the destination; and what becomes of each that doesn't get there."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from process_queue.settle import Settlement
from process_queue.verify import Proofs, Verifier
from shared import telemetry
from shared.delivery.destination import Destination
from shared.delivery.event import Event
from shared.delivery.ledger import Ledger
from shared.errors import NotNow, Reason, Refused, Unreadable
from shared.messages.envelope import Changes
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
class Fate:
    """What becomes of the items of an envelope: each is in exactly one of these, or has been counted and is done.

    events: by id, with the item that each came from. heard: from where they came for each declaration, by its id.
    proven: the tenants that a token was found to speak for. rejected: what the destination will never take.
    """

    events: dict[str, tuple[msgspec.Raw, Event]] = field(default_factory=dict)
    given_up: dict[Reason, list[msgspec.Raw]] = field(default_factory=lambda: defaultdict(list))
    kept: dict[Reason, list[msgspec.Raw]] = field(default_factory=lambda: defaultdict(list))
    why: dict[Reason, NotNow] = field(default_factory=dict)
    heard: dict[str, Source] = field(default_factory=dict)
    proven: tuple[str, ...] = ()
    rejected: list[Event] = field(default_factory=list)

    def keep(self, item: msgspec.Raw, why: NotNow) -> None:
        """Try the item again later; of several waits asked for, the longest."""
        self.kept[why.reason].append(item)
        self.why[why.reason] = max(why, self.why.get(why.reason, why), key=lambda one: one.retry_after or timedelta(0))


def relay_changes(envelope: Changes, proofs: Proofs, delivering: Delivering, settlement: Settlement) -> None:
    """Deliver the items of an envelope, and settle what becomes of the others.

    Raises NotNow if storage is away: the host then offers the message again.
    """
    fate = judge(envelope, proofs)
    delivering.silence.heard(fate.heard, envelope.received)
    deliver(fate, envelope, delivering)
    for reason, items in fate.kept.items():
        settlement.postpone(_with(envelope, items, fate.proven), fate.why[reason])
    for reason, items in fate.given_up.items():
        settlement.give_up(_with(envelope, items, fate.proven), reason)
    # Or each time it is read back it would be rejected, and given up, once more.
    delivering.ledger.record(fate.rejected)


def judge(envelope: Changes, proofs: Proofs) -> Fate:
    """Turn items into events. One bad item costs its neighbours nothing."""
    fate = Fate()
    verifier = Verifier(envelope, proofs)
    for item in envelope.items:
        try:
            event = verifier.event(item)
        except Refused as refused:
            telemetry.REFUSED.add(1, {"reason": refused.reason})
        except Unreadable as unreadable:
            fate.given_up[unreadable.reason].append(item)
        except NotNow as not_now:
            fate.keep(item, not_now)
        else:
            if event.id in fate.events:
                telemetry.DUPLICATES.add(1)
            fate.events.setdefault(event.id, (item, event))
    fate.heard = verifier.heard
    fate.proven = verifier.proven()
    return fate


def deliver(fate: Fate, envelope: Changes, delivering: Delivering) -> None:
    """Deliver the events that are not known to have been; those the destination doesn't take join the others."""
    events = [event for _, event in fate.events.values()]
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
        fate.given_up[Reason.DESTINATION_REJECTED].append(fate.events[rejected.event.id][0])
        fate.rejected.append(rejected.event)
    if delivery.why is not None:
        for event in delivery.kept:
            fate.keep(fate.events[event.id][0], delivery.why)


def _with(envelope: Changes, items: list[msgspec.Raw], proven: tuple[str, ...]) -> Changes:
    return msgspec.structs.replace(envelope, items=tuple(items), proven=proven)
