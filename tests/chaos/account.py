"""The account of a run and a destination, exact to the item, from durable data only: counters end with the processes
that are killed.

    received = delivered + duplicates + refused + dead-lettered + superseded + without content + pings
             + lifecycle + lost

received       items in POSTs that the gateway saw answered with 202
delivered      different versions among them in the feed
duplicates     further items of a version received before
refused        forgeries among them that are stored nowhere
dead-lettered  different items among them in the dead letters and not in the feed
superseded     versions among them that were rejected when read back, and whose replay, which reads the
               message again, delivered a newer version; 0 before the replay
pings          items that only said that a drive or a list has changed
without content  items that the app reads back by their path; the content of the feed shows whether it did
lifecycle      lifecycle items among them
lost           versions among them that are neither in the feed nor in the dead letters
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from tests.chaos.dead_letters import DeadLetteredItems
from tests.chaos.received import Received
from tests.chaos.receivers import Receiver
from tests.chaos.system import ChaosSystem


@dataclass(frozen=True)
class Account:
    """Items, when the system is idle. The fields after `lost` are outside the sum.

    recovered: versions in the feed that were read back, without a notification. dropped: changes that Graph never sent.
    twice: events that the feed received again. unsent: see `complaints`.
    """

    written: int
    changes: int
    dropped: int
    received: int
    delivered: int
    duplicates: int
    dead_lettered: int
    refused: int
    superseded: int
    bare: int
    pings: int
    lifecycle: int
    lost: int
    recovered: int
    twice: int
    poisoned: int
    unsent: int
    lost_ids: tuple[str, ...]

    def complaints(self, *, replayed: bool = False) -> Iterator[str]:
        """Yield the discrepancies."""
        found = self.delivered + self.duplicates + self.refused + self.dead_lettered
        parts = found + self.superseded + self.bare + self.pings + self.lifecycle + self.lost
        if self.received != parts:
            yield f"received {self.received}, accounted for {parts}"
        if self.lost:
            when = "after the replay" if replayed else "before the replay"
            yield f"{self.lost} versions were acknowledged and lost, {when}: {', '.join(self.lost_ids[:3])}"
        if self.unsent:
            yield f"Graph counts {self.unsent:+} changes and lifecycle items more acknowledged than the gateway saw"
        if replayed and self.poisoned:
            yield f"{self.poisoned} messages are in the poison queue after a replay"


def account(
    system: ChaosSystem,
    receiver: Receiver,
    queued: DeadLetteredItems,
    replayed: DeadLetteredItems | None = None,
) -> Account:
    """Compute the account of a destination; the system must be idle.

    queued: its dead letters. replayed: its dead letters before a replay.
    """
    received = system.notifications.received
    graph, feed = system.simulator("summary"), receiver.summary()
    held = event_ids(receiver)
    versions = set(received.versions)
    delivered = versions & held
    left = versions - held
    dead = {
        version for version in left if version in queued.versions or _rejected_when_read_back(version, queued, receiver)
    }
    superseded = {
        version for version in left - dead if replayed and _rejected_when_read_back(version, replayed, receiver)
    }
    lost = left - dead - superseded
    dead_forgeries = set(received.forgeries) & queued.forgeries
    return Account(
        written=graph["written"],
        changes=graph["changes"],
        dropped=graph["changes"] - (graph["acknowledged"] - system.lifecycle_sent),
        received=received.items,
        delivered=len(delivered),
        duplicates=received.versions.total() - len(versions),
        dead_lettered=len(dead) + len(dead_forgeries),
        refused=received.forgeries.total() - len(dead_forgeries),
        superseded=len(superseded),
        bare=received.bare.total(),
        pings=received.pings.total(),
        lifecycle=received.lifecycle.total(),
        lost=len(lost),
        recovered=len(held - versions),
        twice=feed["duplicates"],
        poisoned=queued.poisoned,
        unsent=_unsent(graph["acknowledged"] - system.lifecycle_sent - len(versions) - len(received.bare), received),
        lost_ids=tuple(sorted(lost)),
    )


def _unsent(others: int, received: Received) -> int:
    """Return how far the rest of Graph's count is from the pings: of two that are equal, one may be a repetition."""
    return min(others - len(received.pings), 0) or max(others - received.pings.total(), 0)


def _rejected_when_read_back(version: str, queued: DeadLetteredItems, receiver: Receiver) -> bool:
    return version in receiver.conduct.refused and version.rpartition("@")[0] in queued.messages


def event_ids(receiver: Receiver) -> set[str]:
    """Return the ids of the events that a destination has received; none if it has not even started."""
    if not receiver.database.exists():
        return set()
    with closing(sqlite3.connect(receiver.database)) as reader:
        return {str(row[0]) for row in reader.execute("SELECT id FROM events")}
