"""What is stored of the events of a hub: each is a collection, as Graph would post it (docs/graph.md, "Event Hubs").

No validation tokens come this way. What proves an item is its clientState, and that nobody but Graph may send to the
hub: that is for the hub's roles to see to.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from shared import telemetry
from shared.errors import Refused
from shared.graph.notification import read_collection, read_notification
from shared.messages.account import Account
from shared.messages.ingest import Channel, ExpectedRecipient, RefusedItems, ingest, trusted_channel
from shared.paths import Paths
from shared.storage.queues import Sender

EVENT_HUB = Channel("notify_event_hub", timedelta(minutes=1))
"""Nobody waits for an answer."""

NOT_APPLICABLE = "NA"
"""What stands in every field of the event that Graph sends when a subscription is created."""


def receive(
    bodies: Iterable[bytes],
    recipient: ExpectedRecipient,
    queues: Sender,
    received: datetime,
    paths: Paths | None,
    account: Account,
) -> None:
    """Store what is ours in `bodies`; one that is no collection costs the others nothing.

    `paths` notes which items are refused, None: notes are off; `account` enters which are queued.

    Raises RetryLater if storage is unavailable: the host then hands over the same events again.
    """
    items: list[msgspec.Raw] = []
    unreadable: RefusedItems = []
    for body in bodies:
        try:
            items += _items(body)
        except Refused as refused:
            telemetry.REFUSED.add(1, {"reason": refused.reason})
            unreadable.append((None, refused.reason))
    ingested = ingest(items, recipient, trusted_channel, queues, received, EVENT_HUB, account)
    if paths is not None:
        paths.refused_on_receipt([*unreadable, *ingested.examples], received)


def _items(body: bytes) -> Sequence[msgspec.Raw]:
    items = read_collection(body).value
    return () if _is_test(items) else items


def _is_test(items: Sequence[msgspec.Raw]) -> bool:
    try:
        return len(items) == 1 and read_notification(items[0]).subscription_id == NOT_APPLICABLE
    except Refused:
        return False
