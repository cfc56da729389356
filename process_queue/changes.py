"""Change items: to events, to the destination; and what becomes of each that doesn't get there."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from process_queue.verify import Proofs, Verifier
from shared import telemetry
from shared.destination import Destination
from shared.envelope import DeadLetter, Envelope, again, write
from shared.errors import NotNow, Reason, Refused, Unreadable
from shared.event import Event
from shared.retry import GiveUp, after_failure
from shared.storage import Storage


@dataclass(frozen=True)
class Relay:
    """What the way from the queue to the destination needs."""

    proofs: Proofs
    destination: Destination
    storage: Storage
    horizon: timedelta
    clock: Callable[[], datetime]
    chance: Callable[[], float]


@dataclass
class Fate:
    """What becomes of the items of an envelope: each is in exactly one of these, or has been refused and counted.

    events: by id, with the item that each came from.
    """

    events: dict[str, tuple[msgspec.Raw, Event]] = field(default_factory=dict)
    given_up: list[tuple[msgspec.Raw, Reason]] = field(default_factory=list)
    kept: dict[Reason, list[msgspec.Raw]] = field(default_factory=lambda: defaultdict(list))
    waits: dict[Reason, timedelta] = field(default_factory=dict)

    def keep(self, item: msgspec.Raw, why: NotNow) -> None:
        """Try the item again later."""
        self.kept[why.reason].append(item)
        if why.retry_after is not None:
            self.waits[why.reason] = max(self.waits.get(why.reason, why.retry_after), why.retry_after)


def relay_changes(envelope: Envelope, relay: Relay) -> None:
    """Deliver the items of an envelope, and settle what becomes of the others.

    Raises NotNow if it can't be settled since storage is away: the host then offers the message again.
    """
    fate = judge(envelope, relay.proofs)
    deliver(fate, envelope, relay)
    settle(fate, envelope, relay)


def judge(envelope: Envelope, proofs: Proofs) -> Fate:
    """Turn items into events. One bad item costs its neighbours nothing."""
    fate = Fate()
    verifier = Verifier(envelope, proofs)
    for item in envelope.items:
        try:
            event = verifier.event(item)
        except Refused as refused:
            telemetry.REFUSED.add(1, {"reason": refused.reason})
        except Unreadable as unreadable:
            fate.given_up.append((item, unreadable.reason))
        except NotNow as not_now:
            fate.keep(item, not_now)
        else:
            if event.id in fate.events:
                telemetry.DUPLICATES.add(1)
            fate.events.setdefault(event.id, (item, event))
    return fate


def deliver(fate: Fate, envelope: Envelope, relay: Relay) -> None:
    """Deliver the events; those that the destination doesn't take go back among the others."""
    delivery = relay.destination.deliver([event for _, event in fate.events.values()])
    telemetry.DELIVERED.add(len(delivery.delivered))
    lag = (relay.clock() - envelope.received).total_seconds()
    for _ in delivery.delivered:
        telemetry.LAG_SECONDS.record(lag)
    for rejected in delivery.rejected:
        fate.given_up.append((fate.events[rejected.event.id][0], Reason.DESTINATION_REJECTED))
    if delivery.why is not None:
        for event in delivery.kept:
            fate.keep(fate.events[event.id][0], delivery.why)


def settle(fate: Fate, envelope: Envelope, relay: Relay) -> None:
    """Queue again what is kept, and put away what is given up: still as Graph encrypted it. Raises NotNow."""
    for reason, items in fate.kept.items():
        now = relay.clock()
        wait = fate.waits.get(reason)
        decision = after_failure(envelope.attempt, envelope.received, now, relay.horizon, wait, relay.chance)
        if isinstance(decision, GiveUp):
            fate.given_up += [(item, reason) for item in items]
            continue
        relay.storage.put(write(again(envelope, items)), delay=decision.delay)
        telemetry.RETRIED.add(len(items), {"reason": reason})
    for item, reason in fate.given_up:
        alone = msgspec.structs.replace(envelope, items=(item,))
        relay.storage.put_dead_letter(write(DeadLetter(reason, relay.clock(), alone)))
        telemetry.DEAD_LETTERED.add(1, {"reason": reason})
