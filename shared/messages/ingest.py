"""What of a collection is ours, made durable: the same whichever way Graph delivers it.

Cheap by design: nothing here needs the network but storage, and nothing is decrypted.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from shared import telemetry
from shared.errors import Reason, Refused
from shared.graph import client_state, notification
from shared.graph.validation_token import tenant_claimed
from shared.messages.envelope import write
from shared.messages.packing import Evidence, Sealed, pack_changes, pack_lifecycle, sealed
from shared.storage.queues import MESSAGE_LIMIT, Queues

TOKEN_ROOM = MESSAGE_LIMIT // 2
"""Characters of tokens that one tenant gets: some twenty of them, where Graph sends one for each app. They go with
every envelope, so without a bound a POST could be stored many times over."""


@dataclass(frozen=True)
class ExpectedRecipient:
    """Whom notifications are meant for: what tells ours from others."""

    tenant_id: str
    client_state_secrets: Sequence[bytes]


@dataclass
class SortedItems:
    """The items of a collection: ours, ready to be packed, and why the others were refused."""

    changes: list[Sealed] = field(default_factory=list)
    lifecycle: list[Sealed] = field(default_factory=list)
    refused: Counter[Reason] = field(default_factory=Counter)


EvidenceFor = Callable[[Collection[str]], Evidence]
"""From the tenants (lower case) that accepted changes speak of, to what proves them. Called only if there are any: the
tokens of a stranger must cost nothing."""


def ingest(
    items: Sequence[msgspec.Raw],
    recipient: ExpectedRecipient,
    evidence_for: EvidenceFor,
    queues: Queues,
    received: datetime,
    within: timedelta,
) -> None:
    """Store what is ours of `items`, `within` a time, and count the rest by the reason of its refusal.

    Raises RetryLater if not all of it is durable by then: whoever sent it sends it again.
    """
    found = sort_items(items, recipient)
    trace = telemetry.traceparent()
    texts = [write(envelope) for envelope in pack_lifecycle(found.lifecycle, received, trace)]
    if found.changes:
        evidence = evidence_for(dict.fromkeys(item.tenant for item in found.changes))
        texts += [write(envelope) for envelope in pack_changes(found.changes, evidence, received, trace)]
    if texts:
        queues.send_all(texts, within=within)
    # Only now: what is not stored comes again.
    telemetry.RECEIVED.add(len(items))
    for reason, count in found.refused.items():
        telemetry.REFUSED.add(count, {"reason": reason})
    telemetry.QUEUED.add(len(found.changes) + len(found.lifecycle))


def sort_items(items: Iterable[msgspec.Raw], recipient: ExpectedRecipient) -> SortedItems:
    """Tell our items from others: by clientState, each by itself."""
    found = SortedItems()
    for item in items:
        try:
            read = notification.read_notification(item)
            tenant = read.tenant(recipient.tenant_id)
            if not client_state.is_ours(read.client_state, tenant, recipient.client_state_secrets):
                raise Refused(Reason.CLIENT_STATE)
        except Refused as refused:
            found.refused[refused.reason] += 1
        else:
            kind = found.changes if read.lifecycle_event is None else found.lifecycle
            kind.append(sealed(item, tenant))
    return found


def validation_tokens(collection: notification.Collection) -> EvidenceFor:
    """Return the evidence of a POST: the validation tokens, each once, that claim to speak for one of the tenants."""

    def evidence_for(tenants: Collection[str]) -> Evidence:
        tokens = collection.tokens()
        claiming = None if tokens is None else _claiming(dict.fromkeys(tokens), tenants)
        return Evidence(claiming, channel_is_proof=False)

    return evidence_for


def trusted_channel(_: Collection[str]) -> Evidence:
    """Return the evidence of a channel on which Graph alone can send: no tokens come that way (docs/graph.md, "Event
    Hubs").
    """
    return Evidence({}, channel_is_proof=True)


def _claiming(tokens: Iterable[str], tenants: Iterable[str]) -> dict[str, list[str]]:
    claiming: dict[str, list[str]] = {tenant: [] for tenant in tenants}
    room = dict.fromkeys(claiming, TOKEN_ROOM)
    for token in tokens:
        tenant = tenant_claimed(token)
        if tenant in claiming and len(token) <= room[tenant]:
            room[tenant] -= len(token)
            claiming[tenant].append(token)
        elif tenant is None or tenant in claiming:
            telemetry.SUSPICIOUS_TOKENS.add(1, {"reason": Reason.TOKEN_MALFORMED})
    return claiming
