"""Accepts the items of a collection and stores them, for both delivery channels (HTTP and Event Hubs).

Cheap by design: only storage is called, and nothing is decrypted.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from shared import telemetry
from shared.errors import Reason, Refused
from shared.graph import client_state, notification
from shared.graph.validation_token import claimed_tenant
from shared.messages.account import Account
from shared.messages.envelope import Envelope, write
from shared.messages.packing import Evidence, Sealed, pack_changes, pack_lifecycle, sealed
from shared.storage.queues import MESSAGE_LIMIT, Sender

TOKEN_LIMIT = MESSAGE_LIMIT // 2
"""Characters of tokens per tenant: some twenty tokens; Graph sends one per app. Each envelope carries them, so without
a limit one POST could fill storage."""

EXAMPLES = 20
"""Returned refused items of a collection, for their paths: an anonymous POST may have a million."""

RefusedItems = list[tuple[notification.Notification | None, Reason]]
"""Refused items with their reasons; None: the item is unreadable."""


@dataclass(frozen=True)
class ExpectedRecipient:
    """The tenant and secrets by which this app recognizes its own notifications."""

    tenant_id: str
    client_state_secrets: Sequence[bytes]


@dataclass
class SortedItems:
    """The accepted items of a collection, ready to be packed; the counts and first examples of the refused ones."""

    changes: list[Sealed] = field(default_factory=list)
    lifecycle: list[Sealed] = field(default_factory=list)
    refused: Counter[Reason] = field(default_factory=Counter)
    examples: RefusedItems = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """The number of accepted items."""
        return len(self.changes) + len(self.lifecycle)


@dataclass(frozen=True)
class Channel:
    """A delivery channel: the name of its spans, and the time limit for storing.

    A span exists only if an item is accepted: each is exported and paid for, and anybody can cause refusals.
    """

    name: str
    time_limit: timedelta


EvidenceFor = Callable[[Collection[str]], Evidence]
"""Returns the evidence for the tenants (lower case) of the accepted items. Called only if an item is accepted: tokens
in an anonymous POST must cost nothing."""


def ingest(
    items: Sequence[msgspec.Raw],
    recipient: ExpectedRecipient,
    evidence_for: EvidenceFor,
    queues: Sender,
    received: datetime,
    channel: Channel,
    account: Account,
) -> SortedItems:
    """Store the accepted items, and count the refused ones by reason; return both.

    account: records the queued items.

    Raises RetryLater if not all are durable in time: the sender then resends them.
    """
    sorted_items = sort_items(items, recipient)
    if sorted_items.accepted:
        with telemetry.span(channel.name):
            envelopes = _envelopes(sorted_items, evidence_for, received)
            queues.send_all([write(envelope) for envelope in envelopes], within=channel.time_limit)
        account.received(envelopes)
    # count only after storing: items that were not stored are sent again
    telemetry.RECEIVED.add(len(items))
    for reason, count in sorted_items.refused.items():
        telemetry.REFUSED.add(count, {"reason": reason})
    telemetry.QUEUED.add(sorted_items.accepted)
    return sorted_items


def _envelopes(sorted_items: SortedItems, evidence_for: EvidenceFor, received: datetime) -> list[Envelope]:
    """Return the envelopes of the accepted items, with the trace of the current span."""
    trace = telemetry.traceparent()
    envelopes: list[Envelope] = [*pack_lifecycle(sorted_items.lifecycle, received, trace)]
    if sorted_items.changes:
        evidence = evidence_for(dict.fromkeys(item.tenant for item in sorted_items.changes))
        envelopes += pack_changes(sorted_items.changes, evidence, received, trace)
    return envelopes


def sort_items(items: Iterable[msgspec.Raw], recipient: ExpectedRecipient) -> SortedItems:
    """Accept the items with a valid clientState; refuse the others."""
    sorted_items = SortedItems()
    for item in items:
        read = None
        try:
            read = notification.read_notification(item)
            tenant = read.tenant(recipient.tenant_id)
            if not client_state.is_authentic(read.client_state, tenant, recipient.client_state_secrets):
                raise Refused(Reason.CLIENT_STATE)
        except Refused as refused:
            sorted_items.refused[refused.reason] += 1
            if len(sorted_items.examples) < EXAMPLES:
                sorted_items.examples.append((read, refused.reason))
        else:
            kind = sorted_items.changes if read.lifecycle_event is None else sorted_items.lifecycle
            kind.append(sealed(item, tenant))
    return sorted_items


def validation_tokens(collection: notification.Collection) -> EvidenceFor:
    """Return the evidence of a POST: its distinct validation tokens that claim one of the tenants."""

    def evidence_for(tenants: Collection[str]) -> Evidence:
        tokens = collection.tokens()
        tokens_by_tenant = None if tokens is None else _tokens_by_tenant(dict.fromkeys(tokens), tenants)
        return Evidence(tokens_by_tenant, channel_is_proof=False)

    return evidence_for


def trusted_channel(_: Collection[str]) -> Evidence:
    """Return the evidence of a channel on which only Graph can send; it has no tokens (docs/graph.md, "Event Hubs")."""
    return Evidence({}, channel_is_proof=True)


def _tokens_by_tenant(tokens: Iterable[str], tenants: Iterable[str]) -> dict[str, list[str]]:
    tokens_by_tenant: dict[str, list[str]] = {tenant: [] for tenant in tenants}
    remaining = dict.fromkeys(tokens_by_tenant, TOKEN_LIMIT)
    for token in tokens:
        tenant = claimed_tenant(token)
        if tenant in tokens_by_tenant and len(token) <= remaining[tenant]:
            remaining[tenant] -= len(token)
            tokens_by_tenant[tenant].append(token)
        elif tenant is None or tenant in tokens_by_tenant:
            telemetry.SUSPICIOUS_TOKENS.add(1, {"reason": Reason.TOKEN_MALFORMED})
    return tokens_by_tenant
