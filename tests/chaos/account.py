"""The account of a run and a destination, to the unit, of what is durable alone: counters die with the processes that
are killed.

    received = delivered + duplicates + refused + dead-lettered + superseded + without content + lifecycle + lost

received       items in POSTs that were answered 202, as the gateway saw them
delivered      different versions among them that the feed holds
duplicates     further items of a version that was received before
refused        forgeries among them that lie nowhere
dead-lettered  different items among them that lie with the dead letters and are not in the feed
superseded     versions among them that were rejected when they were read back, and whose replay, which reads the
               message once more, brought a newer version; 0 before the replay
without content  items that had to be read back by the path they name; whether that was done, the feed's contents tell
lifecycle      lifecycle items among them
lost           versions among them that are nowhere: neither in the feed nor with the dead letters
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from tests.chaos.dead_letters import DeadLetteredItems
from tests.chaos.receivers import Receiver
from tests.chaos.system import ChaosSystem


@dataclass(frozen=True)
class Account:
    """Items, at one moment of rest. What follows `lost` is outside the sum.

    recovered: versions in the feed that were never received, so read back. dropped: changes that Graph never sent.
    twice: events that the feed had already when they came. unsent: see `complaints`.
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
    lifecycle: int
    lost: int
    recovered: int
    twice: int
    poisoned: int
    unsent: int
    lost_ids: tuple[str, ...]

    def complaints(self, *, replayed: bool = False) -> Iterator[str]:
        """Yield what does not add up."""
        found = self.delivered + self.duplicates + self.refused + self.dead_lettered
        parts = found + self.superseded + self.bare + self.lifecycle + self.lost
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
    """Draw up the account of a destination; nothing may be on its way.

    queued: the dead letters that concern it. replayed: those that lay there before they were replayed.
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
        lifecycle=received.lifecycle.total(),
        lost=len(lost),
        recovered=len(held - versions),
        twice=feed["duplicates"],
        poisoned=queued.poisoned,
        unsent=graph["acknowledged"] - system.lifecycle_sent - len(versions) - len(received.bare),
        lost_ids=tuple(sorted(lost)),
    )


def _rejected_when_read_back(version: str, queued: DeadLetteredItems, receiver: Receiver) -> bool:
    return version in receiver.conduct.refused and version.rpartition("@")[0] in queued.messages


def event_ids(receiver: Receiver) -> set[str]:
    """Return the ids of the events that a destination has received; none if it has not even started."""
    if not receiver.database.exists():
        return set()
    with closing(sqlite3.connect(receiver.database)) as reader:
        return {str(row[0]) for row in reader.execute("SELECT id FROM events")}
