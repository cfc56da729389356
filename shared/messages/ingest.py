"""What of a collection is ours, made durable: the same whichever way Graph delivers it.

Cheap by design: nothing here needs the network but storage, and nothing is opened.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from shared import telemetry
from shared.errors import Reason, Refused
from shared.graph import client_state, notification
from shared.graph.validation_token import tenant_claimed
from shared.messages.envelope import MESSAGE_LIMIT, ChangeBatch, LifecycleBatch, Sealed, pack, sealed, write
from shared.storage.queues import Storage

TOKEN_ROOM = MESSAGE_LIMIT // 2
"""Characters of tokens that one tenant gets: some twenty of them, where Graph sends one for each app. They go with
every envelope, so without a bound a POST could be stored many times over."""


@dataclass(frozen=True)
class ExpectedRecipient:
    """Who notifications are meant for: what tells ours from others."""

    tenant_id: str
    client_state_secrets: Sequence[bytes]


@dataclass(frozen=True)
class SortedItems:
    """The items of a collection: ours, ready to be packed, and why the others were refused."""

    changes: list[Sealed]
    lifecycle: list[Sealed]
    refused: Counter[Reason]

    def tenants(self) -> Collection[str]:
        """The tenants that the changes speak of, each once."""
        return dict.fromkeys(one.tenant for one in self.changes)


Seal = Callable[[SortedItems, datetime], Iterable[ChangeBatch]]
"""Packs the changes, with what proves them, or will."""


def ingest(items: Sequence[msgspec.Raw], recipient: ExpectedRecipient, seal: Seal, storage: Storage, received: datetime,
            within: timedelta) -> None:  # fmt: skip
    """Store what is ours of `items`, `within` a time, and count the rest by the reason of its refusal.

    Raises RetryLater if not all of it is durable by then: whoever sent it sends it again.
    """
    found = sort(items, recipient)
    texts = [write(one) for one in pack(LifecycleBatch, received, found.lifecycle, (), trace=telemetry.traceparent())]
    if found.changes:  # only now are the tokens worth looking at: a stranger's cost nothing
        texts += [write(one) for one in seal(found, received)]
    if texts:
        storage.put_all(texts, within=within)
    # Only now: what is not taken in comes again.
    telemetry.RECEIVED.add(len(items))
    for reason, count in found.refused.items():
        telemetry.REFUSED.add(count, {"reason": reason})
    telemetry.QUEUED.add(len(found.changes) + len(found.lifecycle))


def sort(items: Iterable[msgspec.Raw], recipient: ExpectedRecipient) -> SortedItems:
    """Tell our items from others: by clientState, each on its own."""
    found = SortedItems([], [], Counter())
    for item in items:
        try:
            is_change, one = _sealed_if_ours(item, recipient)
        except Refused as refused:
            found.refused[refused.reason] += 1
        else:
            (found.changes if is_change else found.lifecycle).append(one)
    return found


def _sealed_if_ours(item: msgspec.Raw, recipient: ExpectedRecipient) -> tuple[bool, Sealed]:
    read = notification.read_notification(item)
    tenant = read.tenant(recipient.tenant_id)
    if client_state.check(read.client_state, tenant, recipient.client_state_secrets) is None:
        raise Refused(Reason.CLIENT_STATE)
    return read.lifecycle_event is None, sealed(item, tenant)


def with_tokens(collection: notification.Collection) -> Seal:
    """Pack changes with the validation tokens that came with them, which will have to prove them."""

    def seal(found: SortedItems, received: datetime) -> Iterable[ChangeBatch]:
        tokens = _tokens(collection, found.tenants())
        return pack(ChangeBatch, received, found.changes, tokens, trace=telemetry.traceparent())

    return seal


def proven_by_channel(found: SortedItems, received: datetime) -> Iterable[ChangeBatch]:
    """Pack changes that came by a way which Graph alone can send on: it sends no tokens there (contract §10)."""
    # Each envelope gets the names of its tenants where it would have got their tokens.
    names = [(tenant, tenant) for tenant in found.tenants()]
    for one in pack(ChangeBatch, received, found.changes, names, trace=telemetry.traceparent()):
        yield msgspec.structs.replace(one, tokens=(), proven=one.tokens or ())


def _tokens(collection: notification.Collection, tenants: Iterable[str]) -> list[tuple[str, str]] | None:
    """Return the tokens, each once, that claim to speak for one of `tenants`; None if Graph could get none."""
    tokens = collection.tokens()
    return None if tokens is None else list(_claiming(dict.fromkeys(tokens), tenants))


def _claiming(tokens: Iterable[str], tenants: Iterable[str]) -> Iterable[tuple[str, str]]:
    room = dict.fromkeys(tenants, TOKEN_ROOM)
    for token in tokens:
        tenant = tenant_claimed(token)
        if tenant in room and len(token) <= room[tenant]:
            room[tenant] -= len(token)
            yield tenant, token
        elif tenant is None or tenant in room:
            telemetry.SUSPICIOUS_TOKENS.add(1, {"reason": Reason.TOKEN_MALFORMED})
