"""What is answered to a POST of Graph's, and what is stored before the answer.

Cheap by design: nothing here needs the network but storage, and nothing is opened. Whether an item passed is never
told: a refusal looks like an acceptance (Graph contract §2, "Invalid notifications").
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from shared import client_state, telemetry
from shared.envelope import MESSAGE_LIMIT, Changes, Lifecycle, Sealed, pack, sealed, write
from shared.errors import NotNow, Reason, Refused
from shared.notification import Collection, read_collection, read_notification
from shared.storage import Storage
from shared.validation_token import tenant_claimed

LARGEST_BODY = 32 << 20
"""Bytes. Graph names no limit; ordinary collections have some hundred KB (contract §2)."""

TIME_LIMIT = timedelta(seconds=2.4)
"""For storing: Graph stops listening after 3 s, and an answer over 2.9 s counts as slow."""


TOKEN_ROOM = MESSAGE_LIMIT // 2
"""Characters of tokens that one tenant gets: some twenty of them, where Graph sends one for each app. They go with
every envelope, so without a bound a POST could be stored many times over."""


@dataclass(frozen=True)
class Answer:
    """Status, plain text and `Retry-After` (seconds) of an HTTP answer."""

    status: Literal[200, 202, 400, 413, 503]
    text: str = ""
    retry_after: int | None = None


@dataclass(frozen=True)
class Ours:
    """What tells our notifications from others."""

    tenant_id: str
    client_state_secrets: Sequence[bytes]


@dataclass(frozen=True)
class Sorted:
    """The items of a collection: ours, ready to be packed, and why the others were refused."""

    changes: list[Sealed]
    lifecycle: list[Sealed]
    refused: Counter[Reason]


def receive(body: bytes, ours: Ours, storage: Storage, received: datetime) -> Answer:
    """Store what is ours in `body`, a changeNotificationCollection, and return the answer. Never raises."""
    if len(body) > LARGEST_BODY:
        return Answer(413, f"The body exceeds {LARGEST_BODY} bytes.")
    try:
        collection = read_collection(body)
    except Refused as refused:
        telemetry.REFUSED.add(1, {"reason": refused.reason})
        return Answer(400, "Expected a changeNotificationCollection in JSON.")
    found = sort(collection, ours)
    try:
        queued = store(found, collection, storage, received)
    except NotNow:
        return Answer(503, "Storage is away. Please send this again.", retry_after=10)
    # Only now: what is answered 503 comes again.
    telemetry.RECEIVED.add(len(collection.value))
    for reason, count in found.refused.items():
        telemetry.REFUSED.add(count, {"reason": reason})
    telemetry.QUEUED.add(queued)
    return Answer(202)


def sort(collection: Collection, ours: Ours) -> Sorted:
    """Tell our items from others: by clientState, each on its own."""
    found = Sorted([], [], Counter())
    for item in collection.value:
        try:
            is_change, one = _sealed_if_ours(item, ours)
        except Refused as refused:
            found.refused[refused.reason] += 1
        else:
            (found.changes if is_change else found.lifecycle).append(one)
    return found


def _sealed_if_ours(item: msgspec.Raw, ours: Ours) -> tuple[bool, Sealed]:
    notification = read_notification(item)
    tenant = notification.tenant(ours.tenant_id)
    if client_state.check(notification.client_state, tenant, ours.client_state_secrets) is None:
        raise Refused(Reason.CLIENT_STATE)
    return notification.lifecycle_event is None, sealed(item, tenant)


def store(found: Sorted, collection: Collection, storage: Storage, received: datetime) -> int:
    """Queue what is ours, durably, and return how many items that was. Raises NotNow."""
    trace = telemetry.traceparent()
    texts = [write(envelope) for envelope in pack(Lifecycle, received, found.lifecycle, (), trace=trace)]
    if found.changes:  # only now are the tokens worth looking at: a stranger's cost nothing
        tokens = _tokens(collection, {one.tenant for one in found.changes})
        texts += [write(envelope) for envelope in pack(Changes, received, found.changes, tokens, trace=trace)]
    if texts:
        storage.put_all(texts, within=TIME_LIMIT)
    return len(found.changes) + len(found.lifecycle)


def _tokens(collection: Collection, tenants: set[str]) -> list[tuple[str, str]] | None:
    """Return the tokens, each once, that claim to speak for one of `tenants`; None if Graph could get none."""
    tokens = collection.tokens()
    return None if tokens is None else list(_claiming(dict.fromkeys(tokens), tenants))


def _claiming(tokens: Iterable[str], tenants: set[str]) -> Iterable[tuple[str, str]]:
    room = dict.fromkeys(tenants, TOKEN_ROOM)
    for token in tokens:
        tenant = tenant_claimed(token)
        if tenant in room and len(token) <= room[tenant]:
            room[tenant] -= len(token)
            yield tenant, token
        elif tenant is None or tenant in room:
            telemetry.SUSPICIOUS_TOKENS.add(1, {"reason": Reason.TOKEN_MALFORMED})
