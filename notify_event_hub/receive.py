"""Stores the items of event hub events: each event is a collection, as Graph would post it (docs/graph.md, "Event
Hubs").

There are no validation tokens. An item is proven by its clientState, and because the roles of the hub allow only Graph
to send.
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
"""The value of every field of the test event that Graph sends when a subscription is created."""


def receive(
    bodies: Iterable[bytes],
    recipient: ExpectedRecipient,
    queues: Sender,
    received: datetime,
    paths: Paths | None,
    account: Account,
) -> None:
    """Store the accepted items of `bodies`; a malformed one does not affect the others.

    paths: stores refused items; None: disabled. account: records queued items.

    Raises RetryLater if storage is unavailable: the host then delivers the same events again.
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
